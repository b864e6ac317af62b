"""Where an ultrasound image shows something: its sector, and dark pools (blood) inside it.

A pixel is bright if the mean of its 3 x 3 neighbours is above what coding and sampling leave in
black; the sector is the convex hull of bright pixels, so shadows and chambers belong to it.
Invariant: the mask of an image depends on that image alone.
"""

from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BLACK = 6.0  # grey levels; video coding, resizing and generators leave up to this in black
HULL_ANGLES = 16  # of pairs of parallel lines around the bright pixels
POOL_CONTRAST = 0.7  # a pool is darker than this share of the sector's mean
SMALLEST_POOL = 0.005  # of the sector: less is a gap between speckles

Images = NDArray[np.float32]
Masks = NDArray[np.bool_]


def neighbourhood(shape: tuple[int, ...]) -> int:
    """Return the side in pixels (odd) of what counts as around a pixel: a quarter of the image."""
    return max(min(shape[-2:]) // 4, 3) | 1


def local_mean(images: Images, inside: Masks, size: int) -> Images:
    """Return the mean (N, H, W) of the pixels `inside` a square of `size` (odd) around each.

    It is 0 where there are none.
    """
    total, count = (_square_sum(x, size) for x in (np.where(inside, images, 0), inside))
    mean: Images = np.where(count > 0, total / np.maximum(count, 1), 0).astype(np.float32)
    return mean


def sector_masks(images: Images) -> Masks:
    """Return which pixels (N, H, W) of each image, grey levels 0..255, are inside its sector."""
    bright = local_mean(images, np.ones(images.shape, bool), 3) > BLACK
    y, x = np.indices(images.shape[1:])
    inside = np.ones(bright.shape, bool)
    for angle in np.arange(HULL_ANGLES) * np.pi / HULL_ANGLES:
        along = (x * np.cos(angle) + y * np.sin(angle)).astype(np.float32)
        least = np.where(bright, along, np.inf).min((1, 2), keepdims=True)
        most = np.where(bright, along, -np.inf).max((1, 2), keepdims=True)
        inside &= (along >= least) & (along <= most)
    return inside


def pool_areas(images: Images, inside: Masks) -> list[NDArray[np.float64]]:
    """Return the areas of each image's dark pools as shares of its sector.

    A pool is a region, connected by edges, whose local means are below 0.7 of the sector's mean.
    It is opened, so that gaps in walls do not join chambers; means and opening are by squares of a
    sixteenth of the image. It has 0.5 % of the sector or more, and does not touch the sector's
    border, where the dark is shadow or dropout.
    """
    grain, size = min(images.shape[1:]) // 16 | 1, inside.sum((1, 2))
    mean = np.where(inside, images, 0).sum((1, 2)) / np.maximum(size, 1)
    dark = inside & (local_mean(images, inside, grain) < POOL_CONTRAST * mean[:, None, None])
    dark = ndimage.binary_opening(dark, np.ones((1, grain, grain)))
    border = inside & ~ndimage.binary_erosion(inside, np.ones((1, 3, 3)))
    found = zip(dark, border, size, strict=True)
    return [_enclosed(mask, edge, int(sector)) for mask, edge, sector in found]


def _enclosed(dark: Masks, edge: Masks, sector: int) -> NDArray[np.float64]:
    label, _ = ndimage.label(dark)  # by edges, not by corners
    counts = np.bincount(label.ravel())
    counts[np.unique(label[edge])] = 0
    counts[0] = 0
    areas: NDArray[np.float64] = counts[counts >= max(SMALLEST_POOL * sector, 1)] / max(sector, 1)
    return areas


def _square_sum(values: NDArray[np.generic], size: int) -> Images:
    """Return the sum (N, H, W) of a square of `size` around each pixel, zeros outside the image."""
    half, (_, height, width) = size // 2, values.shape
    padded = np.pad(values.astype(np.float32), ((0, 0), (half, half), (half, half)))
    # Few shifted additions: unlike differences of running sums they leave no rounding behind.
    rows = reduce(np.add, (padded[:, i : i + height] for i in range(size)))
    return reduce(np.add, (rows[:, :, j : j + width] for j in range(size)))
