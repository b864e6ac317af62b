"""The training image that an image may be a copy of, and how far it stands out.

    d^2 = 2 (1 - max over shifts of the normalised cross-correlation)

of lightly blurred images: a shift, a gain, an offset and fine noise cost little. Bland images are
close to everything, so the score is the log of d over the mean d of the nearest images of other
patients or videos, after the ratio of Carlini et al. 2023. Invariant: the score of an image depends
on the image and the training set alone, so those of generated and held-out images are comparable.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echosweep.evaluation.neighbours import Neighbours, Vectors, blocks, nearest
from echosweep.evaluation.sets import Side
from echosweep.progress import Progress, silent

MAX_SHIFT = 1 / 16  # of the image: 4 of 64 px
_BLUR = 1 / 64  # of the image: a standard deviation of 1 of 64 px
_POOLED = 16  # thumbnails of 16 x 16, in which candidates are sought
_CANDIDATES = 20  # by thumbnail, and half as many by features
_PER_SHIFT = 8  # of them at most for each of the 9 shifts of the image they are sought with
_OTHERS = 5  # nearest images of other groups: the local density
_FLAT = 1.0  # grey levels: an image whose standard deviation is less shows nothing to compare
_LEAST = 1e-3  # the smallest distance that float32 correlations resolve
_BATCH = 64


@dataclass(frozen=True)
class Matches:
    """For each of n images, its nearest training image in pixels and in features.

    rows (n,): positions in the training side. distances (n,): of pixels as in the module's head,
    of features Euclidean. shifts (n, 2): pixels down and right, training to image. scores (n,):
    log ratio to the distance of other groups' images, the lower the likelier a copy.
    """

    pixel_rows: NDArray[np.int64]
    pixel_distances: NDArray[np.float64]
    shifts: NDArray[np.int64]
    pixel_scores: NDArray[np.float64]
    feature_rows: NDArray[np.int64]
    feature_distances: NDArray[np.float64]
    feature_scores: NDArray[np.float64]


def match(
    side: Side,
    train: Side,
    thumbs: NDArray[np.float32],
    memory: int = 2**30,
    progress: Progress = silent,
) -> Matches:
    """Return the matches of each image of `side` in `train`, whose thumbnails are `thumbs`.

    Candidates are the nearest by thumbnail and by features; the best shift of each is found. Both
    sides have features; `train` has at least two groups.
    """
    k = min(_CANDIDATES // 2, len(train))
    by_feature = nearest(side.features, train.features, k, memory=memory)
    candidates = np.concatenate([_by_thumbnail(side, thumbs, memory), by_feature.rows], axis=1)
    distances, shifts = aligned(side, train, candidates, progress)
    best = distances.argmin(1)[:, None]
    rows, least = (np.take_along_axis(a, best, 1)[:, 0] for a in (candidates, distances))
    others = _others(thumbnails(side), thumbs, rows, train, memory)
    away, _ = aligned(side, train, others.rows)
    feature_rows, feature_least = by_feature.rows[:, 0], by_feature.distances[:, 0]
    feature_away = _others(side.features, train.features, feature_rows, train, memory).distances
    return Matches(
        rows,
        least,
        np.take_along_axis(shifts, best[..., None], 1)[:, 0],
        _log_ratio(least, away),
        feature_rows,
        feature_least,
        _log_ratio(feature_least, feature_away),
    )


def thumbnails(side: Side, shift: tuple[int, int] = (0, 0)) -> NDArray[np.float32]:
    """Return images pooled to 16 x 16, without mean and scale, float32 (n, 256).

    shift: pixels down and right that the images are moved by first, edges repeated.
    """
    found = np.empty((len(side), _POOLED**2), np.float32)
    for part in blocks(np.arange(len(side)), 1024):
        moved = _moved(_grey(side.images(part)), *shift)
        pooled = torch.nn.functional.adaptive_avg_pool2d(moved, _POOLED)
        found[part] = _standardised(pooled.flatten(1)).numpy()
    return found


def _by_thumbnail(side: Side, thumbs: NDArray[np.float32], memory: int) -> NDArray[np.int64]:
    """Return the training images (n, k) nearest by thumbnail, over 9 shifts of each image.

    A pooled pixel is as wide as the largest shift: unshifted, a shifted copy is not found by it.
    """
    steps = [(s, t) for s in (-1, 0, 1) for t in (-1, 0, 1)]
    height, width = side.store.preparation.size
    down, right = round(0.75 * height * MAX_SHIFT), round(0.75 * width * MAX_SHIFT)
    k = min(_PER_SHIFT, len(thumbs))
    found = [
        nearest(thumbnails(side, (s * down, t * right)), thumbs, k, memory=memory) for s, t in steps
    ]
    distances = np.concatenate([f.distances for f in found], axis=1)
    order = np.argsort(distances, axis=1)[:, :_CANDIDATES]
    return np.take_along_axis(np.concatenate([f.rows for f in found], axis=1), order, axis=1)


def aligned(
    side: Side, train: Side, candidates: NDArray[np.int64], progress: Progress = silent
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return each image's distance to its candidates (n, k) at the best shift, and that (n, k, 2).

    The image's middle is laid over the candidate at every shift of up to 1/16 of the size.
    """
    distances = np.empty(candidates.shape)
    shifts = np.empty((*candidates.shape, 2), np.int64)
    progress(0, len(side))
    for part in blocks(np.arange(len(side)), _BATCH):
        unique, where = np.unique(candidates[part], return_inverse=True)
        templates = _blurred(_grey(side.images(part)))
        windows = _blurred(_grey(train.images(unique)))
        ncc, at = _best_shift(templates, windows, torch.from_numpy(where.reshape(len(part), -1)))
        distances[part] = (2 - 2 * ncc).clamp(min=_LEAST**2).sqrt().numpy()
        shifts[part] = at.numpy()
        progress(int(part[-1]) + 1, len(side))
    return distances, shifts


def _best_shift(x: Tensor, y: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest correlation of x (n, H, W) with y[pairs] (n, k), and its shift (n, k, 2).

    Correlations of the middle of x with all windows of y by FFT; the windows' own sums by running
    sums (Lewis 1995).
    """
    height, width = x.shape[-2:]
    most = round(height * MAX_SHIFT), round(width * MAX_SHIFT)
    h, w = height - 2 * most[0], width - 2 * most[1]
    middle = x[:, most[0] : most[0] + h, most[1] : most[1] + w]
    middle = middle - middle.mean((1, 2), keepdim=True)
    y = y - y.mean((1, 2), keepdim=True)
    spectrum = torch.fft.rfft2(middle, s=(height, width)).conj()
    many = torch.fft.rfft2(y)[pairs] * spectrum[:, None]
    products = torch.fft.irfft2(many, s=(height, width))[..., : 2 * most[0] + 1, : 2 * most[1] + 1]
    variance = _window_sums(y * y, h, w) - _window_sums(y, h, w) ** 2 / (h * w)
    least = _FLAT**2 * h * w
    norms = variance.clamp(min=least).sqrt()[pairs]
    own = (middle * middle).sum((1, 2)).clamp(min=least).sqrt()
    ncc, at = (products / norms / own[:, None, None, None]).flatten(2).max(2)
    side = 2 * most[1] + 1
    return ncc.double(), torch.stack([most[0] - at // side, most[1] - at % side], -1)


def _window_sums(y: Tensor, h: int, w: int) -> Tensor:
    """Return the sums of all h x w windows of y (n, H, W)."""
    total = torch.nn.functional.pad(y.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
    total = total[:, h:] - total[:, :-h]
    return (total[..., w:] - total[..., :-w]).float()


def _others(
    queries: Vectors, base: Vectors, rows: NDArray[np.int64], train: Side, memory: int
) -> Neighbours:
    """Return the nearest neighbours outside the group of each query's match."""
    groups = train.groups
    outside = len(groups) - np.bincount(groups).max()
    k = min(_OTHERS, int(outside))
    return nearest(queries, base, k, apart=(groups[rows], groups), memory=memory)


def _log_ratio(least: NDArray[np.float64], away: NDArray[np.float64]) -> NDArray[np.float64]:
    tiny = np.finfo(np.float64).tiny
    ratio: NDArray[np.float64] = np.log(np.maximum(least, tiny) / np.maximum(away.mean(1), tiny))
    return ratio


def _grey(images: NDArray[np.uint8]) -> Tensor:
    """Return images as float32 (n, H, W); colours are averaged."""
    x = torch.tensor(images).float()
    return x if x.ndim == 3 else x.mean(-1)


def _moved(x: Tensor, down: int, right: int) -> Tensor:
    """Return x (n, H, W) moved by whole pixels, edges repeated."""
    rows = (torch.arange(x.shape[1]) - down).clamp(0, x.shape[1] - 1)
    columns = (torch.arange(x.shape[2]) - right).clamp(0, x.shape[2] - 1)
    return x[:, rows][:, :, columns]


def _blurred(x: Tensor) -> Tensor:
    """Return x (n, H, W) after a Gaussian of 1/64 of the height, edges repeated."""
    sigma = x.shape[1] * _BLUR
    reach = max(1, math.ceil(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    taps = taps / taps.sum()
    x = torch.nn.functional.pad(x[:, None], (reach,) * 4, mode="replicate")
    x = torch.nn.functional.conv2d(x, taps[None, None, :, None])
    return torch.nn.functional.conv2d(x, taps[None, None, None, :])[:, 0]


def _standardised(x: Tensor) -> Tensor:
    x = x - x.mean(1, keepdim=True)
    unit: Tensor = x / x.norm(dim=1, keepdim=True).clamp(min=_FLAT * math.sqrt(x.shape[1]))
    return unit
