import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echosweep import runs
from echosweep.errors import EchoSweepError, UsageError
from echosweep.study import trial
from echosweep.study.status import STATES, reporter, status, stop, stop_asked
from echosweep.study.status_table import duration, show

RECIPE = """
name: small
stages:
  - {name: networks, stage: search}
  - {name: sampler}
  - {name: final, stage: final}
"""
# A process that holds a trial as a worker does, until the file `stop` is there.
WORKER = """
import sys, time
from pathlib import Path
from echosweep.study.trial import claimed
study = Path(sys.argv[1])
with claimed(study / "trials" / sys.argv[2]) as free:
    print(free, flush=True)
    while not (study / "stop").exists():
        time.sleep(0.02)
"""


def row(signature: str, state: str = "waiting", **values: Any) -> dict[str, Any]:
    return {"signature": signature, "label": f"[{signature}]", "state": state, **values}


def write_stage(study: Path, *rows: dict[str, Any], state: str = "running", **values: Any) -> None:
    record = {"name": "networks", "stage": "search", "state": state, "trials": list(rows)}
    runs.write_record(
        study / "stages" / "00-networks.json",
        {**record, "score": "fd", "metric": "fd_efficientnet_lite0", **values},
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study whose first stage has a trial in every state."""
    path = tmp_path / "study"
    runs.write_record(path / "study.json", {"identity": {}, "format": 1})
    runs.write_text(path / "recipe.yaml", RECIPE)
    write_stage(
        path,
        row("aa", "complete", budget=1, score=5.0),
        row("bb", "failed", budget=1, error="diverged:\nlower --lr"),
        row("cc", "running", budget=1),
        row("dd", "waiting", budget=1),
    )
    return path


@pytest.fixture
def worker(study: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the trial cc."""
    command = [sys.executable, "-c", WORKER, str(study), "cc"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def counts(study: Path) -> dict[str, int]:
    first = status(study)["stages"][0]
    return {state: first[state] for state in STATES}


def test_a_trial_runs_as_long_as_a_process_holds_it(
    study: Path, worker: subprocess.Popen[str]
) -> None:
    assert counts(study) == {"complete": 1, "running": 1, "failed": 1, "waiting": 1}
    assert status(study)["state"] == "running"
    worker.kill()
    worker.wait()
    assert counts(study) == {"complete": 1, "running": 0, "failed": 1, "waiting": 2}
    assert status(study)["state"] == "idle"


def test_a_result_counts_before_the_stage_notes_it(study: Path) -> None:
    runs.write_record(study / "trials" / "cc" / "result.json", {"task": "measure"})
    runs.write_record(study / "trials" / "dd" / "error.json", {"error": "no room\non the disk"})
    assert counts(study) == {"complete": 2, "running": 0, "failed": 2, "waiting": 0}
    errors = {found["signature"]: found["error"] for found in status(study)["failed"]}
    assert errors == {"bb": "diverged: lower --lr", "dd": "no room on the disk"}


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["complete", "failed", "waiting"]), max_size=8))
def test_every_trial_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, states: list[str]
) -> None:
    path = tmp_path_factory.mktemp("study")
    runs.write_record(path / "study.json", {})
    runs.write_text(path / "recipe.yaml", RECIPE)
    write_stage(path, *(row(f"{i:02d}", state) for i, state in enumerate(states)))
    assert counts(path) == {state: states.count(state) for state in STATES}


def test_stages_that_have_not_begun_are_listed(study: Path) -> None:
    names = [(stage["name"], stage["state"]) for stage in status(study)["stages"]]
    assert names == [("networks", "running"), ("sampler", "waiting"), ("final", "waiting")]


def test_the_best_is_of_the_largest_budget(study: Path) -> None:
    write_stage(
        study,
        row("aa", "complete", budget=1 / 3, score=1.0),
        row("bb", "complete", budget=1, score=7.0),
        row("cc", "complete", budget=1, score=6.0),
        row("dd", "complete", budget=1, score=None),
    )
    first = status(study)["stages"][0]
    assert (first["best"], first["best_label"], first["best_budget"]) == (6.0, "[cc]", 1)


@pytest.mark.parametrize(
    ("score", "name"),
    [
        ("fd", "fd_efficientnet_lite0"),
        ("fd_infinity", "fd_efficientnet_lite0_infinity"),
        ("kid", "kid"),
    ],
)
def test_a_score_has_its_exact_name(study: Path, score: str, name: str) -> None:
    write_stage(study, row("aa", "complete", score=1.0), score=score)
    assert status(study)["stages"][0]["metric"] == name


def test_time_left_is_that_of_the_share_left(study: Path, worker: subprocess.Popen[str]) -> None:
    # A trial took 100 s. One that runs counts half, one that waits whole, and one runs at a time.
    assert status(study)["seconds_left"] is None
    runs.write_record(study / "trials" / "aa" / "result.json", {})
    with reporter(study / "trials" / "aa")("train", "images"):
        path = study / "trials" / "aa" / "progress.json"
    since = json.loads(path.read_text())["since"]
    os.utime(study / "trials" / "aa" / "result.json", (since + 100, since + 100))
    assert status(study)["seconds_left"] == pytest.approx(150.0)
    write_stage(study, row("aa", "complete", budget=0.5), row("cc", budget=0.5), row("dd"))
    assert status(study)["seconds_left"] == pytest.approx(100 / 0.5 * (0.25 + 1))


def test_a_running_trial_says_what_it_does(study: Path, worker: subprocess.Popen[str]) -> None:
    (doing,) = status(study)["running"]
    assert (doing["label"], doing["stage"], doing["title"]) == ("[cc]", "networks", None)
    with reporter(study / "trials" / "cc")("train", "images") as progress:
        progress(0, 1000, 0)
        progress(1000, 1000, 500)
    (doing,) = status(study)["running"]
    assert (doing["title"], doing["unit"]) == ("train", "images")
    assert (doing["done"], doing["total"], doing["seconds_left"]) == (1000, 1000, 0)
    assert doing["rate"] > 0
    assert 0 <= doing["seconds_ago"] < 60


def test_news_that_is_no_json_is_passed_over(study: Path, worker: subprocess.Popen[str]) -> None:
    (study / "trials" / "cc" / "progress.json").write_text('{"title": ')
    (doing,) = status(study)["running"]
    assert doing["title"] is None


def test_news_is_written_at_the_beginning_and_then_seldom(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    with reporter(tmp_path)("sample", "images") as progress:
        assert json.loads(path.read_text())["title"] == "sample"
        for done in range(100):
            progress(done, 100)
        assert json.loads(path.read_text())["done"] == 0
    assert [file.name for file in tmp_path.iterdir()] == ["progress.json"]


def test_resumed_work_is_not_speed(tmp_path: Path) -> None:
    with reporter(tmp_path)("sample", "images") as progress:
        progress(90, 100)
        time.sleep(0.05)
        progress(100, 100)
    assert json.loads((tmp_path / "progress.json").read_text())["rate"] <= 10 / 0.05


def test_news_that_cannot_be_written_stops_no_trial(tmp_path: Path) -> None:
    with reporter(tmp_path / "nowhere")("train", "images") as progress:
        progress(1, 1)
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_process_of_several_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with reporter(tmp_path)("train", "images") as progress:
        progress(1, 1)
    assert list(tmp_path.iterdir()) == []


def test_stop_waits_until_what_runs_has_ended(study: Path, worker: subprocess.Popen[str]) -> None:
    before = time.time()
    assert not stop_asked(study, before)
    assert stop(study)["running"] == []
    assert stop_asked(study, before)
    assert not stop_asked(study, time.time())
    assert worker.wait() == 0


def test_stop_names_what_does_not_end(study: Path) -> None:
    with (
        trial.claimed(study / "trials" / "cc"),
        pytest.raises(EchoSweepError, match=r"still running after 0 s: 1, first \[cc\]"),
    ):
        stop(study, timeout=0)


@pytest.mark.parametrize("ask", [status, stop])
def test_another_folder_is_refused(tmp_path: Path, ask: Any) -> None:
    with pytest.raises(UsageError, match="is not a study"):
        ask(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_table_says_it_all_once(
    study: Path, worker: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with reporter(study / "trials" / "cc")("train", "images"):
        show(study, live=True)
    printed = " ".join(capsys.readouterr().out.split())
    assert "fd_efficientnet_lite0 5: [aa]" in printed
    assert "networks: [cc] (cc) train" in printed
    assert "failed networks: [bb] (bb): diverged: lower --lr" in printed
    assert "how long cannot be told before a trial has ended; sampler, final follow" in printed


def test_old_news_is_said_to_be_old(
    study: Path, worker: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with reporter(study / "trials" / "cc")("train", "images"):
        path = study / "trials" / "cc" / "progress.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"time": time.time() - 100}))
        show(study)
    assert "no news for 2 min" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (4e5, "4.6 days")],
)
def test_durations_in_words(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_looking_needs_no_torch(study: Path) -> None:
    code = (
        "import sys; from echosweep.study.status_table import show; "
        "show(sys.argv[1]); assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(study)], check=True)
