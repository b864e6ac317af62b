"""Contact sheets and curves: pure functions from arrays and records to a picture.

Invariant: a picture shows the pixels it was given, enlarged by whole factors, never resampled.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from echosweep import runs
from echosweep.text import printable

_GAP = 2  # pixels of background between images
_BACKGROUND = 24  # a dark grey: an image's own black edge stays visible


def contact_sheet(images: NDArray[np.uint8], columns: int, zoom: int = 1) -> Image.Image:
    """Return `images` (N, H, W[, 3]) in rows of `columns`, each `zoom` times as large."""
    if images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=-1)
    count, height, width, _ = images.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    step_y, step_x = height + _GAP, width + _GAP
    sheet = np.full((rows * step_y - _GAP, columns * step_x - _GAP, 3), _BACKGROUND, np.uint8)
    for i, image in enumerate(images):
        y, x = divmod(i, columns)
        sheet[y * step_y : y * step_y + height, x * step_x : x * step_x + width] = image
    return Image.fromarray(sheet.repeat(zoom, 0).repeat(zoom, 1))


def compare_sheets(groups: Mapping[str, NDArray[np.uint8]], columns: int, zoom: int) -> Image.Image:
    """Return one contact sheet a group, side by side, each under its name."""
    sheets = [contact_sheet(images, columns, zoom) for images in groups.values()]
    font, title, margin = ImageFont.load_default(16), 28, 16
    width = sum(sheet.width for sheet in sheets) + margin * (len(sheets) - 1)
    height = max(sheet.height for sheet in sheets) + title
    page = Image.new("RGB", (width, height), (_BACKGROUND,) * 3)
    draw, x = ImageDraw.Draw(page), 0
    for name, sheet in zip(groups, sheets, strict=True):
        draw.text((x + 4, 5), name, fill=(230, 230, 230), font=font)
        page.paste(sheet, (x, title))
        x += sheet.width + margin
    return page


def plot_loss(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the training loss against images seen, with the held-out loss where it is recorded.

    records: rows of metrics.jsonl with nimg, loss and, at snapshots, held_out_loss.
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for key, style in (("loss", "-"), ("held_out_loss", "o--")):
        rows = [row for row in records if row.get(key) is not None]
        if rows:
            kimg = [row["nimg"] / 1000 for row in rows]
            axes.plot(kimg, [row[key] for row in rows], style, label=key.replace("_", " "), ms=4)
    axes.set(xlabel="images seen (thousands)", ylabel="weighted loss per pixel", yscale="log")
    axes.grid(alpha=0.3, which="both")
    if axes.lines:
        axes.legend(frameon=False)
    return figure


def plot_floors(floors: Mapping[str, Any]) -> Figure:
    """Return distance against number of images, one panel for each extractor.

    floors: by label, {"metric": name, "by": {kind: curve}}; a curve has counts, values (repeats by
    counts), infinity and slope of the line infinity + slope / N.
    """
    figure = Figure(figsize=(6.4, 3.2 * len(floors)), layout="constrained")
    for axes, floor in zip(np.ravel(figure.subplots(len(floors))), floors.values(), strict=True):
        for i, (kind, curve) in enumerate(floor["by"].items()):
            draw_curve(axes, curve, f"C{i}", kind)
        axes.set(ylabel=floor["metric"], ylim=(0, None))
        axes.legend(frameon=False, fontsize=9)
    axes.set(xlabel="number of images N on each side (axis even in 1/N)")
    return figure


def draw_curve(axes: Axes, curve: Mapping[str, Any], colour: str, name: str) -> None:
    """Draw a distance against 1/N: its repeats, and the line down to infinitely many images."""
    inverse = 1 / np.asarray(curve["counts"], float)
    ends = np.array([0, inverse.max()])
    for values in curve["values"]:
        axes.plot(inverse, values, "o", color=colour, ms=3, alpha=0.5)
    label = f"{name}: {curve['mean']:.3g} ± {curve['std']:.2g}, N = ∞: {curve['infinity']:.3g}"
    axes.plot(ends, curve["infinity"] + curve["slope"] * ends, color=colour, label=label)
    counts = [curve["counts"][0], curve["counts"][len(inverse) // 2], curve["counts"][-1]]
    axes.set_xticks([0, *(1 / n for n in counts)], ["∞", *(f"{n:,}" for n in counts)])
    axes.grid(alpha=0.3)


def save(picture: Image.Image | Figure, path: Path) -> None:
    """Write a picture to `path` as PNG, atomically."""
    if isinstance(picture, Figure):
        content = drawn(picture, format="png", dpi=150)
    else:
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        content = buffer.getvalue()
    runs.atomic_write(path, lambda file: file.write(content))


def drawn(figure: Figure, **settings: Any) -> bytes:
    """Return a figure as a file, its texts as they are: a $ in a name begins no formula.

    Args:
        figure: What to draw.
        settings: Those of `Figure.savefig`.
    """
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":  # whose usual numbers are formulas
                axis.set_major_formatter(LogFormatter())
                axis.set_minor_formatter(LogFormatter())
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        text.set_text(printable(text.get_text(), "\n"))
    buffer = io.BytesIO()
    with matplotlib.rc_context({"text.parse_math": False, "svg.hashsalt": "echosweep"}):
        figure.savefig(buffer, **settings)
    return buffer.getvalue()
