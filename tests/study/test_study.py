"""Whole studies: done once, continued after any death, shared by two, the same in the end."""

import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from echosweep import cli
from echosweep.data.store import FrameStore
from echosweep.errors import UsageError
from echosweep.study.backends import BUSY, DONE, FAILED, BackendSettings
from echosweep.study.backends.local import Local, share_out
from echosweep.study.launch import study
from echosweep.study.recipe import Recipe
from echosweep.study.trial import Trial, claimed, folder, is_claimed, put, result
from echosweep.study.worker import work

Table = list[tuple[str, float | None]]


def _run(recipe: dict[str, Any], store: Path, out: Path) -> list[str]:
    """Run a study; return what was said of its trials."""
    said: list[str] = []
    study(Recipe.make(recipe), out, data=store, say=said.append)
    return said


def _table(out: Path) -> dict[str, Table]:
    """Return every stage's trials: signature and score, in order."""
    records = [json.loads(path.read_bytes()) for path in sorted((out / "stages").iterdir())]
    return {r["name"]: [(t["signature"], t["score"]) for t in r["trials"]] for r in records}


@pytest.fixture(scope="module")
def undisturbed(
    small_recipe: dict[str, Any], small_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A study of the small recipe that nothing interrupted. Read only."""
    out = tmp_path_factory.mktemp("studies") / "undisturbed"
    _run(small_recipe, small_store, out)
    return out


def test_each_stage_keeps_the_best_for_the_next(undisturbed: Path) -> None:
    networks, sampler = (
        json.loads(path.read_bytes()) for path in sorted((undisturbed / "stages").iterdir())
    )
    scores = [trial["score"] for trial in networks["trials"]]
    assert len(scores) == 4
    best = networks["trials"][int(np.argmin(scores))]
    assert networks["selected"][0]["signature"] == best["signature"]
    for trial in sampler["trials"]:
        of = result(undisturbed, trial["signature"])
        assert of is not None
        assert of["framework"] == best["changes"]["train.framework"]
        assert of["candidate"]["train"]["lr"] == best["changes"]["train.lr"]
    assert len(list((undisturbed / "runs").iterdir())) == 4  # the sampler's search trained nothing
    assert (undisturbed / "report" / "study.html").exists()


def test_asked_again_nothing_is_done(
    undisturbed: Path, small_recipe: dict[str, Any], small_store: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.json")}
    assert _run(small_recipe, small_store, undisturbed) == []
    after = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.json")}
    rewritten = {path.name for path in after if after[path] != before.get(path)}
    assert rewritten <= {"study.json"}


def test_with_a_stage_changed_only_what_depends_on_it_is_done(
    undisturbed: Path, small_recipe: dict[str, Any], small_store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    subprocess.run(["cp", "-r", undisturbed, out], check=True)
    first, second = small_recipe["stages"]
    more = {**second, "space": {"sample.steps": [2, 4, 6]}}
    said = _run({**small_recipe, "stages": [first, more]}, small_store, out)
    assert len(said) == 1
    assert "heun 6" in said[0]


def test_a_printed_command_gives_the_row_again(
    undisturbed: Path,
    small_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = json.loads((undisturbed / "stages" / "01-sampler.json").read_bytes())
    row = result(undisturbed, record["trials"][-1]["signature"])
    assert row is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DATA").symlink_to(small_store)
    for line in row["commands"]:
        capsys.readouterr()
        assert cli._run(shlex.split(line)[1:]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"][row["label"]][row["metric"]] == row["values"]["fd"]


def test_guidance_averages_and_the_end_go_through_all_stages(
    small_recipe: dict[str, Any], small_store: Path, tmp_path: Path
) -> None:
    base = small_recipe["base"] | {
        "discriminator": {"epochs": 1, "batch": 8, "held_out": 8},
        "discriminator_images": 16,
    }
    guide = {"set": {"sample.guidance": "discriminator"}, "baseline": True}
    stages = [
        {"name": "floor", "stage": "floor", "repeats": 2},
        {
            "name": "networks",
            "space": {"train.lr": [5e-3, 1e-3, 1e-4]},
            "strategy": "halving",
        },
        {"name": "training", "space": {"ema": [0.1]}, "baseline": True},
        {"name": "discriminator", "space": {"sample.w1": [0.5]}, **guide},
        {
            "name": "autoguidance",
            "set": {"sample.guidance": "autoguidance", "epoch": None},
            "space": {"weak": [0.5], "sample.w1": {"low": 0.1, "high": 1.0}},
            "strategy": "tpe",
            "trials": 2,
            "round_size": 2,
        },
        {"name": "shift", "stage": "shift", "classifiers": ["linear"], "epochs": 1, "repeats": 1}
        | {"num": 30},  # more than the split has
        {"name": "final", "stage": "final", "metrics": "frechet,kid", "rate": 0.05},
    ]
    out = tmp_path / "study"
    _run({**small_recipe, "base": base, "stages": stages}, small_store, out)
    records = {
        json.loads(path.read_bytes())["name"]: json.loads(path.read_bytes())
        for path in sorted((out / "stages").iterdir())
    }
    halved = records["networks"]
    assert [trial["budget"] for trial in halved["trials"]] == pytest.approx([1 / 3] * 3 + [1])
    assert halved["saved"]["share"] == pytest.approx((3 * 1 / 3 + 2 / 3) / 3)
    assert {row["label"] for row in records["training"]["trials"]} == {"as before", "ema 0.1"}
    end = records["final"]["result"]
    assert end["winner"]["candidate"]["sample"]["guidance"] == "autoguidance"
    assert end["control"]["candidate"]["sample"]["guidance"] is None
    assert end["winner"]["measure"]["seed"] == 10_000_000
    assert end["winner"]["measure"]["split"] == "test"
    assert end["winner"]["paper"]["split"] == "train"
    assert set(records["shift"]["result"]["table"]) >= {"generated", "guided"}
    assert records["floor"]["result"]["floors"]


def test_a_failed_trial_is_kept_and_stops_no_other(
    small_recipe: dict[str, Any], small_store: Path, tmp_path: Path
) -> None:
    poisoned = {
        "name": "networks",
        "space": {"train.attention_factors": [None, [3]], "train.framework": ["edm"]},
    }
    out = tmp_path / "study"
    said = _run({**small_recipe, "stages": [poisoned]}, small_store, out)
    (record,) = (json.loads(path.read_bytes()) for path in (out / "stages").iterdir())
    assert sorted(trial["state"] for trial in record["trials"]) == ["complete", "failed"]
    (bad,) = (trial for trial in record["trials"] if trial["state"] == "failed")
    assert bad["error"]
    assert any("failed" in line for line in said)
    assert _run({**small_recipe, "stages": [poisoned]}, small_store, out) == []


def test_another_recipe_or_other_data_is_refused(
    undisturbed: Path, small_recipe: dict[str, Any], small_store: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="another recipe"):
        _run({**small_recipe, "name": "other"}, small_store, undisturbed)
    with pytest.raises(UsageError, match=r"select\.num was 16, now 8"):
        _run({**small_recipe, "select": {"num": 8}}, small_store, undisturbed)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="not empty and not a study"):
        _run(small_recipe, small_store, tmp_path / "mine")


_SCRIPT = """
import sys, yaml
from echosweep.study.launch import study
from echosweep.study.recipe import Recipe
study(Recipe.load(sys.argv[1]), sys.argv[2], data=sys.argv[3])
"""


def _start(recipe: Path, out: Path, store: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", _SCRIPT, str(recipe), str(out), str(store)]
    return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _workers(out: Path) -> list[int]:
    """Return the processes that do trials of a study, and have said so."""
    places = [path.parent for path in out.glob("trials/*/progress.json") if is_claimed(path.parent)]
    return [json.loads((place / "progress.json").read_bytes())["pid"] for place in places]


def test_killed_at_random_it_ends_in_the_undisturbed_table(
    undisturbed: Path, small_recipe: dict[str, Any], small_store: Path, tmp_path: Path
) -> None:
    out, recipe = tmp_path / "study", tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump(small_recipe))
    draw, kills = random.Random(0), 0
    runner = _start(recipe, out, small_store)
    while kills < 4 and runner.poll() is None:
        if not (workers := _workers(out)):  # so that each kill finds work to interrupt
            time.sleep(0.05)
            continue
        time.sleep(draw.uniform(0, 1))
        if kills % 2:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(draw.choice(workers), signal.SIGKILL)
        else:
            runner.kill()
            runner.wait()
            runner = _start(recipe, out, small_store)
        kills += 1
    assert runner.wait(300) == 0
    assert kills == 4
    assert _table(out) == _table(undisturbed)


def test_two_runners_share_a_study(
    undisturbed: Path, small_recipe: dict[str, Any], small_store: Path, tmp_path: Path
) -> None:
    out, recipe = tmp_path / "study", tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump(small_recipe))
    runners = [_start(recipe, out, small_store) for _ in range(2)]
    assert [runner.wait(300) for runner in runners] == [0, 0]
    assert _table(out) == _table(undisturbed)
    for trial in (out / "trials").iterdir():  # a worker that finds its trial done prints nothing
        assert (trial / "log.txt").read_text().count("sample:") <= 1


def test_a_trial_is_done_by_one_process(small_study: tuple[Path, list[Trial]]) -> None:
    out, trials = small_study
    with claimed(folder(out, trials[0].signature)) as free:
        assert free
        words = [sys.executable, "-m", "echosweep.study.worker", str(out), trials[0].signature]
        with subprocess.Popen(words, stdin=subprocess.PIPE) as worker:
            assert worker.wait(60) == BUSY
    assert result(out, trials[0]) is None


def test_a_worker_whose_starter_is_gone_saves_and_stops(
    small_study: tuple[Path, list[Trial]],
) -> None:
    out, trials = small_study
    worker = subprocess.Popen(
        [sys.executable, "-m", "echosweep.study.worker", str(out), trials[0].signature],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(60) == 130
    assert result(out, trials[0]) is None
    assert work(out, trials[0].signature) == DONE


def test_an_error_is_kept_with_its_words(small_study: tuple[Path, list[Trial]]) -> None:
    out, trials = small_study
    wrong = Trial("measure", {**trials[0].params, "split": "nowhere"})
    put(out, wrong)
    assert work(out, wrong.signature) == FAILED
    found = result(out, wrong)
    assert found is not None
    assert "nowhere" in found["error"]
    assert "Traceback" in found["traceback"]


def test_the_local_backend_shares_out_a_machine() -> None:
    assert share_out(BackendSettings(), [], 8) == ([()] * 8, 1)
    assert share_out(BackendSettings(workers=3), [], 8) == ([()] * 3, 2)
    assert share_out(BackendSettings(gpus=2), ["0", "1", "2", "3"], 8) == (
        [("0", "1"), ("2", "3")],
        4,
    )
    with pytest.raises(UsageError, match="this machine has 1"):
        share_out(BackendSettings(gpus=2), ["0"], 8)


def test_images_of_a_study_are_those_of_their_seeds_alone(undisturbed: Path) -> None:
    stores = [FrameStore.open(path) for path in (undisturbed / "images").iterdir() if path.is_dir()]
    assert len(stores) == 6
    assert all(len(store) == 16 for store in stores)


def test_a_closed_backend_leaves_no_worker(small_study: tuple[Path, list[Trial]]) -> None:
    out, trials = small_study
    ended = Local(BackendSettings(workers=2)).run(trials, out)
    trial, code = next(ended)
    assert code == DONE
    assert result(out, trial)
    ended.close()
    assert _workers(out) == []
