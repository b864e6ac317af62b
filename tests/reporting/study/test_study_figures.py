"""Figures of a study: every point is a row, and what was chosen has a ring."""

from pathlib import Path
from typing import Any

import pytest

from echosweep.reporting import study_figures as figures
from echosweep.reporting.study_records import read_study
from echosweep.reporting.study_tables import StudyRow, guidance_rows, sampler_rows


def row(distance: float | None, chosen: bool = False, **values: Any) -> StudyRow:
    known = {"low": distance - 1, "high": distance + 1} if distance is not None else {}
    plain = StudyRow("s", "f", "label", "complete", chosen, 0, 1.0, "fid", distance)
    return plain._replace(**known, **values)


def points(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {
        label: [(float(x), float(y)) for x, y in zip(*handle.get_data(), strict=True)]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }


def test_each_network_framework_and_sampler_is_a_line_over_the_floor() -> None:
    heun: Any = {"network": "adm", "framework": "edm", "sampler": "heun", "floor": 0.9}
    euler = heun | {"sampler": "euler"}
    rows = [row(9, nfe=20, **euler), row(5, nfe=9, **heun), row(4, True, nfe=35, **heun)]
    (axes,) = figures.plot_nfe([*rows, row(None, nfe=59, **heun)]).axes
    assert points(axes) == {
        "adm edm euler": [(20, 9)],
        "adm edm heun": [(9, 5), (35, 4)],
        "chosen: 35": [(35, 4)],
        "floor: real against real": [(0, 0.9), (1, 0.9)],
    }
    bars = [list(line.get_ydata()) for line in axes.lines if line.get_label().startswith("_")]
    assert bars == [[8, 10], [4, 6], [3, 5]]
    (band,) = axes.patches
    assert (band.get_y(), band.get_height()) == (0, 0.9)
    assert axes.get_ylabel() == "fid (lower is better)"


def test_training_is_drawn_against_what_was_varied_most() -> None:
    lengths = [row(d, ema=ema, kimg=12.0) for d, ema in ((6, None), (4, 0.1), (5, 0.2))]
    assert points(figures.plot_training(lengths).axes[0]) == {
        "kimg 12": [(0, 6), (0.1, 4), (0.2, 5)]
    }
    times = [row(d, kimg=kimg, ema=0.1) for d, kimg in ((3, 24.0), (5, 12.0))]
    assert points(figures.plot_training(times).axes[0]) == {"length 0.1": [(12, 5), (24, 3)]}


def test_guidance_is_drawn_against_its_weight_and_none() -> None:
    rows = [
        row(7),
        row(5, True, guidance="discriminator", w1=5.0, scale=2.0),
        row(6, guidance="autoguidance", w1=1.0, scale=1.0),
    ]
    (axes,) = figures.plot_guidance(rows).axes
    assert points(axes) == {
        "autoguidance": [(1, 6)],
        "discriminator": [(10, 5)],
        "chosen: 10": [(10, 5)],
        "without guidance": [(0, 7), (1, 7)],
    }
    (band,) = axes.patches
    assert (band.get_y(), band.get_height()) == (6, 2)


def test_figures_of_a_study_have_every_measured_trial(finished: Path) -> None:
    study = read_study(finished)
    drawn = points(figures.plot_nfe(sampler_rows(study)).axes[0])
    assert [x for x, _ in drawn["adm-tiny edm heun"]] == [9, 17, 35, 59]
    drawn = points(figures.plot_guidance(guidance_rows(study)).axes[0])
    assert len(drawn["discriminator"]) == len(drawn["autoguidance"]) == 3


@pytest.mark.parametrize("plot", [figures.plot_nfe, figures.plot_training, figures.plot_guidance])
def test_nothing_measured_is_an_empty_figure(plot: Any) -> None:
    assert not plot([row(None)]).axes[0].lines
