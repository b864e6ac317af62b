"""From a decoded frame to a small image: crop or letterbox, full range, one antialiased resize.

The resize is Pillow's convolution with the full support of the filter. An image more than four
times too large is first averaged over blocks: within 55 dB of the same, in half the time.
Invariant: a full-range image of the wanted size keeps its exact pixels.
"""

from collections.abc import Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from echosweep.config.prepare import MIN_SIDE, Filter, Fit
from echosweep.data.source import Broken, Frame
from echosweep.data.store import Preparation

FITS: tuple[str, ...] = get_args(Fit)
FILTERS: tuple[str, ...] = get_args(Filter)
TOGETHER = 4
"""How many grey frames `small_images` resizes in one go: the bands of an image."""
_GAP = 2.0  # averaging leaves at least so many source pixels for each target pixel
_LIMITED_TO_FULL = bytes(min(255, max(0, round((y - 16) * 255 / 219))) for y in range(256))
Size = tuple[int, int]
"""(width, height), as Pillow has it."""


def small_image(frame: Frame, preparation: Preparation) -> NDArray[np.uint8]:
    """Return `frame` in `preparation`'s size and channels: (H, W) or (H, W, 3).

    Raises Broken for a frame with a side below 8 pixels.
    """
    image, mode = _fitted(frame, preparation), "L" if preparation.channels == 1 else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def small_images(frames: Sequence[Frame], preparation: Preparation) -> NDArray[np.uint8]:
    """Return `small_image` of each of up to TOGETHER frames of one size: (n, H, W) or (n, H, W, 3).

    Pillow filters every band of an image for itself, and four in twice the time of one: four grey
    frames go through as one image. "CMYK" is the mode whose four bands it treats alike.
    """
    grey = all(frame.image.mode == "L" for frame in frames) and preparation.channels == 1
    alike = len({frame.limited for frame in frames}) == 1
    if not (grey and alike and len(frames) == TOGETHER):
        return np.stack([small_image(frame, preparation) for frame in frames])
    packed = frames[0]._replace(image=Image.merge("CMYK", [frame.image for frame in frames]))
    return np.moveaxis(np.asarray(_fitted(packed, preparation)), 2, 0)


def _fitted(frame: Frame, preparation: Preparation) -> Image.Image:
    """Return `frame` in `preparation`'s size, in its own mode."""
    width, height = frame.image.size
    if min(width, height) < MIN_SIDE:
        raise Broken(f"frames of {width}x{height} pixels; at least {MIN_SIDE} a side are needed")
    target = preparation.size[1], preparation.size[0]
    filter = Image.Resampling[preparation.filter.upper()]
    if preparation.fit == "crop":
        return _resize(frame, crop_box((width, height), target), target, filter)
    inner = inner_size((width, height), target)
    canvas = Image.new(frame.image.mode, target)
    corner = (target[0] - inner[0]) // 2, (target[1] - inner[1]) // 2
    canvas.paste(_resize(frame, (0, 0, width, height), inner, filter), corner)
    return canvas


def crop_box(size: Size, target: Size) -> tuple[int, int, int, int]:
    """Return the largest centred box (left, top, right, bottom) with the shape of `target`.

    The box lies on whole pixels, so that a crop alone blurs nothing.
    """
    width = min(size[0], max(1, round(size[1] * target[0] / target[1])))
    height = min(size[1], max(1, round(size[0] * target[1] / target[0])))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def inner_size(size: Size, target: Size) -> Size:
    """Return the largest size within `target` that has the shape of `size`."""
    scale = min(target[0] / size[0], target[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def expand_range(luma: Image.Image) -> Image.Image:
    """Return limited-range luma (16 to 235, ITU-R BT.601) stretched to 0 to 255, clipped."""
    return Image.frombytes(luma.mode, luma.size, luma.tobytes().translate(_LIMITED_TO_FULL))


def _resize(
    frame: Frame, box: tuple[int, int, int, int], target: Size, filter: Image.Resampling
) -> Image.Image:
    """Resize the `box` of a frame: average blocks, stretch the range, then filter.

    The stretch comes before the filter, whose sums fill the steps that it leaves between levels.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    blocks = max(1, int(width / target[0] / _GAP)), max(1, int(height / target[1] / _GAP))
    if blocks == (1, 1) and not frame.limited:
        return frame.image.resize(target, filter, box)
    image = frame.image.reduce(blocks, box)
    if frame.limited:
        image = expand_range(image)
    return image.resize(target, filter, (0, 0, width / blocks[0], height / blocks[1]))
