"""The closest pairs, to be looked at: generated, nearest training image, their difference.

Invariant: images are shown as they are, enlarged by a whole factor; only the difference is
amplified, around mid-grey, by the factor that the title names.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_BACKGROUND, _TEXT = 24, (230, 230, 230)
_GAP, _TITLE, _CAPTION = 8, 22, 20  # pixels


def copy_sheet(
    generated: NDArray[np.uint8],
    train: NDArray[np.uint8],
    captions: Sequence[str],
    *,
    zoom: int = 3,
    gain: int = 4,
) -> Image.Image:
    """Return a row a pair: generated | training | 128 + gain (generated - training).

    generated, train: (n, H, W[, 3]), n >= 1. captions: n lines, e.g. p-value and names, each below
    its row. Nothing is aligned: a copy that is shifted shows edges in the difference.
    """
    if not len(generated) == len(train) == len(captions):
        raise AssertionError(f"{len(generated)}, {len(train)} images and {len(captions)} captions")
    titles = ("generated", "nearest training", f"difference x {gain}")
    rows = [
        np.stack(row)
        for row in zip(generated, train, difference(generated, train, gain), strict=True)
    ]
    height, width = (size * zoom for size in generated.shape[1:3])
    font = ImageFont.load_default(13)
    across = 3 * (width + _GAP) - _GAP
    across = max([across, *(int(font.getlength(caption)) + 4 for caption in captions)])
    step = height + _CAPTION + _GAP
    page = Image.new("RGB", (across, _TITLE + len(rows) * step - _GAP), (_BACKGROUND,) * 3)
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(titles):
        draw.text((column * (width + _GAP) + 2, 3), title, fill=_TEXT, font=font)
    for i, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        y = _TITLE + i * step
        for column, image in enumerate(row):
            enlarged = Image.fromarray(image.repeat(zoom, 0).repeat(zoom, 1))
            page.paste(enlarged, (column * (width + _GAP), y))
        draw.text((2, y + height + 2), caption, fill=_TEXT, font=font)
    return page


def difference(first: NDArray[np.uint8], second: NDArray[np.uint8], gain: int) -> NDArray[np.uint8]:
    """Return 128 + gain (first - second), clipped to 0..255."""
    amplified = 128 + gain * (first.astype(np.int32) - second)
    return amplified.clip(0, 255).astype(np.uint8)
