"""One phantom video: a heart before a probe, drawn by number and rendered frame by frame.

Echo s = h * (a n + b): n are scatterers that ride on the tissue, a its echogenicity (blood, muscle,
surroundings), b the coherent reflection of the leaflets, h the probe's spread function; then
time-gain errors, dropout and compression in dB. Invariant: a frame is a function of (seed, index,
frames, size) and its number alone, so any frame can be rendered first.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from echosweep import rng as seeds
from echosweep.data.phantom_heart import Beat, Floats, Grid, Heart, Points
from echosweep.data.phantom_probe import Numbers, Sector, Texture, average, compress, smooth_noise

_MARGIN = 16  # samples of scatterers around the sector that may move in
_SOFT = 0.16  # cm over which a border fades


@dataclass(frozen=True)
class Look:
    """How one examination looks. Lengths in cm, angles in radians, amplitudes of muscle's."""

    apex_x: float
    apex_depth: float
    tilt: float
    gain_db: float
    range_db: float
    slope_db: float
    haze: float
    contrast_db: float
    dropout_db: float
    blood: float
    surroundings: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw an examination."""
        return cls(
            apex_x=float(np.clip(rng.normal(0.5, 0.35), -0.3, 1.2)),
            apex_depth=rng.uniform(2.5, 3.8),
            tilt=float(np.clip(rng.normal(0.0, 0.08), -0.18, 0.18)),
            gain_db=rng.normal(1.0, 2.7),
            range_db=rng.uniform(56, 66),
            slope_db=rng.uniform(0.0, 0.6),
            haze=rng.uniform(0.1, 0.4),
            contrast_db=rng.uniform(3.0, 5.5),
            dropout_db=rng.uniform(3, 11),
            blood=rng.uniform(0.015, 0.05),
            surroundings=rng.uniform(0.15, 0.4),
        )


@dataclass(frozen=True)
class Scene:
    """Everything about video `index` of phantom `seed` that is decided before rendering."""

    seed: int
    index: int
    heart: Heart
    sector: Sector
    look: Look
    fps: float

    @classmethod
    def draw(cls, seed: int, index: int, frames: int, size: int) -> Self:
        """Draw a video of `frames` frames of `size` x `size` pixels."""
        rng = np.random.default_rng(seeds.derive("phantom", seed, index))
        heart, look = Heart.draw(rng), Look.draw(rng)
        half_angle = rng.uniform(0.66, 0.80)
        radius = min(0.95, 0.56 / np.sin(half_angle)) * size
        depth = look.apex_depth + heart.floor + rng.uniform(1.6, 3.6)
        sector = Sector(
            size=size,
            radius=radius,
            half_angle=half_angle,
            depth=depth,
            focus=depth * rng.uniform(0.4, 0.6),
            beam_width=rng.uniform(0.013, 0.020),
        )
        # A short clip is sampled more coarsely: it always shows a whole beat.
        fps = round(min(rng.uniform(40, 60), frames * heart.rate / 60), 2)
        return cls(seed, index, heart, sector, look, fps)

    def beat(self, frame: int) -> Beat:
        """Return the moment that frame number `frame` shows."""
        return self.heart.beat(frame / self.fps)

    def to_probe(self, points: Points) -> Points:
        """Return heart points (..., 2) as cm right of and below the sector's tip."""
        cos, sin = math.cos(self.look.tilt), math.sin(self.look.tilt)
        x, y = points[..., 0], points[..., 1]
        right, down = x * cos + y * sin, y * cos - x * sin
        moved: Points = np.stack([right + self.look.apex_x, down + self.look.apex_depth], -1)
        return moved

    def to_image(self, points: Points) -> Points:
        """Return heart points (..., 2) in cm as pixel coordinates (x, y)."""
        pixels: Points = self.to_probe(points) / self.sector.cm + np.array(self.sector.tip)
        return pixels

    @cached_property
    def grid(self) -> Grid:
        """Return the heart coordinates in cm of each sample of the beam space."""
        return self.heart_positions(*np.indices(self.sector.shape, sparse=True))

    def heart_positions(self, range_index: Numbers, beam_index: Numbers) -> Grid:
        """Return the heart coordinates in cm of samples of the beam space."""
        x, z = self.sector.to_probe(_float32(range_index), _float32(beam_index))
        x, z = x - self.look.apex_x, z - self.look.apex_depth
        cos, sin = math.cos(self.look.tilt), math.sin(self.look.tilt)
        return _float32(x * cos - z * sin), _float32(x * sin + z * cos)


class Renderer:
    """Renders a scene's frames; holds the fields that do not change from frame to frame."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        rng = np.random.default_rng(seeds.derive("phantom fields", scene.seed, scene.index))
        shape = scene.sector.shape
        self._texture = _tissue(scene, rng)
        self._still = _still(scene, rng)
        self._noise = rng.standard_normal(4 * shape[0] * shape[1], dtype=np.float32)
        self._gain = _gain_db(scene, rng)
        self._around = _surroundings(scene, rng)
        self._rest, self._motion = _motion(scene)
        # The thin-walled chambers are not ellipses: they are seen through a bent coordinate.
        x, y = (axis + np.float32(0.28) * smooth_noise(rng, shape, 5) for axis in scene.grid)
        self._uneven = x, y

    def frame(self, number: int) -> NDArray[np.uint8]:
        """Return frame `number` as grey (size, size), exactly zero outside the sector."""
        field = self.echo(self.scene.beat(number), number)
        look = self.scene.look
        low = -0.5 * look.range_db
        grey = compress(field, self._gain, low, low + look.range_db)
        return self.scene.sector.scan_convert(average(grey))

    def echo(self, beat: Beat, number: int) -> Floats:
        """Return the uncompressed echo (2, R, B), real and imaginary, of a moment."""
        contraction = np.float32(beat.contraction)
        rest, motion = self._rest, self._motion
        field = self._texture.at(*(rest[k] + contraction * motion[k] for k in (0, 1)))
        field *= self._echogenicity(beat)
        field += self._still
        field += self._clutter(number)
        self._add_leaflets(field[0], beat)
        return self.scene.sector.blur(field)

    def _echogenicity(self, beat: Beat) -> Floats:
        """Return the amplitude (R, B) of the scatterers: surroundings, muscle, blood."""
        blood, heart = self.scene.heart.cavities(self.scene.grid, self._uneven, beat)
        heart = np.clip(np.float32(0.5) - heart * np.float32(1 / _SOFT), 0, 1)
        blood = np.clip(np.float32(0.5) + blood * np.float32(1 / _SOFT), 0, 1)
        amplitude: Floats = (self._around + (1 - self._around) * heart) * blood
        return amplitude

    def _clutter(self, number: int) -> Floats:
        """Return moving blood and electronic noise (2, R, B), new in each frame."""
        ranges, beams = self.scene.sector.shape
        count = 2 * ranges * beams
        start = seeds.derive("clutter", number) % (len(self._noise) - count)
        noise = self._noise[start : start + count] * np.float32(self.scene.look.blood)
        return noise.reshape(2, ranges, beams)

    def _add_leaflets(self, field: Floats, beat: Beat) -> None:
        _add_points(field, self.scene, *self.scene.heart.leaflets(beat))


def _add_points(field: Floats, scene: Scene, points: Points, amplitudes: Points) -> None:
    """Add coherent reflectors at heart points (N, 2) to the field (R, B), each to four samples."""
    i, j = scene.sector.to_samples(*scene.to_probe(points).T)
    ranges, beams = field.shape
    seen = (i < ranges - 1) & (j >= 0) & (j < beams - 1)
    i, j, amplitudes = i[seen], j[seen], amplitudes[seen]
    top, left = i.astype(int), j.astype(int)
    u, v = i - top, j - left
    corner = top * beams + left
    index = np.concatenate([corner, corner + 1, corner + beams, corner + beams + 1])
    shares = np.concatenate([(1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v])
    np.add.at(field.reshape(-1), index, (shares * np.tile(amplitudes, 4)).astype(np.float32))


def _tissue(scene: Scene, rng: np.random.Generator) -> Texture:
    """Return scatterers with patches of stronger and weaker ones, a bright septum among them."""
    rows, columns = (np.arange(-_MARGIN, n + _MARGIN) for n in scene.sector.shape)
    shape = len(rows), len(columns)
    patches = smooth_noise(rng, shape, 8) + np.float32(0.6) * smooth_noise(rng, shape, 19)
    x, y = scene.heart_positions(rows[:, None], columns[None, :])
    decibels = np.float32(scene.look.contrast_db) * patches + _anatomy_db(scene.heart, x, y)
    return Texture.draw(rng, decibels, _MARGIN)


def _anatomy_db(heart: Heart, x: Floats, y: Floats) -> Floats:
    """Return the brightness of tissue in dB by its place at end-diastole: septum, crux, atria."""
    septum = heart.width + heart.wall / 2
    along = np.clip(y / heart.length, 0, 1)
    decibels = 5 * np.exp(-(((x + septum) / 0.7) ** 2)) * np.sin(np.pi * along**0.7)
    crux = np.hypot(x + 0.9 * septum, y - heart.length - 0.2)
    decibels += 6 * np.exp(-((crux / 0.7) ** 2))
    decibels -= 4 * np.exp(-(((x - septum) / 0.9) ** 2)) * (along < 1)
    decibels -= 4 * np.clip(-x - septum - 0.7, 0, 1)
    decibels -= 5 * np.clip(y - heart.length, 0, 1)
    decibels += 8 * np.clip((y - heart.floor + 1.2) / 1.2, 0, 1)
    return _float32(decibels)


def _still(scene: Scene, rng: np.random.Generator) -> Floats:
    """Return what does not move (2, R, B): reverberations before the probe, the pericardium."""
    r, _ = scene.sector.axes
    amplitude = scene.look.haze * np.exp(-((r / 3.2) ** 2)) + 1.2 * np.exp(-((r / 0.5) ** 2))
    field: Floats = rng.standard_normal((2, *scene.sector.shape), dtype=np.float32) * amplitude
    x = np.linspace(-5.5, 3, 160)
    y = scene.heart.floor + 0.25 - 0.035 * (x + 1.5) ** 2
    shine = 0.45 * np.maximum(smooth_noise(rng, (1, x.size), 6)[0] + 0.3, 0)
    _add_points(field[0], scene, np.stack([x, y], 1), shine)
    return field


def _gain_db(scene: Scene, rng: np.random.Generator) -> Floats:
    """Return the gain (R, B) in dB: attenuation left by the TGC, sector edges, dropout, shadows."""
    r, theta = scene.sector.axes
    look, heart = scene.look, scene.heart
    edge = np.abs(theta) / scene.sector.half_angle
    gain = look.gain_db - look.slope_db * r - 6 * edge**8
    wall = scene.to_probe(np.array([heart.width + heart.wall / 2, 0.5 * heart.length]))
    angle = np.arctan2(wall[0], wall[1])
    gain = gain - look.dropout_db * np.exp(-(((theta - angle) / 0.09) ** 2))
    beams = smooth_noise(rng, (1, theta.size), 8) * 1.5
    return _float32(gain + beams)


def _surroundings(scene: Scene, rng: np.random.Generator) -> Floats:
    """Return the amplitude (R, B) of what is not heart: dark at the sides, bright behind it."""
    x, y = scene.grid
    behind = np.clip((y - scene.heart.floor + 0.6) / 1.0, 0, 1) * np.exp(-((x / 5) ** 2))
    side = np.exp(-np.square(np.maximum(np.abs(x) - 3.5, 0) / 3.5))
    near = 0.5 * np.exp(-np.square(scene.sector.axes[0] / (0.35 * scene.sector.depth)))
    around = scene.look.surroundings * (side + near)
    return _float32(around + np.maximum(0.8 - around, 0) * behind)


def _motion(scene: Scene) -> tuple[list[Floats], list[Floats]]:
    """Return the samples' own indices, and by how much end-systole's tissue came from elsewhere."""
    ranges, beams = scene.sector.shape
    r, theta = scene.sector.axes
    dx, dy = scene.heart.displacement(*scene.grid)
    cos, sin = math.cos(scene.look.tilt), math.sin(scene.look.tilt)
    right, down = dx * cos + dy * sin, dy * cos - dx * sin
    along = right * np.sin(theta) + down * np.cos(theta)
    across = (right * np.cos(theta) - down * np.sin(theta)) / np.maximum(r, 0.5)
    steps = [
        -along * (ranges - 1) / scene.sector.depth,
        -across * (beams - 1) / (2 * scene.sector.half_angle),
    ]
    rest = np.indices(scene.sector.shape)
    return [_float32(axis) for axis in rest], [_float32(axis) for axis in steps]


def _float32(values: Numbers) -> Floats:
    return values.astype(np.float32, copy=False)
