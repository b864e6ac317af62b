"""Contact sheets and curves: pure functions from arrays and records to a picture.

Invariant: a picture shows the pixels it was given, enlarged by whole factors, never resampled.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from echosweep import runs

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


def save(picture: Image.Image | Figure, path: Path) -> None:
    """Write a picture to `path` as PNG, atomically."""
    buffer = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(buffer, format="png", dpi=150)
    else:
        picture.save(buffer, format="PNG")
    runs.atomic_write(path, lambda file: file.write(buffer.getvalue()))
