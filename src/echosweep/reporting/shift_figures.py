"""Figures of the shift panel: accuracies against chance, bands of the spectrum, where it shows.

Invariant: no point is drawn without what chance leaves around it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

# Told apart in print and by all eyes, by shape too.
COLOURS = {"generated": "#d55e00", "guided": "#009e73", "floor": "#0072b2"}
NAMES = {"generated": "generated", "guided": "with guidance", "floor": "floor: real against real"}
_MARKERS = {"generated": "o", "guided": "s", "floor": "D"}
_CHANCE = "#c9ced6"

Maps = Mapping[str, Mapping[str, NDArray[Any]]]


def plot_panel(record: Mapping[str, Any]) -> Figure:
    """Return the accuracy of each classifier in per cent, a line each column of `table`.

    Small points are repeats; the grey bars are what chance leaves.
    """
    table = record["table"]
    classifiers = list(next(iter(table.values())))
    figure = Figure(figsize=(7.2, 1.1 + 0.3 * len(table) * len(classifiers)), layout="constrained")
    axes = figure.subplots()
    step = 0.8 / len(table)
    for i, (name, rows) in enumerate(table.items()):
        half = 100 * record["chance"][name]["accuracy_margin"]
        for j, row in enumerate(rows.values()):
            y = j + (i - (len(table) - 1) / 2) * step
            axes.barh(y, 2 * half, 0.8 * step, 50 - half, color=_CHANCE, zorder=0)
            _dots(axes, row, y, name)
    axes.axvline(50, color="black", lw=0.8, zorder=1)
    axes.set_yticks(range(len(classifiers)), classifiers)
    axes.set(xlabel="balanced accuracy (%)", xlim=(-2, 102))
    axes.invert_yaxis()
    handles = [
        *(
            Line2D([], [], ls="", marker=_MARKERS[name], color=COLOURS[name], label=NAMES[name])
            for name in table
        ),
        Patch(color=_CHANCE, label="chance"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return figure


def _dots(axes: Axes, row: Mapping[str, Any], y: float, name: str) -> None:
    style: dict[str, Any] = {"marker": _MARKERS[name], "color": COLOURS[name], "linewidths": 0}
    repeats = [100 * value for value in row["accuracies"]]
    axes.scatter(repeats, [y] * len(repeats), s=10, alpha=0.55, zorder=2, **style)
    axes.scatter(100 * row["accuracy"], y, s=52, zorder=3, **style)


def plot_bands(bands: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Return the AUC of each band's power alone against spatial frequency, a line each column."""
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    first = next(iter(bands.values()))
    middles = [(row["low"] + row["high"]) / 2 for row in first]
    half = first[0]["margin"]
    axes.axhspan(0.5 - half, 0.5 + half, color=_CHANCE, lw=0, label="chance")
    for name, rows in bands.items():
        style: dict[str, Any] = {"marker": _MARKERS[name], "color": COLOURS[name], "ms": 6}
        axes.plot(middles, [row["auc"] for row in rows], label=NAMES[name], **style)
    axes.set(
        xlabel="cycles / pixel (coarse to fine)", ylabel="AUC of the power", ylim=(-0.03, 1.03)
    )
    axes.axhline(0.5, color="black", lw=0.8)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9)
    return figure


def plot_maps(maps: Maps) -> Figure:
    """Return where each classifier looks: a row each of three maps (H, W).

    slope: which way a brighter pixel moves the answer. on_generated, on_reference: how much any
    pixel does, on one scale.
    """
    figure = Figure(figsize=(7.2, 2.5 * len(maps)), layout="constrained")
    grid = figure.subplots(len(maps), 3, squeeze=False)
    for axes, (name, of) in zip(grid, maps.items(), strict=True):
        most = float(np.abs(of["slope"]).max()) or 1.0
        largest = max(float(of[kind].max()) for kind in ("on_generated", "on_reference")) or 1.0
        _show(figure, axes[0], of["slope"], f"{name}: direction", ("RdBu_r", -most, most))
        for place, kind in zip(axes[1:], ("generated", "reference"), strict=True):
            scale = ("viridis", 0.0, largest)
            _show(figure, place, of[f"on_{kind}"], f"weight on {kind}", scale)
    return figure


def _show(
    figure: Figure, axes: Axes, values: NDArray[Any], title: str, scale: tuple[str, float, float]
) -> None:
    colours, low, high = scale
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize="small")
    bar = figure.colorbar(image, ax=axes, shrink=0.85)
    bar.ax.tick_params(labelsize="x-small")
