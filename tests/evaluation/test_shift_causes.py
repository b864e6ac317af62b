"""Trivial causes: each number in closed form, and the one that was planted is named."""

from typing import Any

import numpy as np
import pytest

from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.evaluation.sets import Side
from echosweep.evaluation.shift_causes import BANDS, CAUSES, find_bands, find_causes, scalars


def one(pixels: Any) -> dict[str, float]:
    image = np.array(pixels, np.uint8)[None]
    return {name: float(values[0]) for name, values in scalars(image).items()}


def test_numbers_of_an_image_by_hand():
    found = one([[0, 0, 255, 255], [0, 0, 255, 255], [0, 0, 3, 4], [0, 0, 4, 3]])
    assert found["black_share"] == 0.5
    assert found["white_share"] == 0.25
    assert found["mean_level"] == pytest.approx((4 * 255 + 14) / 16)
    assert found["contrast"] == pytest.approx(np.std([0] * 8 + [255] * 4 + [3, 3, 4, 4]))
    assert found["levels"] == 4
    assert found["odd_share"] == 0.75  # 255 four times and 3 twice, of eight
    # Of the grey, levels 3 and 4: 2 and 5 miss half of their neighbour, 3 and 4 have half too much.
    assert found["comb"] == pytest.approx((1 + 1 + 1 + 1) / 4)


def test_numbers_of_neighbours_by_hand():
    board = np.indices((8, 8)).sum(0) % 2 * 100
    assert one(board)["edges"] == pytest.approx(100 / 50)
    assert one(board)["checkerboard"] == pytest.approx(200 / 100)
    ramp = np.tile(np.arange(8) * 10, (8, 1))
    assert one(ramp)["edges"] == pytest.approx(5 / np.std(np.arange(8) * 10))
    assert one(ramp)["checkerboard"] == 0


def test_a_blank_image_has_no_texture_and_no_nan():
    for level in (0, 128, 255):
        found = one(np.full((16, 16), level))
        assert all(np.isfinite(list(found.values())))
        assert found["edges"] == found["checkerboard"] == found["contrast"] == 0


def test_every_number_has_a_meaning_and_a_fix():
    colour = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    assert set(scalars(colour)) == set(CAUSES)
    assert set(scalars(colour[..., 0])) == set(CAUSES) - {"colour"}
    assert (scalars(np.repeat(colour[..., :1], 3, -1))["colour"] == 0).all()


@pytest.fixture
def speckle() -> np.ndarray:
    """Smooth noise of 40 videos of 3 frames, (120, 24, 24), black in a corner."""
    draw = np.random.default_rng(0)
    rough = draw.normal(size=(120, 26, 26))
    smooth = sum(rough[:, i : i + 24, j : j + 24] for i in range(3) for j in range(3))
    images = np.clip(100 + 10 * smooth, 1, 254).astype(np.uint8)
    images[:, :8, :8] = 0
    return images


@pytest.fixture
def side(tmp_path: Any) -> Any:
    def make(name: str, images: np.ndarray) -> Side:
        videos = [(Video(f"{name}{i}"), images[3 * i : 3 * i + 3]) for i in range(len(images) // 3)]
        size = (images.shape[1], images.shape[2])
        store: FrameStore = write_store(tmp_path / name, Preparation(size), videos)
        return Side(store, store.rows())

    return make


def planted(images: np.ndarray, cause: str) -> np.ndarray:
    changed = images.copy()
    if cause == "black_share":
        changed[:, :8, :8] = np.random.default_rng(1).integers(0, 3, (len(images), 8, 8))
    elif cause == "levels":
        changed = images // 8 * 8
    elif cause == "white_share":
        changed[:, 10, 10:14] = 255
    elif cause == "mean_level":
        changed = images + np.uint8(20) * (images > 0)
    elif cause == "edges":
        changed[:, :, 1:] = (images[:, :, 1:].astype(int) + images[:, :, :-1]) // 2
    return changed


@pytest.mark.parametrize("cause", ["black_share", "levels", "white_share", "mean_level", "edges"])
def test_what_was_planted_is_named(side: Any, speckle: np.ndarray, cause: str):
    rows = find_causes(side("made", planted(speckle[:60], cause)), side("real", speckle[60:]))
    found = {row["name"]: row for row in rows}
    assert found[cause]["told_apart"]
    assert abs(found[cause]["auc"] - 0.5) > 0.4
    assert found[cause]["fix"] == CAUSES[cause].fix
    distances = [abs(row["auc"] - 0.5) for row in rows]
    assert distances == sorted(distances, reverse=True)


def test_where_nothing_was_planted_nothing_is_named(side: Any, speckle: np.ndarray):
    pair = side("made", speckle[:60]), side("real", speckle[60:])
    assert not any(row["told_apart"] for row in find_causes(*pair))
    assert not any(row["told_apart"] for row in find_bands(*pair))


def test_noise_shows_in_the_fine_bands_alone(side: Any, speckle: np.ndarray):
    # As much in every band, which is little where speckle has its power.
    noise = np.random.default_rng(2).normal(0, 12, (60, 24, 24))
    noisy = np.clip(speckle[:60] + noise, 0, 255).astype(np.uint8)
    bands = find_bands(side("made", noisy), side("real", speckle[60:]))
    assert len(bands) == BANDS
    assert [band["told_apart"] for band in bands[:2]] == [False, False]
    assert all(band["told_apart"] and band["auc"] > 0.9 for band in bands[-2:])
    edges = [edge for band in bands for edge in (band["low"], band["high"])]
    assert edges == sorted(edges)
