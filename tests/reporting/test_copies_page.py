"""The page of a search for copies: the count never stands without its false alarms."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echosweep.data.store import FrameStore
from echosweep.evaluation.copies import find_copies
from echosweep.evaluation.sets import Side
from echosweep.reporting.copies_page import write_copies_page
from echosweep.reporting.page import number

Record = dict[str, Any]
SHEET = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
ROW = {
    **{"position": 7, "train_row": 4321, "by": "pixels", "p": 0.0025, "identical": False},
    **{"pixel_distance": 0.1, "pixel_score": -2.25, "shift": [1, 0]},
    **{"feature_distance": 3.0, "feature_score": -0.75},
}
RECORD: Record = {
    **{"rate": 0.01, "flagged": 2, "flagged_share": 0.002, "identical": 1},
    **{"false_alarms": 0.0125, "false_alarm_interval": [0.004, 0.023]},
    **{"auth_pct": 97.5, "auth_pct_groups": 88.25, "c_t": -4.5, "c_t_cells": 5},
    **{"n_generated": 1000, "n_train": 20000, "n_held_out": 800, "held_out_groups": 120},
    "images": [
        ROW | {"identical": True, "name": "<b>seed 7"},
        ROW | {"train_name": "v12, frame 3"},
    ],
    "notes": ["flips are <not> sought"],
}


@pytest.fixture
def made(tmp_path: Path, read_page: Callable[[Path], Any]) -> Callable[[Record], Any]:
    """The page of a record, read back."""

    def make(record: Record) -> Any:
        write_copies_page(tmp_path / "copies.html", record, SHEET)
        return read_page(tmp_path / "copies.html")

    return make


def test_the_answer_comes_with_its_false_alarms(made: Callable[[Record], Any]) -> None:
    text = made(RECORD).text
    assert (
        "2 of 1,000 images are flagged as copies at a false alarm rate of 1 %. Measured on 800 "
        "held-out images of 120 patients or videos, which no training saw, that rate is 1.25 % "
        "(95 %: 0.4 to 2.3 %)."
    ) in text
    assert "Expected without any copying 10at the rate of 1 %; 12.5 at the measured one" in text
    assert "flips are <not> sought" in text


def test_statistics_and_flagged_images_are_listed(made: Callable[[Record], Any]) -> None:
    page = made(RECORD)
    statistics, flagged = page.tables
    assert [row[:3] for row in statistics[1:]] == [
        ["auth_pct", "97.5", "higher"],
        ["auth_pct_groups", "88.25", "higher"],
        ["c_t", "−4.5", "near 0"],
    ]
    assert flagged[1:] == [
        ["7 <b>seed 7", "4321", "equal in every pixel", "0.0025", "−2.25", "−0.75"],
        ["7", "4321 v12, frame 3", "pixels", "0.0025", "−2.25", "−0.75"],
    ]
    assert len(page.pictures) == 1


def test_what_could_not_be_measured_is_said(made: Callable[[Record], Any]) -> None:
    text = made(RECORD | {"c_t": None, "false_alarm_interval": None}).text
    assert "C_T has no value" in text
    assert "that rate is 1.25 %." in text


def test_nothing_flagged_is_no_table(made: Callable[[Record], Any]) -> None:
    page = made(RECORD | {"flagged": 0, "identical": 0, "images": [], "notes": []})
    assert "0 of 1,000 images flagged as copies" in page.text
    assert set(page.ids) == {"pairs", "statistics"}


def test_a_long_list_is_cut_and_says_so(made: Callable[[Record], Any]) -> None:
    page = made(RECORD | {"flagged": 300, "images": [ROW] * 300})
    assert "The first 200 of 300" in page.text
    assert len(page.tables[1]) == 201


def test_provenance_has_a_column_a_set(made: Callable[[Record], Any]) -> None:
    sets = {"generated": {"content": "aa"}, "train": {"content": "bb", "split": "train"}}
    page = made(RECORD | {"provenance": sets | {"environment": {"commit": "c0ffee"}}})
    head, *rows = page.tables[2]
    assert head == ["", "generated", "train"]
    assert rows == [["content", "aa", "bb"], ["split", "–", "train"]]
    assert page.tables[3] == [["commit", "c0ffee"]]


def test_the_record_of_a_real_search_makes_a_page(
    small_store: Path, made: Callable[[Record], Any]
) -> None:
    store = FrameStore.open(small_store)

    def side(rows: Any) -> Side:
        return Side(store, rows, store.images[rows].reshape(len(rows), -1).astype(np.float32))

    train = side(store.rows("train"))
    report = find_copies(side(train.rows[:10]), train, side(store.rows("test")), rate=0.1)
    record = report.record()
    page = made(record)
    assert record["identical"] == 10
    assert len(page.tables[1]) == 11
    assert page.tables[0][1][1] == number(record["auth_pct"])
