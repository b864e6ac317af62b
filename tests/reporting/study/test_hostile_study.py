"""A study from elsewhere: what it names is shown, and leads nowhere; what it lacks is said."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echosweep import cli, runs
from echosweep.commands.report import report
from echosweep.errors import EchoSweepError, UsageError

Read = Callable[[Path], Any]
HOSTILE = (
    "=cmd|'/c'!A0 $\\frac{ <script>x</script> `a` [b](c)\n| \\input{/etc/passwd} \x1b[2J\u202e%"
)


def changed(path: Path, old: str, new: str) -> None:
    """Replace a text in a record, and sign it anew."""
    record = json.loads(
        json.dumps(runs.read_record(path, "")).replace(json.dumps(old), json.dumps(new))
    )
    runs.write_record(path, record)


def test_hostile_names_are_text_on_every_page_and_in_every_table(
    writer: Any, read_page: Read
) -> None:
    for name, changes in (
        ("networks", {"train.network": "adm-tiny"}),
        ("sampler", {"sample.steps": 9}),
    ):
        writer.search(name, [{"changes": changes}])
    for path in [*writer.path.glob("stages/*.json"), *writer.path.glob("trials/*/result.json")]:
        for word in ("adm-tiny", "steps 9", "rfd"):
            changed(path, word, HOSTILE)
    page = report(writer.path)
    assert "<script>x</script>" in read_page(page).text
    assert "<script>x" not in page.read_text()
    rows = list(csv.reader((page.parent / "trials.csv").open(newline="")))
    cells = [cell for row in rows[1:] for cell in row]
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert not any(cell.startswith("=") or "\x1b" in cell or "\n" in cell for cell in cells)
    latex = (page.parent / "table1.tex").read_text()
    assert r"\textbackslash{}input\{/etc/passwd\}" in latex
    assert r"\input" not in latex
    assert "\x1b" not in latex
    assert r"\%" in latex


@pytest.fixture
def searched(writer: Any) -> Path:
    """A study of two searches."""
    writer.search("networks", [{"changes": {"train.network": "adm-tiny"}}])
    writer.search("sampler", [{"changes": {"sample.steps": 9}}])
    return writer.path


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (
            "stages/00-networks.json",
            r"has 01-sampler\.json but no 00-\*\.json, on which it depends",
        ),
        ("recipe.yaml", r"recipe\.yaml is missing"),
        ("trials/*/result.json", r"result\.json is missing although its trial is complete"),
    ],
)
def test_a_report_of_less_than_the_study_was_is_refused(
    searched: Path, lost: str, said: str
) -> None:
    next(searched.glob(lost)).unlink()
    with pytest.raises(EchoSweepError, match=f"{said}.*; run the study again"):
        report(searched)


def test_records_in_anothers_place_are_noticed(searched: Path) -> None:
    first, second = sorted(searched.glob("stages/*.json"))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(EchoSweepError, match=r"00-networks\.json is of stage 'sampler'"):
        report(searched)
    first.write_bytes(kept)
    result = next(searched.glob("trials/*/result.json"))
    runs.write_record(result, runs.read_record(result, "") | {"trial": "another"})
    with pytest.raises(EchoSweepError, match=r"result\.json is of another trial"):
        report(searched)


def test_a_record_without_its_signature_is_no_record(searched: Path) -> None:
    path = next(searched.glob("stages/*.json"))
    runs.write_json(path, runs.read_record(path, ""))
    with pytest.raises(EchoSweepError, match="does not match its signature"):
        report(searched)


@pytest.mark.parametrize("command", [["report"], ["study", "status"], ["export", "--out", "o"]])
@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("study.json", {"identity": []}),
        ("study.json", {"identity": {"name": "a"}, "data": 3}),
        ("stages/00-networks.json", {}),
        ("stages/00-networks.json", {"name": "networks", "stage": [], "state": "done"}),
        ("stages/00-networks.json", {"name": "networks", "stage": "search", "state": "none"}),
        (
            "stages/00-networks.json",
            {
                "name": "networks",
                "stage": "search",
                "state": "done",
                "trials": [{"signature": "../a"}],
            },
        ),
        (
            "stages/00-networks.json",
            {"name": "networks", "stage": "final", "state": "done", "result": {"winner": {"a": 1}}},
        ),
        ("recipe.yaml", "stages: 3"),
        ("recipe.yaml", "stages: [{name: ../../x}]"),
        ("recipe.yaml", "- a"),
        ("recipe.yaml", "\0"),
    ],
)
def test_what_is_damaged_is_a_refusal_and_no_fault_of_ours(
    searched: Path,
    command: list[str],
    file: str,
    value: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    if isinstance(value, str):
        (searched / file).write_text(value)
    else:
        runs.write_record(searched / file, value)
    code = cli._run([*command, str(searched)])
    error = capsys.readouterr().err
    assert code in ((0, 1, 2) if command[-1] == "status" else (1, 2))
    assert "a fault of EchoSweep" not in error
    assert code == 0 or error.startswith("error: ")


@pytest.mark.parametrize("place", ["report", "stages", "images/made"])
def test_links_lead_nowhere(searched: Path, place: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (searched / place).exists() and (searched / place).rename(elsewhere)
    elsewhere.mkdir(exist_ok=True)
    (searched / place).symlink_to(elsewhere)
    with pytest.raises(UsageError, match=r"is a link that leads out of"):
        report(searched)


def test_paths_of_a_record_stay_within_its_study(ended: Any, tmp_path: Path) -> None:
    path = next((ended.path / "stages").glob("*.json"))
    changed(path, "images/guided", str(ended.stores["guided"]))
    with pytest.raises(EchoSweepError, match="leads out of"):
        report(ended.path)


def test_a_report_names_no_place_of_the_machine_that_made_it(
    reported: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    texts = [path for path in reported.parent.iterdir() if path.suffix in (".html", ".csv", ".tex")]
    assert len(texts) == 10
    for path in texts:
        assert str(tmp_path_factory.getbasetemp()) not in path.read_text()
