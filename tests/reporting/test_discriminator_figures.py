from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from echosweep.reporting import figures
from echosweep.reporting.discriminator_figures import plot_accuracy, plot_loss


def row(epoch: int, loss: float) -> dict[str, Any]:
    levels = [
        {"sigma": sigma, "loss": loss, "real": 0.9, "generated": real, "guided_error": 1 / epoch}
        for sigma, real in ((0.03, 0.7), (10.0, 0.3))
    ]
    held_out = {"loss": loss, "accuracy": 0.7, "levels": levels}
    return {"epoch": epoch, "held_out": held_out, "training": held_out | {"loss": loss / 2}}


ROWS = [row(1, 0.6), row(2, 0.4), row(3, 0.5)]


def test_losses_are_drawn_by_epoch_and_the_best_is_marked() -> None:
    axes = plot_loss(ROWS, best=2).axes[0]
    trained_on, held_out, best = axes.get_lines()
    assert trained_on.get_xydata().tolist() == [[1, 0.3], [2, 0.2], [3, 0.25]]
    assert held_out.get_xydata().tolist() == [[1, 0.6], [2, 0.4], [3, 0.5]]
    assert list(best.get_xdata()) == [2, 2]


def test_accuracy_and_guided_error_are_drawn_by_sigma_the_best_on_top() -> None:
    figure = plot_accuracy(ROWS, best=2, interval=(0.05, 150.0))
    accuracy, error = figure.axes[:2]
    lines = accuracy.get_lines()
    assert len(lines) == len(ROWS) + 1  # and chance
    assert lines[0].get_xydata().ravel().tolist() == pytest.approx([0.03, 0.8, 10, 0.6])
    thick = [line.get_linewidth() for line in lines[:3]]
    assert thick == [1, 1, 3]
    assert error.get_lines()[2].get_ydata().tolist() == [0.5, 0.5]
    assert list(lines[3].get_ydata()) == [0.5, 0.5]
    shaded = accuracy.patches[0].get_extents().transformed(accuracy.transData.inverted())
    assert (shaded.x0, shaded.x1) == pytest.approx((0.05, 150))


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]])
def test_they_are_written(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    for plot in (plot_loss(rows, 1), plot_accuracy(rows, 1, (0.05, 150.0))):
        figures.save(plot, tmp_path / "plot.png")
        assert Image.open(tmp_path / "plot.png").format == "PNG"
