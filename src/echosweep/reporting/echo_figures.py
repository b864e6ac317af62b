"""One panel of what the echo metric found: curves of both sides with bands, and their sectors.

Invariant: a picture is drawn from a metric's `details` alone; what could not be measured is said
in its place, not drawn as zero.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

_COLOURS = {"generated": "#d55e00", "reference": "#0072b2"}  # told apart in print and by all eyes
_STYLES = {"generated": "-", "reference": "--"}
_CURVES = {
    "histogram": ("grey level in the sector", "share of pixels"),
    "spectrum": ("cycles / pixel", "power (dB)"),
    "lateral": ("lateral lag (pixels)", "autocorrelation"),
    "axial": ("axial lag (pixels)", "autocorrelation"),
    "pools": ("pool area / sector", "share of pools"),
}


def plot_echo(details: Mapping[str, Any]) -> Figure:
    """Return the panel of `details`, as `measure_echo` gives them: 8 pictures in two rows.

    Above: grey levels, spectrum, autocorrelation across and along. Below: how often a pixel is in
    the sector, reference and generated, their difference, and the areas of dark pools.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    grid = figure.subplots(2, 4).ravel()
    for axes, name in zip(grid[[0, 1, 2, 3, 7]], _CURVES, strict=True):
        _plot_curve(axes, details["curves"].get(name), *_CURVES[name])
    grid[0].set_yscale("symlog", linthresh=1e-3)  # the bright tail is rare and matters
    for axes in grid[2:4]:
        axes.axhline(0.5, color="grey", lw=0.6, zorder=0)
    _plot_sectors(figure, grid[4:7], details["sector"])
    handles = [Line2D([], [], ls=_STYLES[side], color=_COLOURS[side]) for side in _COLOURS]
    figure.legend(handles, list(_COLOURS), loc="outside upper center", ncols=2, frameon=False)
    return figure


def _plot_curve(axes: Axes, curve: Mapping[str, Any] | None, across: str, up: str) -> None:
    axes.set(xlabel=across, ylabel=up)
    if curve is None:
        axes.text(0.5, 0.5, "not measurable", ha="center", va="center", transform=axes.transAxes)
        return
    x, sides = np.array(curve["x"]), {side: _rows(curve[side]) for side in _COLOURS}
    end = 1 + max(int(np.flatnonzero(rows[0]).max(initial=0)) for rows in sides.values())
    for side, rows in sides.items():
        mean, low, high = rows[:, :end]  # an empty tail would only press the rest together
        axes.plot(x[:end], mean, _STYLES[side], color=_COLOURS[side], lw=1.4)
        axes.fill_between(x[:end], low, high, color=_COLOURS[side], alpha=0.2, lw=0)
    axes.grid(alpha=0.3)


def _rows(curve: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.array([curve["mean"], curve["low"], curve["high"]], dtype=np.float64)


def _plot_sectors(figure: Figure, row: Any, sector: Mapping[str, Any]) -> None:
    """Draw three maps (H, W) in per cent: reference, generated, generated - reference."""
    made, real = (np.asarray(sector[side], float) for side in ("generated", "reference"))
    maps = [
        ("sector, reference", real, "gray", 0),
        ("sector, generated", made, "gray", 0),
        ("generated - reference", made - real, "RdBu_r", -100),
    ]
    for axes, (title, values, colours, least) in zip(row, maps, strict=True):
        image = axes.imshow(values, cmap=colours, vmin=least, vmax=100, interpolation="nearest")
        axes.contour(real, [50], colors=_COLOURS["reference"], linestyles="--", linewidths=1.2)
        axes.contour(made, [50], colors=_COLOURS["generated"], linewidths=1.2)
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize="medium")
        figure.colorbar(image, ax=axes, location="bottom", pad=0.03, label="% of images")
