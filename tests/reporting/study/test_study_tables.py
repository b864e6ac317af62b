"""A study's tables: which trials they hold, in which order, and how they are written."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep.reporting import study_tables as tables
from echosweep.reporting.latex import escape, latex_table1, latex_table2
from echosweep.reporting.study_records import missing, read_study, role, score_name
from echosweep.reporting.study_tables import StudyRow
from echosweep.text import cell

Record = dict[str, Any]


def search(*fields: str) -> Record:
    return {"stage": "search", "options": {"space": {field: [1, 2] for field in fields}}}


@pytest.mark.parametrize(
    ("stage", "about"),
    [
        (search("train.network"), "networks"),
        (search("train.framework", "sample.steps"), "networks"),
        (search("sample.steps", "sample.sampler"), "sampler"),
        (search("sample.w1", "weak"), "guidance"),
        (search("discriminator.kind"), "guidance"),
        (search("sample.steps", "sample.guidance"), "guidance"),
        (search("train.total_kimg", "ema"), "training"),
        ({"stage": "floor", "options": {"splits": 5}}, None),
        ({"stage": "search"}, None),
    ],
)
def test_a_stage_is_told_by_what_it_searches(stage: Record, about: str | None) -> None:
    assert role(stage) == about


@pytest.mark.parametrize(
    ("score", "metric", "name"),
    [
        ("fd", "rfd", "rfd"),
        ("fd_infinity", "fid", "fid_infinity"),
        ("kid", "fid", "kid"),
        ("fd", None, "distance"),
    ],
)
def test_a_score_has_its_exact_name(score: str, metric: str | None, name: str) -> None:
    assert score_name({"score": score, "metric": metric}) == name


def test_table1_has_each_cell_once_the_most_trained_first(finished: Path) -> None:
    rows = tables.table1(read_study(finished))
    assert len(rows) == 9
    assert len({(row.network, row.framework) for row in rows}) == 9
    assert [round(9 * row.share) for row in rows] == [9, 3, 3, *[1] * 6]
    best = rows[0]
    assert (best.network, best.framework, best.chosen) == ("adm-tiny", "edm", True)
    value = 20 + 400 / 27 + 60 / 9 + 6
    assert best.distance == pytest.approx(value)
    assert best.interval == pytest.approx((value - 2, value + 2))
    assert (best.kimg, best.parameters, best.hours) == (27, 1_234_567, 0.075)


def test_a_failed_cell_has_a_row_that_says_why(finished: Path) -> None:
    (row,) = (row for row in tables.table1(read_study(finished)) if row.state == "failed")
    assert (row.network, row.framework, row.distance) == ("adm-tiny", "vp", None)
    assert row.error == "loss is not finite & <nan>"


def test_samplers_go_by_nfe(finished: Path) -> None:
    rows = tables.sampler_rows(read_study(finished))
    assert [(row.steps, row.nfe) for row in rows] == [(5, 9), (9, 17), (18, 35), (30, 59)]
    assert [row.chosen for row in rows] == [False, False, False, True]
    assert {row.floor for row in rows} == {4.0}


def test_training_goes_by_length(finished: Path) -> None:
    rows = tables.training_rows(read_study(finished))
    assert [(row.ema, row.chosen) for row in rows] == [(0.05, False), (0.1, True), (0.2, False)]


def test_guidance_begins_without_any_and_goes_on_with_the_best(finished: Path) -> None:
    control, *rows = tables.guidance_rows(read_study(finished))
    assert tables.is_control(control)
    assert (control.w1, control.weak, control.chosen) == (None, None, False)
    distances = [row.distance for row in rows]
    assert distances == sorted(distances, key=float)
    weights = {(row.guidance, row.w1, row.w2, row.weak) for row in rows}
    assert ("discriminator", 5.0, 0.0, None) in weights
    assert ("autoguidance", 5.0, 5.0, 0.25) in weights


def test_what_two_stages_of_guidance_share_is_one_row_as_the_last_saw_it(finished: Path) -> None:
    study = read_study(finished)
    (stage,) = (stage for stage in study.stages if role(stage) == "guidance")
    again = {**stage, "name": "again", "selected": []}
    twice = study._replace(stages=(*study.stages, again))
    rows = tables.guidance_rows(twice)
    once = tables.guidance_rows(study)
    assert rows == [row._replace(stage="again", chosen=False) for row in once] != once


def test_the_scores_of_a_trial_that_waits_are_unknown(unfinished: Path) -> None:
    rows = tables.table1(read_study(unfinished))
    assert [row.state for row in rows] == ["complete", "complete", "running", "waiting"]
    assert [row.distance is None for row in rows] == [False, False, True, True]
    assert (rows[3].network, rows[3].framework) == ("ddpmpp-tiny", "edm")


def test_what_is_missing_is_named(unfinished: Path) -> None:
    assert list(missing(read_study(unfinished))) == [
        "stage networks is not done: 2 of 4 trials so far",
        "not begun: optimum, sampler, training, guidance, shift, final",
    ]


def test_a_finished_study_misses_nothing(finished: Path) -> None:
    assert list(missing(read_study(finished))) == []


def test_every_trial_is_in_the_csv_with_its_numbers(finished: Path) -> None:
    study = read_study(finished)
    lines = list(csv.DictReader(io.StringIO(tables.tables(study)["trials.csv"])))
    rows = tables.trial_rows(study)
    assert [line["signature"] for line in lines] == [row.signature for row in rows]
    assert len(rows) == sum(len(stage["trials"]) for stage in study.stages)
    for line, row in zip(lines, rows, strict=True):
        assert line["distance"] == ("" if row.distance is None else repr(row.distance))
        assert line["error"] == (row.error or "")


def test_table2_and_floors_are_those_of_their_records(finished: Path, records: Record) -> None:
    study = read_study(finished)
    rows = {(row.column, row.classifier): row for row in tables.table2(study.result_of("shift"))}
    for column, found in records["shift"]["table"].items():
        assert rows[column, "linear"].accuracy == found["linear"]["accuracy"]
    floors = tables.floors(study.result_of("floor"))
    curves = records["floor"]["floors"]["random-64"]["by"]
    assert {row.by: row.mean for row in floors} == {by: c["mean"] for by, c in curves.items()}
    assert {row.metric for row in floors} == {"rfd"}


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_csv_gives_back_what_was_written(texts: list[str]) -> None:
    rows = [StudyRow("s", "f", text, "complete", False, 0, 1.0, "fid", 0.1) for text in texts]
    text = tables.write_csv(rows, ("label", "distance"))
    back = list(csv.reader(io.StringIO(text, newline="")))
    assert back == [["label", "distance"], *([cell(label), "0.1"] for label in texts)]


_COMMAND = r"\\(?:text(?:backslash|asciitilde|asciicircum|less|greater|bar)\{\}|[&%$#_{}])|\{[[*]\}"


@given(text=st.text(st.characters(max_codepoint=126, min_codepoint=32)))
def test_latex_leaves_nothing_that_is_not_escaped(text: str) -> None:
    assert not re.search(r"[&%$#_{}\\~^<>|\[*]", re.sub(_COMMAND, "", escape(text)))


def test_latex_tables_are_even_and_have_the_digits_of_the_page(finished: Path) -> None:
    study = read_study(finished)
    for text, columns, lines in (
        (latex_table1(tables.table1(study)), 9, 1 + 9),
        (latex_table2(tables.table2(study.result_of("shift"))), 4, 1 + 1 + 1),
    ):
        body = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert [line.count(" & ") for line in body] == [columns - 1] * lines
    assert r"adm-tiny & edm & \textbf{47.48} & 45.48 to 49.48 & 27 & 1.235" in latex_table1(
        tables.table1(study)
    )
