"""Figures of a study: distance against NFE (the paper's Figure 1), training and guidance.

Invariant: every point is a row of a table, drawn with its interval where it has one; what was
chosen has a ring.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from echosweep.reporting.study_tables import StudyRow, is_control, line_of

# Told apart in print and by all eyes, by shape too.
_STYLES = (
    *(("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "D"), ("#cc79a7", "^")),
    *(("#7b4fa3", "v"), ("#8a6d00", "P"), ("#56b4e9", "X"), ("#444444", "*")),
)
_KINDS = {"discriminator": _STYLES[2], "autoguidance": _STYLES[1]}
_CHOSEN = "#111111"


def plot_nfe(rows: Sequence[StudyRow]) -> Figure:
    """Return distance against NFE, a line each network, framework and sampler.

    rows: `sampler_rows`, in their order. The band is the floor, as the trials measured it.
    """
    figure, axes = _axes()
    known = [row for row in rows if row.distance is not None and row.nfe is not None]
    for i, (line, points) in enumerate(groupby(known, key=line_of)):
        _plot(axes, list(points), "nfe", _style(i), "-", " ".join(line))
    _mark(axes, known, "nfe")
    _floor(axes, known)
    axes.set(xlabel="network evaluations an image (NFE)")
    return _finished(figure, axes, known)


def plot_training(rows: Sequence[StudyRow]) -> Figure:
    """Return distance against images seen in training, a line each length of the average.

    Where more lengths than times were tried, against the length: a line each time.
    """
    figure, axes = _axes()
    known = [row for row in rows if row.distance is not None and row.kimg is not None]
    if len({row.ema for row in known}) > len({row.kimg for row in known}):
        x, by, label = "length", "kimg", "relative length of the average (0: kept in training)"
    else:
        x, by, label = "kimg", "length", "images seen in training (thousands)"
    ordered = sorted(known, key=lambda row: (_value(row, by), _value(row, x)))
    for i, (value, points) in enumerate(groupby(ordered, key=lambda row: _value(row, by))):
        _plot(axes, list(points), x, _style(i), "-", f"{by} {value:,g}")
    _mark(axes, known, x)
    axes.set(xlabel=label)
    return _finished(figure, axes, known)


def plot_guidance(rows: Sequence[StudyRow]) -> Figure:
    """Return distance against the weight w1 (times its scale) of each kind of guidance.

    rows: `guidance_rows`. The line is what the same model does without guidance.
    """
    figure, axes = _axes()
    known = [row for row in rows if row.distance is not None]
    guided = sorted((row for row in known if row.guidance), key=lambda row: row.guidance or "")
    for i, (kind, points) in enumerate(groupby(guided, key=lambda row: row.guidance)):
        _plot(axes, list(points), "weight", _KINDS.get(kind or "", _style(i)), "", str(kind))
    _mark(axes, guided, "weight")
    for row in filter(is_control, known):
        axes.axhline(_value(row, "distance"), color="#444444", lw=1.2, label="without guidance")
        if row.interval:
            axes.axhspan(*row.interval, color="#444444", alpha=0.12, lw=0)
    axes.set(xlabel="weight on the first evaluation of a step, w1 x scale")
    return _finished(figure, axes, known)


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    return figure, figure.subplots()


def _style(i: int) -> tuple[str, str]:
    return _STYLES[i % len(_STYLES)]


def _plot(
    axes: Axes, rows: Sequence[StudyRow], x: str, style: tuple[str, str], line: str, name: str
) -> None:
    """Draw points, joined by `line`, with their intervals."""
    colour, marker = style
    xs = [_value(row, x) for row in rows]
    ys = [_value(row, "distance") for row in rows]
    axes.plot(xs, ys, marker + line, color=colour, ms=6, label=name)
    for at, row in zip(xs, rows, strict=True):
        if row.interval:
            axes.plot([at, at], row.interval, color=colour, lw=1.2, alpha=0.55, zorder=1)


def _mark(axes: Axes, rows: Sequence[StudyRow], x: str) -> None:
    """Put a ring around what was chosen, and say where it lies."""
    marked = [row for row in rows if row.chosen]
    if marked:
        xs = [_value(row, x) for row in marked]
        ring: dict[str, Any] = {"ms": 14, "mfc": "none", "mec": _CHOSEN, "mew": 1.4}
        label = "chosen: " + ", ".join(f"{at:,g}" for at in xs)
        axes.plot(xs, [_value(row, "distance") for row in marked], "o", label=label, **ring)


def _value(row: StudyRow, name: str) -> float:
    """Return a number of a row, or of what figures alone show: weight, length."""
    match name:
        case "weight":
            return (row.w1 or 0) * (row.scale or 1)
        case "length":
            return row.ema or 0
    return float(getattr(row, name))


def _floor(axes: Axes, rows: Sequence[StudyRow]) -> None:
    """Draw the floor: one line where the trials agree on it, else the band that they span."""
    values = [row.floor for row in rows if row.floor is not None]
    if values:
        axes.axhspan(0, max(values), color="#56b4e9", alpha=0.18, lw=0)
        axes.axhline(min(values), color="#0072b2", lw=1, ls="--", label="floor: real against real")


def _finished(figure: Figure, axes: Axes, rows: Sequence[StudyRow]) -> Figure:
    metrics = dict.fromkeys(row.metric for row in rows)
    axes.set(ylabel=f"{', '.join(metrics)} (lower is better)")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return figure
