"""The heart of the phantom: four chambers, two valves and their beat, in centimetres.

Each cavity is an ellipse; the left ventricle's is cut by the mitral plane. With contraction c it
shortens by c * shortening and narrows by c * narrowing, so its volume, which goes as length times
width squared, gives the ejection fraction: 1 - EF = (1 - shortening)(1 - narrowing)^2.
Invariant: `Heart.chords` end on the border of the left ventricle that `Heart.cavities` draws.
Frame: origin at the apex, y along the long axis to the base, x to the lateral wall.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Points = NDArray[np.float64]
Grid = tuple[Floats, Floats]

DISKS = 20
_APICAL = 0.35  # cm by which the tricuspid valve is nearer to the apex
_WAIST = 0.65  # how far above an atrium's centre its valve lies, relative to its semi-axis
_CENTRE = 0.6  # of the long axis, where the left ventricle is widest
_ANNULUS = float(np.sqrt(1 - ((1 - _CENTRE) / _CENTRE) ** 2))  # relative width at the mitral plane
_ALONG = np.linspace(0, 1, 24)[:, None]  # points of a leaflet, hinge to tip


class Beat(NamedTuple):
    """One moment: contraction 0 (end-diastole) to 1 (end-systole), valve openings 0 to 1."""

    contraction: float
    mitral: float
    tricuspid: float


class Ellipse(NamedTuple):
    """A chamber: centre and semi-axes in cm."""

    x: float
    y: float
    a: float
    b: float

    def distance(self, x: Floats, y: Floats) -> Floats:
        """Return about the distance to the border in cm, negative inside, exact in sign."""
        u = (x - np.float32(self.x)) * np.float32(1 / self.a)
        v = (y - np.float32(self.y)) * np.float32(1 / self.b)
        u *= u
        v *= v
        u += v
        np.sqrt(u, out=u)
        u -= np.float32(1)
        u *= np.float32(self.a)
        return u


@dataclass(frozen=True)
class Heart:
    """One person's heart: sizes in cm, rates in 1/min, amplitudes relative to myocardium."""

    ejection: float
    length: float
    width: float
    bend: float
    wall: float
    rate: float
    systole: float
    right: float
    atria: float
    leaflet: float
    phase: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw a heart; ejection fractions spread like a clinic's: most near 0.6, a tail to 0.2."""
        healthy = rng.random() < 0.72
        ejection = rng.normal(0.62, 0.055) if healthy else rng.uniform(0.2, 0.55)
        ejection = float(np.clip(ejection, 0.2, 0.75))
        # A failing heart is wider.
        width = rng.normal(2.15, 0.2) + 1.2 * (0.6 - min(ejection, 0.6))
        return cls(
            ejection=ejection,
            length=float(np.clip(rng.normal(7.9, 0.6), 6.4, 9.4)),
            width=float(np.clip(width, 1.6, 3.2)),
            bend=rng.uniform(-0.25, 0.1),
            wall=rng.uniform(0.75, 1.15),
            rate=rng.uniform(52, 100),
            systole=rng.uniform(0.34, 0.42),
            right=rng.uniform(0.85, 1.15),
            atria=rng.uniform(0.85, 1.15),
            leaflet=rng.uniform(0.9, 1.1),
            phase=rng.random(),
        )

    @property
    def floor(self) -> float:
        """Return how far below the apex the atria end, cm."""
        return self.length + 4.2 * self.atria

    @property
    def shortening(self) -> float:
        """Return the relative shortening of the long axis at end-systole."""
        return 0.27 * self.ejection

    @property
    def narrowing(self) -> float:
        """Return the relative narrowing at end-systole that the ejection fraction asks for."""
        return 1 - float(np.sqrt((1 - self.ejection) / (1 - self.shortening)))

    def beat(self, seconds: float) -> Beat:
        """Return the moment `seconds` into the clip."""
        t = (seconds * self.rate / 60 + self.phase) % 1
        es = self.systole
        early = _step(t, es + 0.05, es + 0.30)
        kick = _step(t, 0.84, 0.99)
        contraction = _step(t, 0.0, es) - 0.72 * early - 0.28 * kick
        filling = _bump(t, es + 0.04, es + 0.30) + 0.45 * _bump(t, es + 0.2, 0.86)
        opening = min(1.0, filling + 0.8 * _bump(t, 0.82, 1.0))
        return Beat(contraction, opening, min(1.0, 0.9 * opening))

    def long_axis(self, beat: Beat) -> float:
        """Return the length of the left ventricle in cm."""
        return self.length * (1 - self.shortening * beat.contraction)

    def half_width(self, beat: Beat) -> float:
        """Return the largest half-width of the left ventricle in cm."""
        return self.width * (1 - self.narrowing * beat.contraction)

    def chords(self, beat: Beat) -> Points:
        """Return the tracing (1 + DISKS, 2, 2) as (line, end, xy): long axis, then the chords.

        The chords cut the axis at right angles in the middle of disks of equal height; their ends
        lie on the endocardium.
        """
        length = self.long_axis(beat)
        s = (np.arange(DISKS) + 0.5) / DISKS
        half = self.half_width(beat) * np.sqrt(1 - ((s - _CENTRE) / _CENTRE) ** 2)
        middle = self.bend * 4 * s * (1 - s)
        y = s * length
        ends = np.stack([np.stack([middle - half, y], 1), np.stack([middle + half, y], 1)], 1)
        return np.concatenate([[[[0.0, 0.0], [0.0, length]]], ends])

    def ventricle(self, beat: Beat) -> tuple[Ellipse, Ellipse]:
        """Return endocardium and epicardium; the wall keeps its area, so it thickens."""
        length, half = self.long_axis(beat), self.half_width(beat)
        outer = self.width + self.wall
        outer_half = float(np.sqrt(outer**2 - self.width**2 + half**2))
        b = _CENTRE * length
        return Ellipse(0, b, half, b), Ellipse(0, b, outer_half, b + 0.8 * self.wall)

    def chambers(self, beat: Beat) -> tuple[Ellipse, Ellipse, Ellipse]:
        """Return right ventricle, left atrium and right atrium. The base pulls the atria up."""
        base, c = self.long_axis(beat), beat.contraction
        _, outer = self.ventricle(beat)
        floor = self.floor
        b = (floor - base) / (1 + _WAIST)  # the valve's plane cuts the atria above their centre
        left_a = self.width * _ANNULUS * (1.3 + 0.10 * c) * self.atria
        right_a = 1.85 * self.right * (1 + 0.06 * c)
        septum = 0.1 + 0.25 * self.wall
        centre = -self.width * _ANNULUS - septum - right_a
        rv_b = 0.68 * base
        rv_a = 2.1 * self.right * (1 - 0.16 * c)
        return (
            Ellipse(-outer.a - 0.52 * rv_a, base - 0.45 * rv_b, rv_a, rv_b),
            Ellipse(left_a - self.width * _ANNULUS - 0.25, floor - b, left_a, b),
            Ellipse(centre, floor - b - 0.2, right_a, b + 0.1),
        )

    def cavities(self, grid: Grid, uneven: Grid, beat: Beat) -> Grid:
        """Return signed distances in cm, negative inside: to blood, and to the whole heart.

        The left ventricle is drawn at `grid`, the thin-walled chambers at `uneven`.
        """
        x, y = grid
        length, half = np.float32(self.long_axis(beat)), np.float32(self.half_width(beat))
        mitral = y - length
        tricuspid = mitral + np.float32(_APICAL)
        s = y * np.float32(1 / length)
        bow: Floats = np.maximum(s - s * s, 0)
        straight = x - np.float32(4 * self.bend) * bow
        inner, outer = self.ventricle(beat)
        wall = np.maximum(outer.distance(straight, y), mitral - np.float32(0.3))
        left = np.maximum(inner.distance(straight, y), mitral)
        ventricle, left_atrium, right_atrium = self.chambers(beat)
        right = np.maximum(np.maximum(ventricle.distance(*uneven), tricuspid), -wall)
        atria = np.minimum(left_atrium.distance(*uneven), right_atrium.distance(*uneven))
        # The atria reach a little above the valves, so that these open into them.
        valve = np.where(x < -half, tricuspid, mitral)
        thin = np.minimum(right, np.maximum(atria, -valve - np.float32(0.2)))
        return np.minimum(left, thin), np.minimum(wall, thin - np.float32(0.25))

    def leaflets(self, beat: Beat) -> tuple[Points, Points]:
        """Return points (N, 2) in cm along mitral and tricuspid leaflets, and their amplitudes."""
        base, half = self.long_axis(beat), self.half_width(beat) * _ANNULUS
        right, _, _ = self.chambers(beat)
        septal = -half - 0.1 - self.wall
        opposite = right.x - 0.88 * right.a
        span = septal - opposite
        x = np.array([-half, half, septal, opposite])
        y = np.array([base, base, base - _APICAL, base - _APICAL])
        length = np.array([1.3 * half, 0.8 * half, 0.5 * span, 0.58 * span]) * self.leaflet
        opening = np.repeat([beat.mitral, beat.tricuspid], 2)
        # An open leaflet lies along the beam and reflects little of it.
        amplitude = np.array([0.9, 0.5, 0.35, 0.35]) * (1 - 0.6 * opening)
        points = np.stack([x, y]) + _rods(length * [1, -1, -1, 1], -length, opening)
        return points.swapaxes(1, 2).reshape(-1, 2), np.tile(amplitude, len(points))

    def displacement(self, x: Floats, y: Floats) -> Grid:
        """Return how far tissue at (x, y) at end-systole lies from its place at end-diastole, cm.

        The base descends, walls move inwards, both fade with the distance from the left ventricle.
        """
        base = self.length * (1 - self.shortening)
        along = np.clip(y, 0, base) * (self.shortening / (1 - self.shortening))
        along *= np.exp(-np.square(np.maximum(y - base, 0) / 3))
        far = np.maximum(np.abs(x) - self.width, 0)
        across = np.clip(x / self.width, -1, 1) * self.narrowing * self.width * np.exp(-far / 1.2)
        across *= np.exp(-np.square(np.maximum(y - base, 0) / 2))
        return (-across).astype(np.float32), (-along).astype(np.float32)


def simpson(tracing: Points) -> float:
    """Return the volume pi/4 h sum d_i^2 of a tracing (1 + DISKS, 2, 2), in its unit cubed.

    The single-plane method of disks (Lang et al. 2015, J Am Soc Echocardiogr 28:1).
    """
    lengths = np.hypot(*(tracing[:, 0] - tracing[:, 1]).T)
    height = lengths[0] / (len(lengths) - 1)
    return float(np.pi / 4 * height * (lengths[1:] ** 2).sum())


def _rods(dx: Points, dy: Points, opening: Points) -> Points:
    """Return the way (N, 2, K) along K leaflets: shallow tents when closed, upright when open."""
    angle = np.radians(22 - 26 * _ALONG + (36 + 60 * _ALONG) * opening)
    steps = np.stack([dx * np.cos(angle), dy * np.sin(angle)], 1)
    return np.cumsum(steps, 0) / len(_ALONG)


def _step(t: float, start: float, end: float) -> float:
    """Return 0 before `start`, 1 after `end`, smooth between."""
    u = min(max((t - start) / (end - start), 0.0), 1.0)
    return u * u * (3 - 2 * u)


def _bump(t: float, start: float, end: float) -> float:
    """Return a smooth bump of height 1 between `start` and `end`, 0 elsewhere."""
    u = min(max((t - start) / (end - start), 0.0), 1.0)
    return float(np.sin(np.pi * u) ** 2)
