"""What every metric promises: to be registered is to be tested."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from echosweep.data.store import Preparation, Video
from echosweep.data.writer import write_store
from echosweep.distributed import World
from echosweep.evaluation import METRICS
from echosweep.evaluation.feature_cache import cached_features
from echosweep.evaluation.features import Options
from echosweep.evaluation.random_features import build_random
from echosweep.evaluation.sets import Result, Side

VIDEOS, FRAMES, SIZE = 16, 4, 32

# What a set scores against itself.
IDENTITY = {
    "frechet": {"fd": 0.0},
    "kid": {},  # unbiased: of the same images it is a little below 0, tested below
    "noise": {},  # its redraws are other images
    "prdc": {"precision": 1.0, "recall": 1.0, "coverage": 1.0},
    "echo": {"histogram_w1": 0.0, "spectrum_rms_db": 0.0, "sector_iou": 1.0},
}
# Values whose places are swapped with the arguments; those of one name are symmetric.
SWAPPED = {
    "frechet": [("fd", "fd")],
    "kid": [("kid", "kid")],
    "noise": [("fd_real_redrawn_mean", "fd_generated_redrawn_mean")],
    "prdc": [("precision", "recall")],
    "echo": [("mean_level_generated", "mean_level_reference"), ("histogram_w1", "histogram_w1")],
}


def images(seed: int, brightness: float) -> np.ndarray:
    """Hearts of a kind: a bright blob in a dark sector, (VIDEOS * FRAMES, SIZE, SIZE)."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    sector = (np.abs(x - SIZE / 2) < y * 0.7) & (y < SIZE - 3)
    centres = np.repeat(draw.uniform(12, 22, (VIDEOS, 2)), FRAMES, axis=0)[:, :, None, None]
    blob = np.exp(-((y - centres[:, :1]) ** 2 + (x - centres[:, 1:]) ** 2)[:, 0] / 20)
    speckle = draw.rayleigh(25, (len(blob), SIZE, SIZE))
    return np.clip(sector * (speckle + 30 + brightness * blob), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Side, Side]:
    """Darker generated hearts, and a reference; features from disk."""
    folder, extractor = tmp_path_factory.mktemp("metrics"), build_random(Options(device="cpu"))
    found = []
    for name, seed, brightness in (("made", 0, 60), ("real", 1, 140)):
        drawn = images(seed, brightness)
        videos = [(Video(f"v{i}"), drawn[i * FRAMES : (i + 1) * FRAMES]) for i in range(VIDEOS)]
        store = write_store(folder / name, Preparation((SIZE, SIZE)), videos)
        rows = np.arange(len(store))
        alone = World(0, 1, torch.device("cpu"))
        features = cached_features(store, rows, extractor, folder / "cache", alone)
        found.append(Side(store, rows, features))
    return found[0], found[1]


def values_close(one: Result, other: Result) -> None:
    assert one.values.keys() == other.values.keys()
    for name, value in one.values.items():
        assert value == pytest.approx(other.values[name], rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("name", METRICS)
def test_it_gives_finite_numbers_json_and_intervals_that_hold_them(
    name: str, sides: tuple[Side, Side]
) -> None:
    found = METRICS[name].measure(*sides, 0)
    assert found.values
    assert all(type(value) is float and math.isfinite(value) for value in found.values.values())
    assert json.loads(json.dumps(found.details, allow_nan=False)) == found.details
    for key, (low, high) in found.intervals.items():
        assert low <= found.values[key] <= high, key


@pytest.mark.parametrize("name", METRICS)
def test_its_draws_are_the_seed_s(name: str, sides: tuple[Side, Side]) -> None:
    values_close(METRICS[name].measure(*sides, 3), METRICS[name].measure(*sides, 3))


@pytest.mark.parametrize("name", METRICS)
def test_a_set_against_itself(name: str, sides: tuple[Side, Side]) -> None:
    real = sides[1]
    found = METRICS[name].measure(real, real, 0).values
    assert {key: found[key] for key in IDENTITY[name]} == pytest.approx(IDENTITY[name], abs=1e-6)


def test_kid_of_a_set_against_itself_is_just_below_zero(sides: tuple[Side, Side]) -> None:
    apart = METRICS["kid"].measure(*sides, 0).values["kid"]
    assert -0.2 * apart < METRICS["kid"].measure(sides[1], sides[1], 0).values["kid"] < 0


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_arguments(name: str, sides: tuple[Side, Side]) -> None:
    there, back = (METRICS[name].measure(*pair, 0).values for pair in (sides, sides[::-1]))
    for key, mirrored in SWAPPED[name]:
        # Redraws by seed differ with the side they are of: the mean is of other subsets.
        close = {"rel": 0.25} if name == "noise" else {"rel": 1e-6, "abs": 1e-9}
        assert there[key] == pytest.approx(back[mirrored], **close), key


@pytest.mark.parametrize("name", METRICS)
def test_features_on_disk_and_in_memory_give_the_same(name: str, sides: tuple[Side, Side]) -> None:
    in_memory = [replace(side, features=side.features[:]) for side in sides]
    values_close(METRICS[name].measure(*sides, 0), METRICS[name].measure(*in_memory, 0))


@pytest.mark.parametrize("name", METRICS)
def test_some_rows_of_a_store_are_as_a_store_of_them(
    name: str, sides: tuple[Side, Side], tmp_path: Path
) -> None:
    """Groups, images and features of a side agree with one another, wherever its rows begin."""
    some = np.arange(8, 48)
    parts, alone = [], []
    for number, side in enumerate(sides):
        drawn = side.images(some)
        videos = [(Video(f"v{i}"), drawn[i : i + FRAMES]) for i in range(0, len(some), FRAMES)]
        store = write_store(tmp_path / str(number), side.store.preparation, videos)
        parts.append(Side(side.store, some, side.features[some]))
        alone.append(Side(store, store.rows(), side.features[some]))
    values_close(METRICS[name].measure(*parts, 0), METRICS[name].measure(*alone, 0))
