"""The probe of the phantom: what ultrasound makes of scatterers, in beam space (range x beam).

An echo is the sum of many scatterers under a point spread function, s = h * (a n): it is complex
Gaussian, so its envelope |s| is Rayleigh (mean / standard deviation 1.91; Goodman 1975, Wagner et
al. 1983). The lateral width of h is constant in angle, hence grows with depth, more so away
from the focus. Invariant: pixels outside the sector are never written; they stay exactly zero.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Numbers = NDArray[Any]
_NARROWEST = 0.6  # samples: a narrower spread function would be undersampled
_OVERSAMPLING = 2


@dataclass(frozen=True)
class Sector:
    """A sector in a square image: its tip is at the top, half way across.

    size: pixels of the image's side. radius: pixels from tip to the deepest row; depth: the same in
    cm. half_angle: radians. focus: cm. beam_width, pulse_length: standard deviations of the spread
    function, in radians at the focus and in cm.
    """

    size: int
    radius: float
    half_angle: float
    depth: float
    focus: float
    beam_width: float
    pulse_length: float = 0.085

    @property
    def cm(self) -> float:
        """Return centimetres per pixel."""
        return self.depth / self.radius

    @property
    def tip(self) -> tuple[float, float]:
        """Return the tip's pixel coordinates (x, y)."""
        return (self.size - 1) / 2, -0.01 * self.size

    @property
    def shape(self) -> tuple[int, int]:
        """Return (ranges, beams) of the beam space."""
        return round(1.15 * self.radius) + 1, round(0.68 * self.size) + 1

    @cached_property
    def axes(self) -> tuple[Floats, Floats]:
        """Return range in cm (R, 1) and angle in radians (1, B), positive to the image's right."""
        ranges, beams = self.shape
        r = np.linspace(0, self.depth, ranges, dtype=np.float32)
        theta = np.linspace(-self.half_angle, self.half_angle, beams, dtype=np.float32)
        return r[:, None], theta[None, :]

    def to_probe(self, range_index: Numbers, beam_index: Numbers) -> tuple[Numbers, Numbers]:
        """Return the cm right of and below the tip of fractional (range, beam) indices."""
        ranges, beams = self.shape
        r = range_index * (self.depth / (ranges - 1))
        theta = (beam_index * (2 / (beams - 1)) - 1) * self.half_angle
        return r * np.sin(theta), r * np.cos(theta)

    def to_samples(self, x: Numbers, z: Numbers) -> tuple[Numbers, Numbers]:
        """Return the fractional (range, beam) indices of points in cm right of, below the tip."""
        ranges, beams = self.shape
        range_index = np.hypot(x, z) / self.depth * (ranges - 1)
        beam_index = (np.arctan2(x, z) / self.half_angle + 1) / 2 * (beams - 1)
        return range_index, beam_index

    @cached_property
    def _scan_table(self) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        """Return pixels (P,), the samples around each (4, P) and their bilinear weights (4, P)."""
        rows, columns = np.mgrid[: self.size, : self.size].astype(float)
        x0, y0 = self.tip
        r, b = self.to_samples((columns - x0) * self.cm, (rows - y0) * self.cm)
        ranges, beams = self.shape
        inside = (r >= 0.028 * ranges) & (r <= ranges - 1) & (b >= 0) & (b <= beams - 1)
        inside &= rows > y0
        pixels, r, b = np.flatnonzero(inside), r[inside], b[inside]
        i, j = np.minimum(r.astype(int), ranges - 2), np.minimum(b.astype(int), beams - 2)
        u, v = r - i, b - j
        corners = np.stack([i * beams + j + step for step in (0, 1, beams, beams + 1)])
        weights = np.stack([(1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v])
        return pixels, corners, weights.astype(np.float32)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Return which pixels are inside the sector, (size, size)."""
        mask = np.zeros(self.size**2, bool)
        mask[self._scan_table[0]] = True
        return mask.reshape(self.size, self.size)

    def scan_convert(self, samples: Floats) -> NDArray[np.uint8]:
        """Return beam space (R, B) in 0..255 as an image (size, size), zero outside the sector."""
        pixels, corners, weights = self._scan_table
        values = np.take(samples, corners, mode="clip")  # in range: no need of numpy's check
        values *= weights
        values = values.sum(0)
        image = np.zeros(self.size**2, np.uint8)
        image[pixels] = values + np.float32(0.5)
        return image.reshape(self.size, self.size)

    @cached_property
    def _psf(self) -> tuple[Floats, Floats]:
        """Return axial taps (A,) and lateral taps (L, R, 1), both of unit energy at every depth."""
        (r, _), (ranges, beams) = self.axes, self.shape
        width = self.beam_width * (beams - 1) / (2 * self.half_angle)
        width = width * (1 + 0.5 * np.abs(r / self.focus - 1).clip(max=1))
        axial = _gaussian(np.array(self.pulse_length * (ranges - 1) / self.depth))
        return axial, _gaussian(width)

    def blur(self, field: Floats) -> Floats:
        """Return (2, R, B), real and imaginary parts, under the depth-dependent spread function.

        White noise of unit variance keeps unit variance.
        """
        axial, lateral = self._psf
        field = _correlate(field, axial, axis=1)
        return _correlate(field, lateral, axis=2)


def _gaussian(width: Numbers) -> Floats:
    """Return an odd number of taps (K, *width.shape) of unit energy, `width` samples wide."""
    width = np.maximum(width, _NARROWEST)
    half = int(np.ceil(2 * width.max()))
    lags = np.arange(-half, half + 1).reshape(-1, *[1] * width.ndim)
    taps = np.exp(-0.5 * (lags / width) ** 2)
    unit: Floats = (taps / np.sqrt((taps**2).sum(0))).astype(np.float32)
    return unit


def _correlate(field: Floats, taps: Floats, axis: int) -> Floats:
    """Return `field` filtered along `axis` by symmetric `taps`, the edges repeated."""
    half, length = len(taps) // 2, field.shape[axis]
    first, last = _cut(field, axis, 0, 1), _cut(field, axis, length - 1, length)
    padded = np.concatenate([*[first] * half, field, *[last] * half], axis)
    out: Floats = taps[half] * field
    pair = np.empty_like(out)
    for k in range(1, half + 1):
        left, right = (_cut(padded, axis, half + lag, half + lag + length) for lag in (-k, k))
        np.add(left, right, out=pair)
        pair *= taps[half + k]
        out += pair
    return out


def _cut(field: Floats, axis: int, start: int, stop: int) -> Floats:
    return field[:, start:stop] if axis == 1 else field[:, :, start:stop]


@dataclass(frozen=True)
class Texture:
    """Scatterers fixed to the tissue: complex Gaussian, (2, rows, columns), finer than the samples.

    A margin of `margin` samples on every side feeds tissue that moves in from outside.
    """

    values: Floats
    margin: int

    @classmethod
    def draw(cls, rng: np.random.Generator, decibels: Floats, margin: int) -> "Texture":
        """Return scatterers of mean power `decibels`, one value a sample with the margin."""
        rows, columns = (n * _OVERSAMPLING for n in decibels.shape)
        white = rng.standard_normal((2, rows, columns), dtype=np.float32)
        # Neighbours overlap by half a sample, so that tissue moves smoothly, not in jumps.
        for axis in (1, 2):
            white = white + np.roll(white, 1, axis)
        amplitude = np.float32(np.sqrt(1 / 8)) * 10 ** (decibels * np.float32(0.05))
        white *= np.repeat(np.repeat(amplitude, _OVERSAMPLING, 0), _OVERSAMPLING, 1)
        return cls(white, margin)

    def at(self, range_index: Floats, beam_index: Floats) -> Floats:
        """Return the scatterers (2, R, B) at fractional samples, to half a one; wrapped outside."""
        columns = self.values.shape[2]
        i, j = (
            ((index + np.float32(self.margin)) * np.float32(_OVERSAMPLING)).astype(np.intp)
            for index in (range_index, beam_index)
        )
        i *= columns
        i += j
        scatterers: Floats = np.take(self.values.reshape(2, -1), i, axis=1, mode="wrap")
        return scatterers


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Floats:
    """Return noise of mean 0 and standard deviation 1 that varies over 1/cells of `shape`."""
    coarse = rng.standard_normal((cells + 3, cells + 3))
    rows, columns = (np.linspace(0, cells, n) for n in shape)
    weights = [_cubic_spline(axis, cells + 3) for axis in (rows, columns)]
    rows_first = np.einsum("rk,kl->rl", weights[0], coarse)  # not BLAS: its threads would fight
    noise: Floats = np.einsum("rl,cl->rc", rows_first, weights[1]).astype(np.float32)
    noise -= noise.mean()
    noise /= noise.std()
    return noise


def _cubic_spline(x: Numbers, knots: int) -> NDArray[np.float64]:
    """Return the cubic B-spline weights (len(x), knots) at x in [0, knots - 3]."""
    t = np.abs(x[:, None] + 1 - np.arange(knots))
    inner = 2 / 3 - t**2 + t**3 / 2
    return np.where(t < 1, inner, np.where(t < 2, (2 - t) ** 3 / 6, 0.0))


def compress(field: Floats, gain_db: Floats, low_db: float, high_db: float) -> Floats:
    """Return grey 0..255 of the envelope of `field` (2, R, B): low_db black, high_db white."""
    power = field[0] * field[0]
    power += field[1] * field[1]
    power += np.float32(1e-9)
    grey: Floats = np.log(power, out=power)
    grey *= np.float32(10 / np.log(10))
    grey += gain_db
    grey -= np.float32(low_db)
    grey *= np.float32(1 / (high_db - low_db))
    np.clip(grey, 0, 1, out=grey)
    grey *= np.float32(127.5) + np.float32(127.5) * grey  # dark tones darker, as displays do
    return grey


def average(grey: Floats) -> Floats:
    """Return `grey` (R, B) under the weights 1, 4, 1 along both axes: a display's resizing."""
    for _ in range(2):
        turned = grey.T
        out: Floats = np.float32(2 / 3) * turned
        out[1:-1] += np.float32(1 / 6) * (turned[:-2] + turned[2:])
        out[0] += np.float32(1 / 3) * turned[1]
        out[-1] += np.float32(1 / 3) * turned[-2]
        grey = out
    return grey
