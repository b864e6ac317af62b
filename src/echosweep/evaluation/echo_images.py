"""One image in, its summaries out: what the echo metric knows of an image.

Histogram, background, sector, spectrum, speckle, pools, each a row of numbers whose sums over
images are enough for every value of the metric. Invariant: a row depends on its image alone.
"""

import numpy as np
from numpy.typing import NDArray

from echosweep.evaluation.echo_sector import (
    Images,
    Masks,
    local_mean,
    neighbourhood,
    pool_areas,
    sector_masks,
)
from echosweep.evaluation.echo_texture import (
    Floats,
    autocorrelation,
    speckle_terms,
    spectra,
    texture,
)

POOL_BIN = 0.005  # of the sector
POOL_SHARES = np.arange(0.5, 100) * POOL_BIN  # the middle of each bin; larger pools are in the last

Table = dict[str, Floats]


def summarise(images: NDArray[np.uint8]) -> Table:
    """Return the summaries (N, width) of images (N, H, W[, 3]) by name; colours are averaged."""
    grey = images.astype(np.float32)
    grey = grey if images.ndim == 3 else grey.mean(-1)
    inside = sector_masks(grey)
    around = local_mean(grey, inside, neighbourhood(grey.shape))
    flat = texture(grey, inside, around)
    pools = pool_areas(grey, inside)
    zeros = (grey == 0) & ~inside
    return {
        "images": np.ones((len(grey), 1)),
        "histogram": _histograms(grey, inside),
        "background": np.stack([zeros.sum((1, 2)), (~inside).sum((1, 2))], 1).astype(np.float64),
        "sector": inside.reshape(len(grey), -1).astype(np.float64),
        "spectrum": spectra(grey),
        "axial": autocorrelation(flat, inside, 1),
        "lateral": autocorrelation(flat, inside, 2),
        "speckle": speckle_terms(grey, inside),
        "pools": np.array([[len(areas), areas.sum()] for areas in pools]),
        "pool_areas": np.array([_pool_histogram(areas) for areas in pools]),
    }


def _histograms(images: Images, inside: Masks) -> Floats:
    """Return the share of each grey level among the pixels inside the sector, (N, 256)."""
    image = np.broadcast_to(np.arange(len(images))[:, None, None], images.shape)
    place = 256 * image[inside] + np.rint(images[inside]).astype(np.int64)
    counts = np.bincount(place, minlength=256 * len(images)).reshape(-1, 256)
    shares: Floats = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def _pool_histogram(areas: Floats) -> Floats:
    bins = np.minimum(areas / POOL_BIN, len(POOL_SHARES) - 1).astype(np.int64)
    return np.bincount(bins, minlength=len(POOL_SHARES)).astype(np.float64)
