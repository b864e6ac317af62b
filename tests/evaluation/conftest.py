"""Stores of real frames, and Inception weights that no licence covers: drawn from a seed."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from echosweep import rng
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.evaluation.inception import layout

PARTIAL = Path("inception", "inception2015_bnfolded_to_Mixed_7a_fp32.safetensors")
SIZE = 64


def synthetic_state_dict() -> dict[str, torch.Tensor]:
    """All 94 convolutions and batch norms under pytorch-fid's names, drawn by name from a seed."""
    tensors = {}
    for conv in layout():
        draw, width = rng.generator("synthetic-inception", conv.name), conv.shape[0]
        scale = (2 / float(np.prod(conv.shape[1:]))) ** 0.5
        tensors[f"{conv.name}.conv.weight"] = torch.randn(conv.shape, generator=draw) * scale
        tensors[f"{conv.name}.bn.weight"] = torch.ones(width)
        tensors[f"{conv.name}.bn.bias"] = torch.randn(width, generator=draw) * 0.1
        tensors[f"{conv.name}.bn.running_mean"] = torch.randn(width, generator=draw) * 0.1
        tensors[f"{conv.name}.bn.running_var"] = torch.rand(width, generator=draw) + 0.5
    return tensors


def golden_images() -> NDArray[np.uint8]:
    """Two colour images (2, 64, 48, 3) that need no file: a ramp and stripes."""
    y, x, c = np.meshgrid(np.arange(64), np.arange(48), np.arange(3), indexing="ij")
    return np.stack([(3 * y + x + 60 * c) % 256, (17 * x * (c + 1) + y * y) % 256]).astype(np.uint8)


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    return golden_images()


@pytest.fixture(scope="session")
def state_dict() -> dict[str, torch.Tensor]:
    return synthetic_state_dict()


@pytest.fixture(scope="session")
def full_weights(
    state_dict: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A full state dict in a .pth, as pytorch-fid's, with drawn weights."""
    path = tmp_path_factory.mktemp("weights") / "full.pth"
    torch.save(state_dict, path)
    return path


@pytest.fixture(scope="session")
def partial_weights(shared_data: Path) -> Path:
    """The real weights to Mixed_7a, batch norm folded."""
    path = shared_data / PARTIAL
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


@pytest.fixture(scope="session")
def lung(shared_data: Path) -> NDArray[np.uint8]:
    """Real ultrasound frames of one patient, (48, 64, 64): eight of each of six clips."""
    clips = sorted((shared_data / "clips" / "convex").glob("Reg_pat1*"))
    return np.concatenate([_frames(clip, 8) for clip in clips])


def _frames(clip: Path, count: int) -> NDArray[np.uint8]:
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % 5 == 0:
                grey = Image.fromarray(frame.to_ndarray(format="gray"))
                side = min(grey.size)
                left, top = (grey.width - side) // 2, (grey.height - side) // 2
                square = grey.crop((left, top, left + side, top + side))
                frames.append(np.asarray(square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)))
            if len(frames) == count:
                break
    return np.stack(frames)


class Stores:
    """Writes frame stores by name below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, images: NDArray[np.uint8], **preparation: object) -> FrameStore:
        size = (images.shape[1], images.shape[2])
        made = Preparation(size, 3 if images.ndim == 4 else 1, **preparation)  # type: ignore[arg-type]
        half = len(images) // 2
        videos = [
            (Video("first", "train"), images[:half]),
            (Video("second", "test"), images[half:]),
        ]
        return write_store(self.folder / name, made, videos)


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return Stores(tmp_path)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache, or takes weights from the environment."""
    monkeypatch.setenv("ECHOSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ECHOSWEEP_INCEPTION", raising=False)
    monkeypatch.delenv("ECHOSWEEP_DINOV2", raising=False)
