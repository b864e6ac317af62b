"""Trivial ways to tell generated from real: one number an image, and bands of its spectrum.

A classifier that is right may have seen no anatomy: a black that is not 0, a comb in the histogram,
another resize filter. Each number here is tested alone: its AUC, against that of chance.
Invariant: a number depends on its image alone, so that nothing is fitted and nothing held out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep.evaluation.echo_texture import Floats, frequencies, spectra
from echosweep.evaluation.sets import Side
from echosweep.evaluation.shift_chance import auc, auc_variance, concentration, margin

BANDS = 8
_CHUNK = 256


class Cause(NamedTuple):
    """What a number of an image measures, and what to do where it tells the sides apart."""

    says: str
    fix: str


_RANGE = "train longer, and check that both sets went through one map from grey levels to [-1, 1]"
_CODING = (
    "give both sets one 8-bit path: the same decoder and resize, and no contrast stretch, palette "
    "or JPEG on one side alone"
)

CAUSES: dict[str, Cause] = {
    "black_share": Cause(
        "share of values that are exactly 0",
        "the background is not quite black, or the real one is not: set levels up to about 3 to 0 "
        "in both sets, or sample with more steps",
    ),
    "white_share": Cause("share of values that are exactly 255", _RANGE),
    "mean_level": Cause("mean grey level", _RANGE),
    "contrast": Cause("standard deviation of the grey levels", _RANGE),
    "levels": Cause("distinct grey levels", _CODING),
    "odd_share": Cause("share of odd levels among those above 0", _CODING),
    "comb": Cause("gaps and spikes in the histogram: each level against its neighbours", _CODING),
    "edges": Cause(
        "mean difference of neighbouring pixels over the contrast: blur or sharpness",
        "prepare both sets with one resize filter; if they are, train longer or sample with more "
        "steps",
    ),
    "checkerboard": Cause(
        "mean difference of neighbouring differences over that of pixels: the finest grain",
        "what sampling leaves at the finest scale: more steps, or a smaller last noise level",
    ),
    "colour": Cause(
        "mean difference of the highest and the lowest channel",
        "real ultrasound is grey but for its overlays: train and sample in one channel",
    ),
}


def scalars(images: NDArray[np.uint8]) -> dict[str, Floats]:
    """Return each number of CAUSES, (N,), of images (N, H, W[, 3]); colour of colours alone."""
    counts, levels = _histograms(images), np.arange(256)
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ levels
    contrast = np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))
    grey = shares[:, 1:255]  # black and white have causes of their own
    rough = np.abs(grey[:, 1:-1] - (grey[:, :-2] + grey[:, 2:]) / 2).sum(1)
    x = images.astype(np.float32)
    across, down = np.diff(x, axis=2), np.diff(x, axis=1)
    edges = (_mean_size(across) + _mean_size(down)) / 2
    found = {
        "black_share": shares[:, 0],
        "white_share": shares[:, 255],
        "mean_level": mean,
        "contrast": contrast,
        "levels": (counts > 0).sum(1).astype(np.float64),
        "odd_share": _over(shares[:, 1::2].sum(1), 1 - shares[:, 0]),
        "comb": _over(rough, grey.sum(1)),
        "edges": _over(edges, contrast),
        "checkerboard": _over(_mean_size(np.diff(across, axis=1)), edges),
    }
    return found | ({"colour": _mean_size(np.ptp(x, axis=3))} if images.ndim == 4 else {})


def _histograms(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    flat = images.reshape(len(images), -1)
    place = flat + 256 * np.arange(len(images))[:, None]
    return np.bincount(place.ravel(), minlength=256 * len(images)).reshape(-1, 256)


def _mean_size(differences: NDArray[np.floating]) -> Floats:
    size: Floats = np.abs(differences).reshape(len(differences), -1).mean(1, dtype=np.float64)
    return size


def _over(part: Floats, whole: Floats) -> Floats:
    """Return the ratio, 0 where there is nothing to divide by: a blank image has no texture."""
    ratio: Floats = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 1e-9)
    return ratio


def find_causes(generated: Side, reference: Side) -> list[dict[str, Any]]:
    """Return one row a cause, the plainest first: means of both sides, AUC, is it no chance.

    auc is above 1/2 where the generated images have more; margin is what chance leaves, over all
    rows together.
    """
    made, real = _each(generated, scalars), _each(reference, scalars)
    rows = [
        {"name": name, **CAUSES[name]._asdict(), **row}
        for name, row in zip(made, _compare(generated, reference, made, real), strict=True)
    ]
    return sorted(rows, key=lambda row: -abs(row["auc"] - 0.5))


def find_bands(generated: Side, reference: Side) -> list[dict[str, Any]]:
    """Return one row a band of spatial frequency, coarse to fine: mean power, AUC, is it no chance.

    low, high: in cycles a pixel. generated, reference: mean power in dB.
    """
    rings = frequencies(reference.store.preparation.size)
    parts = np.array_split(np.arange(len(rings)), BANDS)
    made, real = (_each(side, lambda x: _band_power(x, parts)) for side in (generated, reference))
    edges = [{"low": float(rings[part[0]]), "high": float(rings[part[-1]])} for part in parts]
    compared = _compare(generated, reference, made, real)
    return [edge | row for edge, row in zip(edges, compared, strict=True)]


def _band_power(images: NDArray[np.uint8], parts: list[NDArray[Any]]) -> dict[str, Floats]:
    grey = images.astype(np.float32)
    decibels = spectra(grey if images.ndim == 3 else grey.mean(-1))
    return {str(i): decibels[:, part].mean(1) for i, part in enumerate(parts)}


def _each(
    side: Side, measure: Callable[[NDArray[np.uint8]], dict[str, Floats]]
) -> dict[str, Floats]:
    """Return every number of every image of a side, a chunk of images at a time."""
    chunks = [
        measure(side.images(slice(start, start + _CHUNK))) for start in range(0, len(side), _CHUNK)
    ]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _compare(
    generated: Side, reference: Side, made: dict[str, Floats], real: dict[str, Floats]
) -> list[dict[str, Any]]:
    """Return means, AUC and what chance leaves, for each number of both sides."""
    variance = auc_variance(concentration(generated.groups), concentration(reference.groups))
    # Two-sided, as a number may be too high or too low.
    chance, rows = margin(variance, 2 * len(made)), []
    for name, values in made.items():
        found = auc(values, real[name])
        rows.append(
            {
                "generated": float(values.mean()),
                "reference": float(real[name].mean()),
                "auc": found,
                "margin": chance,
                "told_apart": abs(found - 0.5) > chance,
            }
        )
    return rows
