"""Features on disk: computed once, continued, checked, shared among processes."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echosweep.distributed import World
from echosweep.errors import EchoSweepError, UsageError
from echosweep.evaluation.feature_cache import CachedFeatures, cached_features
from echosweep.evaluation.features import Extractor, Options, Resize, pil_bilinear
from echosweep.evaluation.random_features import build_random

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    """A network that costs nothing: what is tested is the cache."""
    mixing = torch.randn(3 * 16 * 16, 64, generator=torch.Generator().manual_seed(0))
    return Extractor(
        name="mixing",
        metric="fd_mixing",
        dims=64,
        resize=Resize("none", 16, pil_bilinear, 0, 255),
        weights="seed 0",
        network=lambda x: x.flatten(1) @ mixing,
        device=torch.device("cpu"),
    )


@pytest.fixture
def store(stores: Any) -> Any:
    images = np.random.default_rng(0).integers(0, 256, (150, 16, 16), dtype=np.uint8)
    return stores("real", images)


def counted(extractor: Extractor, seen: list[int], stop_after: int = 10**9) -> Extractor:
    """The same extractor; it counts the images it is given and may be stopped."""

    def network(x: torch.Tensor) -> torch.Tensor:
        if sum(seen) >= stop_after:
            raise KeyboardInterrupt
        seen.append(len(x))
        return extractor.network(x)

    return replace(extractor, network=network)


def all_of(store: Any, extractor: Extractor, cache: Path, **options: Any) -> CachedFeatures:
    rows = options.pop("rows", np.arange(len(store)))
    return cached_features(store, rows, extractor, cache, options.pop("world", ALONE), **options)


def test_they_are_the_extractor_s_own(store: Any, extractor: Extractor, tmp_path: Path) -> None:
    found = all_of(store, extractor, tmp_path)
    assert found.shape == (150, 64)
    np.testing.assert_array_equal(found[:], extractor(store.images))
    np.testing.assert_array_equal(found[[7, 3]], extractor(store.images)[[7, 3]])
    assert found[:0].shape == (0, 64)


def test_any_rows_are_computed_once(store: Any, extractor: Extractor, tmp_path: Path) -> None:
    seen: list[int] = []
    counting = counted(extractor, seen)
    some = all_of(store, counting, tmp_path, rows=np.arange(100, 140))
    first = sum(seen)
    assert 40 <= first < 140
    np.testing.assert_array_equal(some[:], extractor(store.images)[100:140])
    every = all_of(store, counting, tmp_path)
    after = sum(seen)
    np.testing.assert_array_equal(every[100:140], some[:])
    all_of(store, counting, tmp_path)
    assert sum(seen) == after


def test_an_interrupted_call_continues(store: Any, extractor: Extractor, tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        all_of(store, counted(extractor, seen, stop_after=100), tmp_path)
    calls: list[tuple[int, int]] = []
    found = all_of(
        store, extractor, tmp_path, progress=lambda done, total, _=None: calls.append((done, total))
    )
    assert calls[0] == (64, 150)
    assert calls[-1] == (150, 150)
    np.testing.assert_array_equal(found[:], extractor(store.images))


@pytest.mark.parametrize("damage", ["flip", "cut", "checks", "remove"])
def test_a_damaged_file_is_computed_again(
    store: Any, extractor: Extractor, tmp_path: Path, damage: str
) -> None:
    whole = all_of(store, extractor, tmp_path)[:]
    (features,), (checks,) = tmp_path.glob("*/features.f32"), tmp_path.glob("*/checks.u32")
    if damage == "flip":
        data = bytearray(features.read_bytes())
        data[64 * 4 * 9 + 1] ^= 4
        features.write_bytes(data)
    elif damage == "cut":
        os.truncate(features, 64 * 4 * 20 + 3)
    elif damage == "checks":
        checks.write_bytes(b"nonsense")
    else:
        features.unlink()
    seen: list[int] = []
    np.testing.assert_array_equal(all_of(store, counted(extractor, seen), tmp_path)[:], whole)
    assert sum(seen) > 0


def test_features_of_another_store_or_row_are_none_of_its_own(
    store: Any, stores: Any, extractor: Extractor, tmp_path: Path
) -> None:
    other = stores("other", store.images[::-1].copy())
    whole = all_of(store, extractor, tmp_path / "c")[:]
    (mine,) = (tmp_path / "c").iterdir()
    all_of(other, extractor, tmp_path / "c")
    (theirs,) = {*(tmp_path / "c").iterdir()} - {mine}
    shutil.copytree(theirs, mine, dirs_exist_ok=True)
    np.testing.assert_array_equal(all_of(store, extractor, tmp_path / "c")[:], whole)
    for name, width in (("features.f32", 64), ("checks.u32", 1)):
        rows = np.fromfile(mine / name, np.uint32).reshape(-1, width)
        rows[[0, 1]] = rows[[1, 0]]
        rows.tofile(mine / name)
    np.testing.assert_array_equal(all_of(store, extractor, tmp_path / "c")[:], whole)


@pytest.mark.parametrize("name", ["", "features.f32", "checks.u32"])
def test_what_is_no_file_of_the_cache_makes_room_for_it(
    store: Any, extractor: Extractor, tmp_path: Path, name: str
) -> None:
    whole = all_of(store, extractor, tmp_path)[:]
    (folder,) = tmp_path.glob("features-*")
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    path = folder / name
    for spoil in (
        lambda: os.mkfifo(path),
        lambda: path.mkdir(),
        lambda: path.symlink_to(outside),
        lambda: path.write_bytes(b""),
    ):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        spoil()
        np.testing.assert_array_equal(all_of(store, extractor, tmp_path)[:], whole)
    assert outside.read_bytes() == b"kept"
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if name:
        (path / "theirs").mkdir(parents=True)
        with pytest.raises(UsageError, match="remove that, or choose another folder with --cache"):
            all_of(store, extractor, tmp_path)
        assert (path / "theirs").is_dir()


def test_processes_share_the_work_and_get_the_same_bits(stores: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (80, 16, 16), dtype=np.uint8)
    store, extractor = stores("shared", images), build_random(Options(device="cpu"))
    code = (
        "import sys, numpy as np, torch\n"
        "from pathlib import Path\n"
        "from echosweep.data.store import FrameStore\n"
        "from echosweep.distributed import world\n"
        "from echosweep.evaluation.feature_cache import cached_features\n"
        "from echosweep.evaluation.features import Options\n"
        "from echosweep.evaluation.random_features import build_random\n"
        "torch.set_num_threads(1)\n"
        "store, cache = FrameStore.open(sys.argv[1]), Path(sys.argv[2])\n"
        "with world('cpu') as peers:\n"
        "    found = cached_features(store, np.arange(len(store)), build_random(Options()),\n"
        "                            cache, peers)\n"
        "    np.save(Path(sys.argv[3]) / f'{peers.rank}.npy', found[:])\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = tmp_path / "share.py"
    script.write_text(code)
    done = subprocess.run(
        [*command, str(script), str(store.path), str(tmp_path / "two"), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    alone = extractor(store.images)
    for rank in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{rank}.npy"), alone)
    all_of(store, replace(extractor, network=never), tmp_path / "two")


def never(x: torch.Tensor) -> torch.Tensor:
    raise AssertionError("there is nothing to compute")


def test_a_full_disk_is_said_before_any_work(
    store: Any, extractor: Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")(1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UsageError, match=r"features need .* of disk space in .* 1 kB free"):
        all_of(store, replace(extractor, network=never), tmp_path)


def test_the_image_with_bad_features_is_named(
    store: Any, extractor: Extractor, tmp_path: Path
) -> None:
    def network(x: torch.Tensor) -> torch.Tensor:
        features = extractor.network(x)
        features[-1] = float("nan")
        return features

    with pytest.raises(EchoSweepError, match=r"image \d+ of .*real \(video (first|second), frame"):
        all_of(store, replace(extractor, network=network), tmp_path)
