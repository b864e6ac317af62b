"""The whole of `evaluate`: what it measures, refuses, caches and writes down."""

import contextlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echosweep.commands.evaluate import evaluate
from echosweep.commands.sample import sample
from echosweep.errors import UsageError
from echosweep.evaluation import METRICS
from echosweep.evaluation.features import Options
from echosweep.evaluation.fid import Statistics, frechet_distance
from echosweep.evaluation.random_features import build_random
from echosweep.progress import Progress

Images = NDArray[np.uint8]


@pytest.fixture
def pair(stores: Any) -> tuple[Path, Path]:
    """Two small stores of drawn images: (generated, reference), 6 and 8 images."""
    draw = np.random.default_rng(0)
    made = stores("made", draw.integers(0, 200, (6, 16, 16), dtype=np.uint8))
    real = stores("real", draw.integers(50, 256, (8, 16, 16), dtype=np.uint8))
    return made.path, real.path


def record_of(made: Path, real: Path, **options: Any) -> dict[str, Any]:
    record = evaluate(made, real, **({"features": "random"} | options))
    assert record is not None
    return record


def rfd(made: Path, real: Path, **options: Any) -> float:
    return float(record_of(made, real, **options)["metrics"]["random-64"]["rfd"])


def test_the_value_is_the_distance_of_the_features(pair: tuple[Path, Path]):
    extractor = build_random(Options())
    sets = [Statistics.of(extractor(np.load(path / "images.npy"))) for path in pair]
    assert rfd(*pair) == pytest.approx(frechet_distance(*sets), rel=1e-5)


def test_the_record_is_json_and_says_where_the_number_comes_from(pair: tuple[Path, Path]):
    record = record_of(*pair, num=4, split="test", seed=3)
    assert json.loads(json.dumps(record)) == record
    assert (record["n_generated"], record["n_reference"]) == (4, 4)
    assert record["features"]["random-64"]["resize"] == "pil-bilinear-64"
    manifests = [json.loads((path / "manifest.json").read_text()) for path in pair]
    for side, manifest in zip(("generated", "reference"), manifests, strict=True):
        assert record["provenance"][side]["content"] == manifest["sha256"]["images.npy"]
        assert record["provenance"][side]["fingerprint"] == manifest["fingerprint"]
    assert record["provenance"]["reference"]["split"] == "test"
    assert record["provenance"]["environment"]["packages"]["torch"]
    assert any("rank 3 at most" in warning for warning in record["warnings"])


def test_every_metric_of_every_extractor_under_its_exact_name(pair: tuple[Path, Path]):
    record = record_of(*pair, metrics="frechet,noise,kid", features="random,efficientnet-lite0")
    assert set(record["metrics"]) == {"random-64", "efficientnet-lite0-1280"}
    assert {"rfd", "rfd_floor", "rfd_above_floor", "rfd_real_redrawn_std", "kid"} <= set(
        record["metrics"]["random-64"]
    )
    assert "fd_efficientnet_lite0_infinity" in record["metrics"]["efficientnet-lite0-1280"]
    assert set(record["details"]["random-64"]) == {"frechet", "noise", "kid"}
    assert not any(name.startswith("fid") for name in record["metrics"]["random-64"])


def test_all_metrics_leave_a_record_and_a_page(pair: tuple[Path, Path]):
    record = record_of(*pair, metrics="all")
    folder = pair[0].with_name("made.evaluation")
    assert json.loads((folder / "evaluation.json").read_text()) == record
    assert "rfd" in (folder / "evaluation.html").read_text()
    assert len(record["details"]["random-64"]) + len(record["details"]["images"]) == len(METRICS)


def test_a_seed_chooses_the_reference_subset(pair: tuple[Path, Path]):
    first, again, other = (rfd(*pair, num=4, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_metrics_of_images_need_no_weights(pair: tuple[Path, Path]):
    record = evaluate(*pair, metrics="echo")
    assert record is not None
    assert set(record["metrics"]) == {"images"}
    assert record["features"] == {}


def test_noise_redraws_from_all_images_of_the_split(pair: tuple[Path, Path]):
    found = record_of(*pair, metrics="noise", num=2)["details"]["random-64"]["noise"]
    assert (found["real"]["n"], found["real"]["pool"]) == (2, 8)
    assert (found["generated"]["n"], found["generated"]["pool"]) == (2, 6)


def test_progress_shows_every_stage(pair: tuple[Path, Path]):
    stages: dict[str, list[tuple[int, int]]] = {}

    @contextlib.contextmanager
    def show(title: str, unit: str) -> Iterator[Progress]:
        calls = stages.setdefault(title, [])
        yield lambda done, total, units=None: calls.append((done, total))

    record_of(*pair, show=show)
    assert stages == {
        "random-64 of made": [(0, 6), (6, 6)],
        "random-64 of real": [(0, 8), (8, 8)],
        "frechet (random-64)": [(0, 1), (1, 1)],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": 7}, r"--num 7: .*made has only 6"),
        ({"num": 1}, "at least 2"),
        ({"num": 5, "split": "test"}, r"--num 5: .*real has only 4"),
        ({"split": "half"}, "split = 'half': must be 'train', 'val' or 'test'"),
        ({"split": "val"}, "no image in split 'val'"),
        (
            {"features": "inceptoin"},
            "features 'inceptoin' is not known; did you mean 'inception'",
        ),
        ({"metrics": "fid"}, "metrics 'fid' is not known"),
        ({"dinov2": "weights.pth"}, "--dinov2 belongs to --features dinov2"),
        ({"seed": -1}, "seed = -1: must be 0 or more"),
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
        record_of(*pair, **({"cache": tmp_path / "empty"} | options))
    assert not list((tmp_path / "empty").glob("*"))


def test_what_a_metric_cannot_measure_is_refused_before_any_feature(stores: Any, tmp_path: Path):
    few, small, large = (
        stores(name, np.full((n, size, size), 9, np.uint8)).path
        for name, n, size in (("few", 4, 16), ("small", 8, 16), ("large", 8, 24))
    )
    cache = tmp_path / "empty"
    with pytest.raises(UsageError, match="few: 4 images have no 5-th neighbour"):
        record_of(few, small, metrics="frechet,prdc", cache=cache)
    with pytest.raises(UsageError, match="sectors cannot be compared"):
        record_of(small, large, metrics="frechet,echo", allow_difference=["size"], cache=cache)
    assert not list(cache.glob("*"))


def test_missing_weights_are_found_before_missing_stores(tmp_path: Path):
    with pytest.raises(UsageError, match="no Inception weights"):
        evaluate(tmp_path / "a", tmp_path / "b")
    with pytest.raises(UsageError, match=r"there is no .*a;"):
        evaluate(tmp_path / "a", tmp_path / "b", features="random")


def test_a_cache_that_cannot_be_written_is_refused(pair: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--cache"):
        rfd(*pair, cache=tmp_path / "file" / "below")


def test_stores_made_differently_are_compared_only_by_name(pair: tuple[Path, Path], stores: Any):
    other = stores("box", np.load(pair[0] / "images.npy"), filter="box")
    with pytest.raises(UsageError, match="--allow-difference filter"):
        rfd(other.path, pair[1])
    assert rfd(other.path, pair[1], allow_difference=["filter"]) == rfd(*pair)


def test_the_same_images_are_noticed(pair: tuple[Path, Path]):
    record = record_of(pair[0], pair[0])
    assert record["metrics"]["random-64"]["rfd"] < 1e-6
    assert any("same images" in warning for warning in record["warnings"])


def test_constant_and_repeated_images_are_counted(pair: tuple[Path, Path], stores: Any):
    images = np.load(pair[0] / "images.npy")
    assert not any("generated images are" in text for text in record_of(*pair)["warnings"])
    images[1:4] = 7  # three constant ones, of which two repeat the first
    images[5] = images[0]
    found = record_of(stores("flat", images).path, pair[1])["warnings"]
    assert "3 of 6 generated images are constant: one grey level alone" in found
    assert "3 of 6 generated images are equal to another one" in found


def test_images_of_training_patients_are_noticed(
    small_run: Path, small_store: Path, tmp_path: Path
):
    sample(small_run, tmp_path / "made", num=4, steps=2)
    for split, warned in ((None, True), ("train", True), ("test", False)):
        record = record_of(tmp_path / "made", small_store, split=split)
        assert any("trained on" in warning for warning in record["warnings"]) is warned


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
        record = record_of(made, real, features=features, inception=inception)
        (found,) = record["metrics"].values()
        values.append(found["rfd" if features == "random" else "fid768"])
    assert all(later > 1.3 * earlier for earlier, later in pairwise(values))
