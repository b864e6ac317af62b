"""Distance and accuracy against the epoch of a discriminator: what chose, and what it is worth.

Invariant: drawn from the record of `choose-epoch` alone, every half of every split to be seen.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_GUIDED, _SAME, _OTHER, _PLAIN = "#0072b2", "#d55e00", "#009e73", "#555555"


def plot_epochs(record: Mapping[str, Any]) -> Figure:
    """Return distance (above) and held-out accuracy (below) against the epoch."""
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    _plot_distances(above, record)
    _plot_accuracy(below, record["epochs"])
    for axes in (above, below):
        axes.axvline(record["choice"]["epoch"], color=_GUIDED, lw=1, ls=":", zorder=0)
        axes.grid(alpha=0.3)
    below.set_xlabel("epoch of the discriminator")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    above.set_title(f"epoch {record['choice']['epoch']}; {record['verdict']}", fontsize="medium")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _plot_distances(axes: Axes, record: Mapping[str, Any]) -> None:
    """Draw each half thinly, the means, what halves chose and what it is worth on the others."""
    epochs, details = record["epochs"], record["details"]
    numbers = [row["epoch"] for row in epochs]
    halves = np.array(details["epochs"]).reshape(len(epochs), -1)
    axes.plot(numbers, halves, color=_GUIDED, lw=0.6, alpha=0.25)
    mean, error = (np.array([row[key] for row in epochs]) for key in ("mean", "error"))
    axes.plot(numbers, mean, "o-", color=_GUIDED, ms=4, label="guided, mean of the halves ± error")
    axes.fill_between(numbers, mean - error, mean + error, color=_GUIDED, alpha=0.2, lw=0)
    for key, marker, colour, name in (
        ("on_same_half", "v", _SAME, "reported on the half that chose"),
        ("on_other_half", "^", _OTHER, "reported on the other half"),
    ):
        values = np.ravel(details[key])
        label = f"{name}: {values.mean():.4g}"
        axes.plot(np.ravel(details["picked"]), values, marker, color=colour, ms=5, label=label)
    plain, floor = record["unguided"], record["floor"]
    ends = (plain["mean"] - plain["error"], plain["mean"] + plain["error"])
    axes.axhline(plain["mean"], color=_PLAIN, label=f"unguided: {plain['mean']:.4g} ± error")
    axes.axhspan(*ends, color=_PLAIN, alpha=0.15, lw=0)
    axes.axhline(floor["mean"], color="black", ls="--", lw=1, label=f"real: {floor['mean']:.4g}")
    axes.set_ylabel(f"{record['metric']}, N = {record['n']:,}")


def _plot_accuracy(axes: Axes, epochs: list[Mapping[str, Any]]) -> None:
    known = [row for row in epochs if row["accuracy"] is not None]
    axes.plot(
        [r["epoch"] for r in known], [r["accuracy"] for r in known], "o-", color="black", ms=3
    )
    axes.axhline(0.5, color="black", lw=0.6, ls="--")
    lowest = min((row["accuracy"] for row in known), default=0.5)
    axes.set(ylabel="held-out accuracy", ylim=(min(0.4, lowest - 0.05), 1.02))
