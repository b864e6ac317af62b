"""The report of a study: what it says first, what it leaves out, and that it needs little."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echosweep import runs
from echosweep.commands.report import report
from echosweep.errors import EchoSweepError, UsageError
from echosweep.reporting.page import interval, number
from echosweep.reporting.study_answer import duration, find_answer
from echosweep.reporting.study_page import machines, tried
from echosweep.reporting.study_records import Study, paper, read_study

Read = Callable[[Path], Any]
Record = dict[str, Any]

ECHONET: Record = {"name": "EchoNet-Dynamic", "preparation": {"size": [64, 64]}}
FILES = {
    *("table1.csv", "sampler.csv", "training.csv", "guidance.csv", "table2.csv", "floors.csv"),
    *("trials.csv", "table1.tex", "table2.tex", "study.html"),
    *(
        f"{name}.{kind}"
        for name in ("figure1", "figure2", "training", "guidance", "shift", "floors")
        for kind in ("png", "pdf")
    ),
}


def edited(study: Path, change: Callable[[Record], None]) -> None:
    """Change the record of the final stage."""
    (path,) = (study / "stages").glob("*-final.json")
    record = runs.read_record(path, "")
    change(record)
    runs.write_record(path, record)


def pngs(page: Any) -> int:
    return sum(picture.startswith(b"\x89PNG") for picture in page.pictures)


def test_a_report_needs_neither_torch_nor_optuna_and_is_the_same_again(
    finished: Path, reported: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; from echosweep.commands.report import report; report(*sys.argv[1:]); "
        "sys.exit(bool({'torch', 'optuna'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, str(finished), str(tmp_path)]
    assert subprocess.run(words, check=False).returncode == 0
    assert reported.name == "study.html"
    assert {path.name for path in reported.parent.iterdir()} == FILES
    for path in reported.parent.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_the_answer_comes_first(page: Any, records: Record) -> None:
    values, found = records["guided"]["metrics"]["random-64"], records["guided"]["intervals"]
    plain, copies = records["made"]["metrics"]["random-64"]["rfd"], records["copies"]
    places = [
        page.text.index(part)
        for part in (
            "adm-tiny with edm, heun at 59 NFE, guided by a discriminator",
            "6 real images of split test, of 3 patients or videos that chose nothing",
            f"rfd, lower is better {number(values['rfd'])}",
            f"95 %: {interval(found['random-64']['rfd'])}",
            f"The same without guidance {number(plain)}",
            f"Floor: real against real {number(values['rfd_floor'])}",
            f"copies of training images {copies['flagged']}of {copies['n_generated']}; ",
            "To train it again 4.5 min",
            "images, 12.5 images/s",
            "Guidance lowers the distance",
            "Why this one",
            "To make it again",
            "echosweep train --network adm-tiny --seed 0",
            "Table 1",
        )
    ]
    assert places == sorted(places)
    assert [name for name in page.ids if name != "warnings"] == [
        *("why", "again", "networks", "sampler", "training", "guidance", "shift", "floors"),
        *("images", "metrics", "path", "settings", "provenance"),
    ]


def test_each_step_says_what_was_kept_and_how_surely(page: Any) -> None:
    steps = page.tables[0]
    assert [line[:2] for line in steps[1:]] == [
        *(["networks", "adm-tiny, edm"], ["sampler", "steps 30"]),
        *(["training", "ema 0.1"], ["guidance", "discriminator, w1 2.0"]),
    ]
    # Within 2 of the distance: 18 steps add 4/3; w1 of 1 adds 1, twice, and the other w1 of 2 none.
    assert [line[4] for line in steps[1:]] == ["0 of 0", "1 of 3", "0 of 2", "3 of 6"]


def test_table1_says_where_a_cell_was_stopped_and_how_to_make_it(page: Any) -> None:
    (table,) = (table for table in page.tables if "Parameters (M)" in table[0])
    assert table[0][:4] == ["Network", "Framework", "rfd", "95 % interval"]
    fates = {tuple(line[:2]): line[-1] for line in table[1:]}
    assert fates["adm-tiny", "edm"] == "chosen"
    assert fates["ddpmpp-tiny", "edm"] == "stopped at 33 %"
    assert fates["adm-tiny", "vp"] == "failed"
    assert fates["ncsnpp-tiny", "ve"] == "stopped at 11 %"
    assert page.text.count("echosweep train --network ncsnpp-tiny") == 3


def test_the_path_names_pruning_and_what_failed(page: Any) -> None:
    assert "Pruning trained 108 of 243 kimg, 44 %. The risk: slow starters are lost." in page.text
    assert "adm-tiny, vp failed: loss is not finite & <nan>" in page.text
    assert "A <small> study." in page.text
    assert "failed trials, which could not win: 1" in page.text


def test_the_page_has_images_of_every_set(page: Any) -> None:
    assert pngs(page) == 3
    assert "no images" not in page.text


def test_flagged_copies_are_not_shown(ended: Any, read_page: Read) -> None:
    def hide(record: Record) -> None:
        for side in record["result"].values():
            side["measure"]["files"]["images"] = "nowhere"

    edited(ended.path, hide)
    assert pngs(read_page(report(ended.path))) == 3


def test_images_that_are_not_there_are_named(ended: Any, read_page: Read) -> None:
    facts = runs.read_record(ended.path / "study.json", "")
    shutil.copytree(ended.stores["made"], ended.path / "other")
    for path, why in (("gone", "gone"), ("other", "other holds other images than those of the")):
        facts["data"]["path"] = path
        runs.write_record(ended.path / "study.json", facts)
        page = read_page(report(ended.path))
        assert "no images (real, split test): " in page.text
        assert why in page.text
        assert pngs(page) == 2


def test_a_study_that_is_searching_says_so(unfinished: Path, read_page: Read) -> None:
    page = read_page(report(unfinished))
    assert "Best so far: adm-tiny with edm, heun at 17 NFE, without guidance" in page.text
    assert "on the images that choose, after 2 trials: no result yet" in page.text
    assert "stage networks is not done: 2 of 4 trials so far" in page.text
    assert {"again", "metrics", "provenance", "why"}.isdisjoint(page.ids)


def test_a_long_table_is_cut_on_the_page_alone(writer: Any, read_page: Read) -> None:
    steps = [{"changes": {"sample.steps": steps}} for steps in range(2, 152)]
    writer.search("sampler", steps)
    file = report(writer.path)
    assert "And 50 more: the CSV beside this page has all." in read_page(file).text
    assert len((file.parent / "sampler.csv").read_text().splitlines()) == 151


def test_a_study_without_a_trial_has_a_page(writer: Any, read_page: Read) -> None:
    page = read_page(report(writer.path))
    assert "Nothing is measured yet" in page.text
    assert page.ids == ["warnings", "images", "settings"]


def test_a_final_that_failed_leaves_the_best_so_far(
    unfinished: Path, writer: Any, read_page: Read
) -> None:
    none = {"winner": None, "control": None}
    writer.single("final", "final", none, state="failed")
    text = read_page(report(unfinished)).text
    assert "Best so far: adm-tiny with edm" in text
    assert "stage final failed, so nothing follows it" in text


def test_a_stage_that_failed_before_its_first_trial_is_shown(writer: Any, read_page: Read) -> None:
    record = {"name": "more", "stage": "search", "state": "failed", "error": "no <trial>"}
    runs.write_record(writer.path / "stages" / "00-more.json", record)
    assert "1. more (failed) no <trial>" in read_page(report(writer.path)).text


def test_copies_that_were_not_searched_for_are_a_warning(ended: Any, read_page: Read) -> None:
    def lose(record: Record) -> None:
        record["result"]["winner"] |= {"copies": {"error": "too few"}, "shareable": None}

    edited(ended.path, lose)
    text = read_page(report(ended.path)).text
    assert "copies were not searched for: too few" in text
    assert "Flagged as copies of training images –not searched" in text


@pytest.mark.parametrize(
    ("winner", "control", "said"),
    [
        ((2.0, (1.9, 2.1)), (3.0, (2.8, 3.2)), "by more than both intervals allow for"),
        ((2.0, (1.5, 2.9)), (3.0, (2.8, 3.2)), "the two intervals overlap"),
        ((2.0, None), (3.0, None), "without intervals nobody can say by how much"),
        ((3.0, (2.8, 3.2)), (2.0, (1.9, 2.1)), "guidance does not lower the distance"),
    ],
)
def test_guidance_is_not_praised_beyond_the_intervals(
    ended: Any, winner: Any, control: Any, said: str
) -> None:
    def change(record: Record) -> None:
        for side, (value, bounds) in (("winner", winner), ("control", control)):
            measure = record["result"][side]["measure"]
            measure["values"]["fd"] = value
            measure["intervals"] = {"fd": bounds} if bounds else {}

    edited(ended.path, change)
    answer = find_answer(read_study(ended.path))
    assert answer is not None
    assert said in answer.guided


def fid(study: Study, data: Record) -> Study:
    """The study as if it were of FIDs, and of other data."""
    text = json.dumps(study.stages).replace('"rfd', '"fid')
    return study._replace(stages=tuple(json.loads(text)), data={**study.data, **data})


def test_the_papers_numbers_stand_beside_the_same_data_and_metric_only(finished: Path) -> None:
    study = read_study(finished)

    def beside(study: Study) -> Any:
        answer = find_answer(study)
        assert answer is not None
        return answer.beside

    plain, guided = beside(fid(study, ECHONET))
    assert (plain[0], plain[-1]) == ("FID without guidance", 3.75)
    assert (guided[0], guided[-1]) == ("FID with guidance", 2.60)
    assert beside(fid(study, {})) == []
    assert beside(study._replace(data=ECHONET)) == []


@pytest.mark.parametrize(
    ("name", "size", "metric", "optimal"),
    [
        ("EchoNet-Dynamic", [64, 64], "fid", 0.88),
        ("echonet_dynamic", [112, 112], "fid", 0.95),
        ("EchoNet-Dynamic", [32, 32], "fid", None),
        ("EchoNet-Dynamic", [64, 64], "fid768", None),
        ("EchoNet-Dynamic", [64, 64], "fd_efficientnet_lite0", None),
        ("EchoNet-LVH", [64, 64], "fid", None),
        ("phantom", [64, 64], "fid", None),
    ],
)
def test_the_papers_optimum(
    finished: Path, name: str, size: list[int], metric: str, optimal: float | None
) -> None:
    data = {"name": name, "preparation": {"size": size}}
    known = paper(read_study(finished)._replace(data=data), metric)
    assert (known and known.optimal) == optimal


def test_the_papers_numbers_are_on_no_other_page(page: Any) -> None:
    cells = {cell for table in page.tables for line in table for cell in line}
    assert cells.isdisjoint({"3.75", "2.6", "0.88", "71.67", "Paper", "Paper, before"})
    assert "FID" not in page.text


def test_a_folder_of_other_files_is_refused(tmp_path: Path, finished: Path) -> None:
    (tmp_path / "table1.csv").write_text("mine")
    with pytest.raises(UsageError, match="holds other files, and no report"):
        report(finished, tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("table1.csv", "mine")
    ]


def test_what_is_no_study_is_refused(tmp_path: Path, unfinished: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a study: it has no study\.json"):
        report(tmp_path)
    (unfinished / "stages" / "00-networks.json").write_text("{")
    with pytest.raises(EchoSweepError, match=r"00-networks\.json is damaged"):
        report(unfinished)


@pytest.mark.parametrize(
    ("hours", "said"),
    [(None, "–"), (0.01, "36 s"), (0.075, "4.5 min"), (24, "24 h"), (1234, "1234 h")],
)
def test_durations(hours: float | None, said: str) -> None:
    assert duration(hours) == said


def test_a_space_as_text() -> None:
    space = {"ema": [None, 0.1], "sample.w1": {"low": 0.1, "high": 5, "log": True}}
    assert tried(space) == "ema (none, 0.1), sample.w1 (0.1 to 5, log scale)"


def test_every_machine_is_named(finished: Path) -> None:
    assert machines(read_study(finished))["processors"] == "One, 2 cores (24 trials)"


def test_a_page_beside_the_paper(ended: Any, read_page: Read) -> None:
    facts = runs.read_record(ended.path / "study.json", "")
    runs.write_record(ended.path / "study.json", facts | {"data": facts["data"] | ECHONET})

    def rename(record: Record) -> None:
        record["result"] = json.loads(json.dumps(record["result"]).replace('"rfd', '"fid'))

    edited(ended.path, rename)
    rows = {line[0]: line[-1] for table in read_page(report(ended.path)).tables for line in table}
    assert rows["FID without guidance"] == "3.75"
    assert rows["FID with guidance"] == "2.6"
