"""Echo fidelity: what a cardiologist's eye uses and a network of photographs does not see.

Every quantity is a function of means over images (of histograms, spectra, masks), so one pass that
sums them under a weight per image and resample gives values, intervals and floors alike.
Invariant: a resample takes or leaves whole groups; a distance that cannot be negative comes with
its floor, the mean distance between random halves of the reference.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echosweep import rng
from echosweep.errors import UsageError
from echosweep.evaluation.echo_images import POOL_BIN, POOL_SHARES, Table, summarise
from echosweep.evaluation.echo_texture import Floats, frequencies, half_width
from echosweep.evaluation.sets import FEW_GROUPS, Interval, Result, Side

MOST = 20_000  # images of a side that are looked at
DRAWS = 200  # bootstrap resamples
HALVES = 20  # random halvings of the reference
HIGH = 0.35  # cycles a pixel: above lie checkerboards and noise, and what a blur takes away
ODD = 0.05  # the share of reference images whose sector is called odd
_ALIKE = 0.95  # an overlap from which on no sector is odd
_CHUNK = 64
# Numbers of a side whose difference is a value too: those that no distance of curves stands for.
_DIFFERED = ("zero_share", "speckle_lateral_px", "speckle_axial_px", "speckle_snr")
_SIGNED = (*(f"{name}_difference" for name in _DIFFERED), "spectrum_high_db")
_SHARES = ("zero_share_generated", "zero_share_reference", "sector_iou", "sector_odd_share")
_BOOTSTRAP = slice(0, 1 + DRAWS)  # rows of weights: all images, then the resamples
_FIRST, _SECOND = slice(1 + DRAWS, 1 + DRAWS + HALVES), slice(1 + DRAWS + HALVES, None)


def measure_echo(generated: Side, reference: Side, seed: int) -> Result:
    """Return how the look of `generated` differs from that of `reference`, property by property.

    Grey levels, black background, shape of the sector, spectrum, speckle and dark pools;
    docs/evaluation.md says what each value is. Intervals are value +- 1.96 standard deviations
    over resamples of whole groups. At most MOST images of a side are looked at, evenly spread. What
    cannot be measured is left out, with a note. Raises UsageError where image sizes differ.
    """
    check_echo(generated, reference)
    made, real = _observe(generated, "generated", seed), _observe(reference, "reference", seed)
    odd, size = _odd(made, real), reference.store.preparation.size
    found = _compare(made.means(_BOOTSTRAP), real.means(_BOOTSTRAP), size)
    found["sector_odd_share"] = made.weights[_BOOTSTRAP] @ odd / made.weights[_BOOTSTRAP].sum(1)
    values = {name: float(draws[0]) for name, draws in found.items() if np.isfinite(draws[0])}
    intervals = {}
    if min(made.groups, real.groups) > 1:
        steady = [name for name in values if np.isfinite(found[name]).mean() > 0.5]
        intervals = {name: _interval(name, found[name]) for name in steady}
    if real.groups > 1:
        values |= _floors(real, size)
    notes = [*_notes(generated, reference, made, real), *_left_out(found)]
    return Result(values, intervals, _details(made, real, size), notes)


def check_echo(generated: Side, reference: Side) -> None:
    """Raise UsageError where image sizes differ."""
    sizes = [side.store.preparation.size for side in (generated, reference)]
    if sizes[0] != sizes[1]:
        raise UsageError(
            f"generated images are {sizes[0]} pixels and reference images {sizes[1]}: their "
            "sectors cannot be compared; prepare both at one size, or leave out the metric echo"
        )


@dataclass(frozen=True)
class _Observed:
    """What one pass over a side keeps: sums of summaries under each row of weights, and masks.

    weights: (rows, images). sums: name -> (rows, width). masks: (images, H W / 8), packed bits.
    """

    weights: Floats
    sums: Table
    masks: NDArray[np.uint8]
    groups: int

    def means(self, rows: slice) -> Table:
        """Return `_means` of some rows."""
        return _means({name: sums[rows] for name, sums in self.sums.items()})


def _observe(side: Side, name: str, seed: int) -> _Observed:
    chosen = np.arange(len(side))
    if len(side) > MOST:
        chosen = np.linspace(0, len(side) - 1, MOST).round().astype(np.int64)
    groups = np.unique(side.groups[chosen], return_inverse=True)[1]
    weights = _weights(groups, rng.derive("echo", name, seed))
    sums: Table = {}
    masks = []
    for start in range(0, len(chosen), _CHUNK):
        part = slice(start, start + _CHUNK)
        summaries = summarise(side.images(chosen[part]))
        masks.append(np.packbits(summaries["sector"].astype(bool), axis=1))
        for key, summary in summaries.items():
            sums[key] = sums.get(key, 0) + weights[:, part] @ summary
    return _Observed(weights, sums, np.concatenate(masks), int(groups.max()) + 1)


def _weights(groups: NDArray[np.int64], seed: int) -> Floats:
    """Return the weight of each image (rows, N): once all, DRAWS resamples, HALVES halves twice."""
    draw, count = np.random.default_rng(seed), int(groups.max()) + 1
    resamples = draw.multinomial(count, np.full(count, 1 / count), DRAWS)
    half = np.array([draw.permutation(count) < count // 2 for _ in range(HALVES)])
    by_group = np.concatenate([np.ones((1, count)), resamples, half, ~half])
    return by_group[:, groups]


def _means(sums: Table) -> Table:
    """Return what sums (rows, width) amount to: curves (rows, width) and numbers (rows, 1).

    NaN where nothing was there to be measured.
    """
    images = sums["images"]
    pools = _ratio(sums["pools"], images)
    return {
        "histogram": _ratio(sums["histogram"], sums["histogram"].sum(1, keepdims=True)),
        "zero_share": _ratio(sums["background"][:, :1], sums["background"][:, 1:]),
        "sector": _ratio(sums["sector"], images),
        "spectrum": _ratio(sums["spectrum"], images),
        "lateral": _ratio(sums["lateral"], sums["lateral"][:, :1]),
        "axial": _ratio(sums["axial"], sums["axial"][:, :1]),
        "snr": np.sqrt(_ratio(sums["speckle"][:, 2:], sums["speckle"][:, :2])),
        "pools": _ratio(sums["pool_areas"], sums["pool_areas"].sum(1, keepdims=True)),
        "pool_count": pools[:, :1],
        "pool_share": pools[:, 1:],
    }


def _compare(made: Table, real: Table, shape: tuple[int, int]) -> Table:
    """Return each value of the metric, (rows,), NaN where it cannot be measured."""
    found: Table = {}
    for side, means in (("generated", made), ("reference", real)):
        found |= {f"{name}_{side}": draws for name, draws in _numbers(means).items()}
    for name in _DIFFERED:
        found[f"{name}_difference"] = found[f"{name}_generated"] - found[f"{name}_reference"]
    return found | _distances(made, real, shape)


def _numbers(means: Table) -> Table:
    """Return what is one number a side, (rows,)."""
    return {
        "mean_level": means["histogram"] @ np.arange(256),
        "zero_share": means["zero_share"][:, 0],
        "speckle_lateral_px": half_width(means["lateral"]),
        "speckle_axial_px": half_width(means["axial"]),
        "speckle_snr": means["snr"][:, 0],
        "speckle_snr_60db": means["snr"][:, 1],
        "pool_count": means["pool_count"][:, 0],
        "pool_share": means["pool_share"][:, 0],
    }


def _distances(made: Table, real: Table, shape: tuple[int, int]) -> Table:
    """Return what is one number a pair of sides, (rows,)."""
    first, second = made["sector"] >= 0.5, real["sector"] >= 0.5
    decibels = made["spectrum"] - real["spectrum"]
    return {
        "histogram_w1": _wasserstein(made["histogram"], real["histogram"]),
        "sector_iou": _overlap(first, second),
        "spectrum_rms_db": np.sqrt((decibels**2).mean(1)),
        "spectrum_high_db": decibels[:, frequencies(shape) >= HIGH].mean(1),
        "pool_area_w1": POOL_BIN * _wasserstein(made["pools"], real["pools"]),
    }


def _wasserstein(first: Floats, second: Floats) -> Floats:
    """Return the Wasserstein-1 distance in bins of histograms (rows, bins) that sum to 1."""
    distance: Floats = np.abs(np.cumsum(first - second, 1)).sum(1)
    return distance


def _overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Floats:
    """Return intersection over union of masks (..., pixels); NaN where both are empty."""
    return _ratio((first & second).sum(-1), (first | second).sum(-1))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    part, whole = np.broadcast_arrays(part, whole)
    ratio: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratio


def _odd(made: _Observed, real: _Observed) -> Floats:
    """Return 1 for each generated image whose sector is odd, else 0.

    It overlaps the reference's sector less than all but the share ODD of reference images do.
    """
    sector = real.means(_BOOTSTRAP)["sector"][0] >= 0.5
    of_made, of_real = (_overlaps(side.masks, sector) for side in (made, real))
    return (of_made < min(float(np.quantile(of_real, ODD)), _ALIKE)).astype(np.float64)


def _overlaps(masks: NDArray[np.uint8], sector: NDArray[np.bool_]) -> Floats:
    """Return the overlap of each packed mask with the sector, 0 for two empty ones."""
    chunks = np.split(masks, range(_CHUNK, len(masks), _CHUNK))
    found = (np.unpackbits(chunk, axis=1, count=len(sector)).astype(bool) for chunk in chunks)
    overlaps: Floats = np.nan_to_num(np.concatenate([_overlap(mask, sector) for mask in found]))
    return overlaps


def _floors(real: _Observed, shape: tuple[int, int]) -> dict[str, float]:
    """Return the mean of each distance that is not signed between random halves of the groups."""
    halves = _distances(real.means(_FIRST), real.means(_SECOND), shape)
    return {
        f"{name}_floor": float(draws[np.isfinite(draws)].mean())
        for name, draws in halves.items()
        if name not in _SIGNED and np.isfinite(draws).any()
    }


def _interval(name: str, draws: Floats) -> Interval:
    margin = 1.96 * float(draws[1:][np.isfinite(draws[1:])].std())
    low, high = float(draws[0]) - margin, float(draws[0]) + margin
    low = low if name in _SIGNED else max(low, 0.0)
    return low, min(high, 1.0) if name in _SHARES else high


def _notes(generated: Side, reference: Side, made: _Observed, real: _Observed) -> list[str]:
    notes = []
    for name, side, seen in (("generated", generated, made), ("reference", reference, real)):
        if len(side) > MOST:
            notes.append(f"{MOST} of {len(side)} {name} images were looked at, evenly spread")
        if seen.groups == 1:
            notes.append(f"the {name} images are of one patient or video: no intervals")
        elif seen.groups < FEW_GROUPS:
            notes.append(
                f"the {name} images are of only {seen.groups} patients or videos; intervals "
                "are a hint, and rather too narrow"
            )
    return notes


def _left_out(found: Table) -> list[str]:
    missing = [name for name, draws in found.items() if not np.isfinite(draws[0])]
    if not missing:
        return []
    return [f"left out, for nothing in these images shows it: {', '.join(missing)}"]


def _details(made: _Observed, real: _Observed, shape: tuple[int, int]) -> dict[str, Any]:
    """Return counts, curves with 95 % bands, and the sectors' maps in per cent, as JSON."""
    sides = {"generated": made, "reference": real}
    means = {name: side.means(_BOOTSTRAP) for name, side in sides.items()}
    lags = np.arange(means["reference"]["lateral"].shape[1])
    axes = {
        "histogram": (np.arange(256), 0.0),
        "spectrum": (frequencies(shape), -np.inf),
        "lateral": (lags, -1.0),
        "axial": (lags, -1.0),
        "pools": (POOL_SHARES, 0.0),
    }
    return {
        "images": {name: len(side.masks) for name, side in sides.items()},
        "groups": {name: side.groups for name, side in sides.items()},
        "curves": {
            key: {"x": _listed(x)} | {name: _curve(means[name][key], least) for name in sides}
            for key, (x, least) in axes.items()
            if all(np.isfinite(means[name][key][0]).all() for name in sides)
        },
        "sector": {
            name: np.rint(100 * means[name]["sector"][0]).astype(int).reshape(shape).tolist()
            for name in sides
        },
    }


def _curve(rows: Floats, least: float) -> dict[str, list[float]]:
    resamples = rows[1:][np.isfinite(rows[1:]).all(1)]
    margin = 1.96 * resamples.std(0) if len(resamples) else 0.0
    bands = {"mean": rows[0], "low": np.maximum(rows[0] - margin, least), "high": rows[0] + margin}
    return {name: _listed(values) for name, values in bands.items()}


def _listed(values: NDArray[Any]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
