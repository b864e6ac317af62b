from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from echosweep.reporting import figures
from echosweep.reporting.echo_figures import plot_echo

CURVES = ("histogram", "spectrum", "lateral", "axial", "pools")
PLACES = (0, 1, 2, 3, 7)


@pytest.fixture
def details() -> dict[str, Any]:
    """Details as the metric gives them: curves of four points, maps of 4 x 6 pixels."""

    def curve(mean: list[float]) -> dict[str, list[float]]:
        return {"mean": mean, "low": [m - 0.1 for m in mean], "high": [m + 0.1 for m in mean]}

    sides = {"generated": curve([0.5, 0.25, 0.25, 0]), "reference": curve([0.5, 0.5, 0, 0])}
    made = np.arange(24).reshape(4, 6)
    return {
        "curves": {name: {"x": [0, 1, 2, 3], **sides} for name in CURVES},
        "sector": {"generated": made.tolist(), "reference": (2 * made + 40).tolist()},
    }


def test_curves_are_drawn_as_given_to_their_last_value(details: Mapping[str, Any]) -> None:
    axes = plot_echo(details).axes
    for place in PLACES:
        made, real = (line.get_xydata().tolist() for line in axes[place].get_lines()[:2])
        assert made == [[0, 0.5], [1, 0.25], [2, 0.25]]
        assert real == [[0, 0.5], [1, 0.5], [2, 0]]


def test_the_legend_names_the_sides(details: Mapping[str, Any]) -> None:
    (legend,) = plot_echo(details).legends
    assert [text.get_text() for text in legend.get_texts()] == ["generated", "reference"]


def test_sectors_are_reference_generated_and_their_difference(details: Mapping[str, Any]) -> None:
    made, real = (np.array(details["sector"][side]) for side in ("generated", "reference"))
    axes = plot_echo(details).axes
    shown = [np.asarray(axes[place].get_images()[0].get_array()) for place in (4, 5, 6)]
    for found, expected in zip(shown, (real, made, made - real), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["lateral", "pools"])
def test_what_was_not_measured_is_said(details: dict[str, Any], name: str) -> None:
    del details["curves"][name]
    figure = plot_echo(details)
    axes = figure.axes[PLACES[CURVES.index(name)]]
    assert [text.get_text() for text in axes.texts] == ["not measurable"]
    assert len(figure.legends[0].get_texts()) == 2


def test_empty_and_full_sectors_can_be_drawn(
    details: dict[str, Any], recwarn: pytest.WarningsRecorder, tmp_path: Any
) -> None:
    details["sector"] = {"generated": [[0] * 6] * 4, "reference": [[100] * 6] * 4}
    figures.save(plot_echo(details), tmp_path / "echo.png")
    assert (tmp_path / "echo.png").stat().st_size > 1000
    assert not recwarn.list
