"""How a discriminator learned: its loss by epoch, its accuracy by noise level."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

_GREY = "0.5"


def plot_loss(rows: Sequence[Mapping[str, Any]], best: int) -> Figure:
    """Return the loss on training and on held-out images by epoch; `best` is marked.

    rows: of metrics.jsonl, with epoch, training and held_out.
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in rows]
    for i, (name, title) in enumerate((("training", "trained on"), ("held_out", "held out"))):
        axes.plot(epochs, [row[name]["loss"] for row in rows], f"C{i}.-", label=title)
    axes.axvline(best, color=_GREY, ls=":", label=f"lowest held out: epoch {best}")
    axes.set(xlabel="epoch", ylabel="loss, mean over noise levels")
    axes.locator_params("x", integer=True)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def plot_accuracy(
    rows: Sequence[Mapping[str, Any]], best: int, interval: tuple[float, float]
) -> Figure:
    """Return held-out accuracy, and the guided denoiser's error, against sigma; a line an epoch.

    rows: as in `plot_loss`. interval: the noise levels that are guided by default, shaded.
    """
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    panels = figure.subplots(2, sharex=True)
    colours = Normalize(1, max(2, rows[-1]["epoch"]))
    for row in sorted(rows, key=lambda row: row["epoch"] == best):  # the best lies on top
        levels, is_best = row["held_out"]["levels"], row["epoch"] == best
        sigma = [level["sigma"] for level in levels]
        style: dict[str, Any] = {
            "color": colormaps["viridis"](colours(row["epoch"])),
            "lw": 3 if is_best else 1,
            "label": f"epoch {best}: lowest held-out loss" if is_best else None,
        }
        accuracy = [(level["real"] + level["generated"]) / 2 for level in levels]
        panels[0].plot(sigma, accuracy, **style)
        panels[1].plot(sigma, [level["guided_error"] for level in levels], **style)
    panels[0].axhline(0.5, color=_GREY, ls="--", label="chance")
    panels[0].set(ylabel="accuracy on held-out images", ylim=(None, 1.01))
    panels[1].axhline(1, color=_GREY, ls="--", label="without guidance")
    panels[1].set(xlabel="noise level sigma", ylabel="guided error / error, held out")
    panels[1].set(xscale="log", yscale="log")
    for axes in panels:
        axes.axvspan(*interval, color=_GREY, alpha=0.12, lw=0, label="guided by default")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
    figure.colorbar(ScalarMappable(colours, colormaps["viridis"]), ax=panels, label="epoch")
    return figure
