"""The whole of `evaluate`: what it measures, refuses, caches and writes down."""

import errno
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echosweep import runs
from echosweep.errors import UsageError
from echosweep.evaluation.evaluate import evaluate
from echosweep.evaluation.features import Options
from echosweep.evaluation.fid import Statistics, frechet_distance
from echosweep.evaluation.random_features import build_random

Images = NDArray[np.uint8]


@pytest.fixture
def pair(stores: Any) -> tuple[Path, Path]:
    """Two small stores of drawn images: (generated, reference), 6 and 8 images."""
    draw = np.random.default_rng(0)
    made = stores("made", draw.integers(0, 200, (6, 16, 16), dtype=np.uint8))
    real = stores("real", draw.integers(50, 256, (8, 16, 16), dtype=np.uint8))
    return made.path, real.path


def rfd(made: Path, real: Path, **options: Any) -> float:
    return float(evaluate(made, real, features="random", **options)["metrics"]["rfd"])


def test_the_value_is_the_distance_of_the_features(pair: tuple[Path, Path]):
    extractor = build_random(Options())
    sets = [Statistics.of(extractor(np.load(path / "images.npy"))) for path in pair]
    assert rfd(*pair) == pytest.approx(frechet_distance(*sets), rel=1e-5)


def test_the_record_is_json_and_says_where_the_number_comes_from(pair: tuple[Path, Path]):
    record = evaluate(*pair, features="random", num=4, split="test", seed=3)
    assert json.loads(json.dumps(record)) == record
    assert (record["n_generated"], record["n_reference"]) == (4, 4)
    assert record["features"] == "random"
    manifests = [json.loads((path / "manifest.json").read_text()) for path in pair]
    for side, manifest in zip(("generated", "reference"), manifests, strict=True):
        assert record["provenance"][side]["content"] == manifest["sha256"]["images.npy"]
        assert record["provenance"][side]["fingerprint"] == manifest["fingerprint"]
    assert record["provenance"]["reference"]["split"] == "test"
    assert record["provenance"]["environment"]["packages"]["torch"]
    assert any("rank 3 at most" in warning for warning in record["warnings"])


def test_batch_size_does_not_count(pair: tuple[Path, Path], tmp_path: Path):
    values = [rfd(*pair, batch=batch, cache=tmp_path / str(batch)) for batch in (3, 64)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_a_seed_chooses_the_reference_subset(pair: tuple[Path, Path]):
    first, again, other = (rfd(*pair, num=4, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_cache_is_used_and_a_damaged_one_is_computed_again(
    pair: tuple[Path, Path], tmp_path: Path
):
    cache = tmp_path / "statistics"
    value = rfd(*pair, cache=cache)
    (file,) = cache.glob("*.npz")
    with np.load(file) as found:
        arrays = dict(found)
    moved = arrays | {"mean": arrays["mean"] + 1}
    np.savez(file, **moved)
    assert rfd(*pair, cache=cache) > value + 1
    for damage in (file.read_bytes()[:200], b"not a zip file"):
        file.write_bytes(damage)
        assert rfd(*pair, cache=cache) == value
    np.savez(file, **(arrays | {"mean": arrays["mean"] * np.nan}))
    assert rfd(*pair, cache=cache) == value
    assert rfd(*pair, cache=cache, num=4) != value
    assert len(list(cache.glob("*.npz"))) == 2


def test_progress_counts_every_image(pair: tuple[Path, Path]):
    calls: list[tuple[int, int]] = []
    for _ in range(2):  # the second time the reference comes from the cache
        calls.clear()
        evaluate(
            *pair,
            features="random",
            batch=4,
            progress=lambda done, total, _=None: calls.append((done, total)),
        )
        assert calls[0] == (0, 14)
        assert calls[-1] == (14, 14)
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 7}, r"--num 7: .*made has only 6"),
        ({"num": 1}, "at least 2"),
        ({"num": 5, "split": "test"}, r"--num 5: .*real has only 4"),
        ({"split": "half"}, "'half' is not one of train, val, test"),
        ({"split": "val"}, "no image in split 'val'"),
        (
            {"features": "inceptoin"},
            "'inceptoin' is not one of inception, efficientnet-lite0, random",
        ),
        ({"batch": 0}, "--batch 0"),
        ({"seed": -1}, "--seed -1"),
        ({"resize": "clean"}, "--resize belong to --features inception; random has its own"),
        ({"inception": "weights.pth"}, "--inception and --resize belong"),
        ({"dims": 100}, "--dims 100: random has 64"),
        ({"device": "gpu"}, "'gpu' cannot be used"),
        ({"allow_difference": ["sise"]}, "sise"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    options: dict[str, Any], message: str, pair: tuple[Path, Path], tmp_path: Path
):
    with pytest.raises(UsageError, match=message):
        evaluate(*pair, **({"features": "random", "cache": tmp_path / "empty"} | options))
    assert not list((tmp_path / "empty").glob("*"))


def test_missing_weights_are_found_before_missing_stores(tmp_path: Path):
    with pytest.raises(UsageError, match="no Inception weights"):
        evaluate(tmp_path / "a", tmp_path / "b")
    with pytest.raises(UsageError, match=r"there is no .*a;"):
        evaluate(tmp_path / "a", tmp_path / "b", features="random")


def test_a_cache_that_cannot_be_written_is_refused(pair: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--cache"):
        rfd(*pair, cache=tmp_path / "file" / "below")


def test_a_full_cache_costs_no_result(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(path: Path, write: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(runs, "atomic_write", fail)
    record = evaluate(*pair, features="random", cache=tmp_path)
    assert record["metrics"]["rfd"] > 0
    assert any("could not be cached" in warning for warning in record["warnings"])


def test_stores_made_differently_are_compared_only_by_name(pair: tuple[Path, Path], stores: Any):
    other = stores("box", np.load(pair[0] / "images.npy"), filter="box")
    with pytest.raises(UsageError, match="--allow-difference filter"):
        rfd(other.path, pair[1])
    assert rfd(other.path, pair[1], allow_difference=["filter"]) == rfd(*pair)


def test_the_same_images_are_noticed(pair: tuple[Path, Path]):
    record = evaluate(pair[0], pair[0], features="random")
    assert record["metrics"]["rfd"] < 1e-6
    assert any("same images" in warning for warning in record["warnings"])


def noisy(images: Images, sigma: float) -> Images:
    noise = np.random.default_rng(0).normal(0, sigma, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("features", ["inception", "random"])
def test_worse_images_are_farther_from_real_ultrasound(
    features: str, lung: Images, stores: Any, request: pytest.FixtureRequest
):
    """Half against half < noise of sigma 5 < of sigma 20 < pure noise, as with 240 frames a set."""
    inception = request.getfixturevalue("partial_weights") if features == "inception" else None
    half, reference = lung[::4], lung[2::4]
    pure = np.random.default_rng(1).integers(0, 256, half.shape, dtype=np.uint8)
    sets = {"half": half, "5": noisy(half, 5), "20": noisy(half, 20), "pure": pure}
    real = stores("real", reference).path
    values = []
    for name, images in sets.items():
        made = stores(name, images).path
        record = evaluate(made, real, features=features, inception=inception)
        values.append(next(iter(record["metrics"].values())))
    assert all(later > 1.3 * earlier for earlier, later in pairwise(values))
