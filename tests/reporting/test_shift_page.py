"""The page of the shift panel: an accuracy never stands without what chance leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echosweep.reporting.shift_figures import plot_bands, plot_maps, plot_panel
from echosweep.reporting.shift_page import ShiftPictures, write_shift_page

Record = dict[str, Any]


def row(*accuracies: float, auc: float = 0.5) -> Record:
    return {
        **{"accuracy": float(np.mean(accuracies)), "accuracies": list(accuracies), "auc": auc},
        **{"generated_found": 0.75, "reference_found": 0.5},
    }


CAUSE = {
    **{"name": "black_share", "generated": 0.35, "reference": 0.9, "auc": 0.036, "margin": 0.115},
    **{"told_apart": True, "says": "share of <0>", "fix": "set levels to 0"},
}
INNOCENT = CAUSE | {"name": "contrast", "auc": 0.51, "told_apart": False, "fix": "not this"}
BAND = {"generated": 30.0, "reference": 31.0, "auc": 0.25, "margin": 0.1, "told_apart": True}
BANDS = [BAND | {"low": i / 16, "high": (i + 1) / 16} for i in range(8)]
CHANCE = {
    **{"accuracy_margin": 0.1283, "auc_margin": 0.15},
    **{"effective_generated": 78.0, "effective_reference": 32.125},
}
RECORD: Record = {
    "verdicts": {"generated": "told apart", "floor": "chance"},
    "table": {
        "generated": {"linear": row(0.5, 0.6), "resnet18": row(0.975, 1.0, auc=0.999)},
        "floor": {"linear": row(0.4375), "resnet18": row(0.5625)},
    },
    "chance": {"generated": CHANCE, "floor": CHANCE | {"accuracy_margin": 0.25}},
    "images": {"generated": 256, "floor": 128},
    "causes": {"generated": [CAUSE, INNOCENT]},
    "bands": {"generated": BANDS},
    "settings": {"epochs": 50, "lr": 1e-4, "repeats": 2},
    "warnings": ["the <reference> was trained on"],
}
GUIDED = {
    **{"verdicts": {**RECORD["verdicts"], "guided": "chance"}},
    "table": {**RECORD["table"], "guided": {"linear": row(0.5), "resnet18": row(0.5)}},
    "chance": {**RECORD["chance"], "guided": CHANCE},
    "images": {**RECORD["images"], "guided": 256},
    "causes": {**RECORD["causes"], "guided": [INNOCENT]},
    "bands": {**RECORD["bands"], "guided": BANDS},
}


def maps(classifiers: list[str]) -> dict[str, dict[str, Any]]:
    kinds = ("slope", "on_generated", "on_reference")
    values = np.linspace(-1, 1, 64).reshape(8, 8)
    return {name: dict.fromkeys(kinds, values) for name in classifiers}


@pytest.fixture
def made(tmp_path: Path, read_page: Callable[[Path], Any]) -> Callable[[Record], Any]:
    """The page of a record, read back."""

    def make(record: Record) -> Any:
        images = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
        columns = [name for name in record["table"] if name != "floor"]
        by_column = {name: maps(["linear", "resnet18"]) for name in columns}
        pictures = ShiftPictures(by_column, "resnet18", (images, images), (images, images))
        write_shift_page(tmp_path / "shift.html", record, pictures)
        return read_page(tmp_path / "shift.html")

    return make


def test_the_answer_comes_with_what_chance_leaves(made: Callable[[Record], Any]) -> None:
    text = made(RECORD).text
    assert "Classifiers can tell generated images from real ones" in text
    best = "resnet18, most often right; chance leaves"
    assert f"Generated 98.8 %{best} 50 ± 12.8. All classifiers: told apart" in text
    assert f"Floor: real against real 56.2 %{best} 50 ± 25.0. All classifiers: chance" in text
    assert "the <reference> was trained on" in text


def test_the_table_has_chance_below_every_column(made: Callable[[Record], Any]) -> None:
    table, repeats = made(RECORD).tables[:2]
    assert table == [
        ["Classifier", "Generated, accuracy", "Floor, accuracy", "Generated, AUC", "Floor, AUC"],
        ["linear", "55.0", "43.8", "0.500", "0.500"],
        ["resnet18", "98.8", "56.2", "0.999", "0.500"],
        ["chance", "50 ± 12.8", "50 ± 25.0", "0.5 ± 0.150", "0.5 ± 0.150"],
    ]
    assert repeats[1] == ["Generated", "linear", "50.0, 60.0", "75.0", "50.0"]


def test_a_cause_is_named_with_its_fix_and_an_innocent_one_without(
    made: Callable[[Record], Any],
) -> None:
    causes = made(RECORD).tables[2]
    assert causes[1] == [
        *("black_share", "0.35", "0.9", "0.036", "0.5 ± 0.115"),
        *("share of <0>", "set levels to 0"),
    ]
    assert causes[2][-1] == "within chance"


def test_guidance_has_a_column_and_the_title(made: Callable[[Record], Any]) -> None:
    page = made(RECORD | GUIDED)
    assert "Classifiers cannot tell guided images from real ones" in page.text
    assert "A difference of less than 12.8 points would not have been seen." in page.text
    assert [name.split(",")[0] for name in page.tables[0][0][1:4]] == [
        "Generated",
        "Floor",
        "With guidance",
    ]
    assert len(page.pictures) == 2 + 2 + 4


def test_too_few_patients_are_no_good_sign(made: Callable[[Record], Any]) -> None:
    verdicts = {"generated": "too few patients to tell"}
    chance = CHANCE | {"accuracy_margin": 0.4, "effective_reference": 3.0}
    one = {"table": {"generated": RECORD["table"]["generated"]}, "chance": {"generated": chance}}
    text = made(RECORD | one | {"verdicts": verdicts, "warnings": []}).text
    assert "Too few patients to tell generated images from real ones" in text
    assert "tell as much as 3.0 real images of different patients" in text
    assert "no sign of good images" in text


def test_the_panel_draws_every_repeat_and_the_margin() -> None:
    (axes,) = plot_panel(RECORD).axes
    points = sorted(float(x) for dots in axes.collections for x, _ in dots.get_offsets())
    each = [50, 60, 55, 97.5, 100, 98.75, 43.75, 43.75, 56.25, 56.25]
    np.testing.assert_allclose(points, sorted(each))
    spans = {(round(bar.get_x(), 2), round(bar.get_width(), 2)) for bar in axes.patches}
    assert spans == {(37.17, 25.66), (25.0, 50.0)}


def test_bands_are_drawn_in_their_middle_over_what_chance_leaves() -> None:
    (axes,) = plot_bands({"generated": BANDS}).axes
    x, y = axes.lines[0].get_data()
    np.testing.assert_allclose(x, [(i + 0.5) / 16 for i in range(8)])
    np.testing.assert_allclose(y, 0.25)
    assert axes.patches[0].get_y() == pytest.approx(0.4)
    assert axes.patches[0].get_height() == pytest.approx(0.2)


def test_maps_of_one_classifier_share_a_scale_around_zero() -> None:
    figure = plot_maps(maps(["linear"]))
    pictures = [axes.images[0] for axes in figure.axes if axes.images]
    assert [picture.get_clim() for picture in pictures] == [(-1, 1), (0, 1), (0, 1)]


def test_maps_of_a_network_that_looks_nowhere_are_drawn() -> None:
    nowhere = {kind: np.zeros((4, 4)) for kind in ("slope", "on_generated", "on_reference")}
    figure = plot_maps({"linear": nowhere})
    assert figure.axes[0].images[0].get_clim() == (-1, 1)
