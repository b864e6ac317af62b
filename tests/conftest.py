"""Fixtures that every test may use, and a network that no test can reach."""

import csv
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from echosweep.data.store import Preparation, Video
from echosweep.data.writer import write_store

ROOT = Path(__file__).parents[1]

# Small tensors lose more to waking threads than they gain; subprocesses inherit the variable.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of studies: they take longest, so none is left alone in the end."""
    items.sort(key=lambda item: item.path.parent != ROOT / "tests" / "study")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real ultrasound and weights; the test is skipped, visibly, without it."""
    path = Path(os.environ.get("ECHOSWEEP_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no test data at {path}; set ECHOSWEEP_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden values. A missing file fails the test that reads it."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def as_echonet_reads() -> Callable[[Path, str], dict[str, tuple[int, int]]]:
    """What echonet's own loader finds in a folder: (LargeIndex, SmallIndex) of each video it keeps.

    It opens both tables, wants every listed video, and keeps those with two traced frames; of
    these the last is the large ventricle and the first the small one.
    """

    def read(root: Path, split: str) -> dict[str, tuple[int, int]]:
        with (root / "FileList.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if split in ("all", row["Split"].lower())]
        names = [f"{row['FileName']}.avi" for row in rows if not Path(row["FileName"]).suffix]
        missing = {*names} - {path.name for path in (root / "Videos").iterdir()}
        assert not missing
        header, *lines = (root / "VolumeTracings.csv").read_text().splitlines()
        assert header == "FileName,X1,Y1,X2,Y2,Frame"
        frames: dict[str, list[int]] = {name: [] for name in names}
        for line in lines:
            name, *_, frame = line.split(",")
            if name in frames and int(frame) not in frames[name]:
                frames[name].append(int(frame))
        return {name: (found[-1], found[0]) for name, found in frames.items() if len(found) >= 2}

    return read


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "local"
        if host not in ("local", "localhost", "127.0.0.1", "::1"):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame store of 20 videos of 8 grey 16x16 images: a bright blob that moves."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]

    def frames() -> NDArray[np.uint8]:
        centre = rng.uniform(5, 11, 2) + rng.normal(0, 0.5, (8, 2))
        distance = (y - centre[:, 0, None, None]) ** 2 + (x - centre[:, 1, None, None]) ** 2
        return (255 * np.exp(-distance / 8)).astype(np.uint8)

    splits = ["train"] * 14 + ["val"] * 3 + ["test"] * 3
    videos = [
        (
            Video(
                f"v{i}",
                split,
                labels={"side": "left" if i % 2 else "right", "EF": 50.0},
                content=f"{i + 1:016x}",
            ),
            frames(),
        )
        for i, split in enumerate(splits)
    ]
    path = tmp_path_factory.mktemp("stores") / "small"
    write_store(path, Preparation((16, 16)), videos, source={"kind": "test"})
    return path


@pytest.fixture(scope="session")
def small_network() -> dict[str, Any]:
    """Training settings under which a step takes milliseconds."""
    return {
        "network": "ddpmpp-tiny",
        "model_channels": 8,
        "batch": 8,
        "lr": 5e-3,
        "warmup_kimg": 0.0,
    }


@pytest.fixture(scope="session")
def small_run(
    small_store: Path, small_network: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run on the small store. Read only: several tests share it."""
    from echosweep.commands.train import train

    out = tmp_path_factory.mktemp("runs") / "small"
    return train(small_store, out, total_kimg=0.48, snapshots=2, grid_images=4, **small_network)


@pytest.fixture(scope="session")
def small_discriminator(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A discriminator for the small run, as saved: weights drawn, not trained. Read only."""
    from echosweep.build import build_discriminator
    from echosweep.config import DiscriminatorConfig
    from echosweep.training import checkpoint

    model = checkpoint.read_facts(small_run / "model")
    guides = {key: model[key] for key in ("sha256", "config", "preparation", "classes")}
    config = DiscriminatorConfig(kind="encoder")
    torch.manual_seed(0)
    discriminator = build_discriminator(config, guides)
    with torch.no_grad():
        for weight in discriminator.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    facts = {
        "kind": "discriminator",
        "epoch": 1,
        "config": config.model_dump(mode="json"),
        "guides": guides,
        "features": None,
        "accuracy": [[0.03, 0.9], [1.0, 0.7], [100.0, 0.5]],
        "best_weight": [[0.03, 1.0], [1.0, 0.5], [100.0, 0.0]],
    }
    out = tmp_path_factory.mktemp("discriminators") / "small"
    checkpoint.save(out / "model", discriminator.trained_state(), facts)
    return out
