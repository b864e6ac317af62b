"""What a synthetic set is worth, in one picture: the score of each arm against chance.

Invariant: drawn from a record of `utility` alone; what has no interval has no bar.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

_COLOURS = {"real": "#0072b2", "generated": "#d55e00", "both": "#7b4fa3"}
_NAMES = {"real": "real", "generated": "generated", "both": "real + generated"}


def plot_utility(record: Mapping[str, Any]) -> Figure:
    """Return the scores of the arms with their 95 % intervals, each repeat a ring, and chance.

    record: worth, worth_interval, label, score, chance, arms, as `judge` gives them, and n.
    """
    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    axes = figure.subplots()
    for row, (name, arm) in enumerate(record["arms"].items()):
        colour = _COLOURS[name]
        if arm["interval"]:
            axes.plot(arm["interval"], [row, row], color=colour, lw=2.5, solid_capstyle="butt")
        axes.plot(arm["repeats"], [row] * len(arm["repeats"]), "o", color=colour, mfc="none", ms=5)
        axes.plot(arm["score"], row, "D", color=colour, ms=8)
        label = f"{arm['score']:.2f}"
        axes.annotate(label, (arm["score"], row), (0, 9), textcoords="offset points", ha="center")
    axes.axvline(record["chance"], color="grey", ls="--", lw=1)
    axes.text(record["chance"], -0.75, " chance", color="grey", va="center")
    axes.set(
        xlabel=f"{record['score']} of {record['label']} on {_counts(record['n_test'])}",
        ylim=(2.5, -1),
    )
    axes.set_yticks(range(3), [f"learnt from\n{_NAMES[name]}" for name in record["arms"]])
    axes.set_title(_title(record), loc="left", fontsize="medium")
    axes.grid(axis="x", alpha=0.3)
    return figure


def _title(record: Mapping[str, Any]) -> str:
    if record["worth"] is None:
        return "worth: nothing can be said (see the warnings)"
    low, high = record["worth_interval"]
    return f"worth {record['worth']:.2f} of real images ({low:.2f} to {high:.2f})"


def _counts(test: Mapping[str, int]) -> str:
    patients = f" of {test['groups']:,} patients" if test["groups"] < test["videos"] else ""
    return f"{test['videos']:,} real videos{patients}"
