"""From uint8 images to feature vectors: resize, scale, network, in batches.

A resize along one axis is a linear map, so each named mode is one matrix per axis (out, in) and
`rows @ image @ columns.T` is the exact resize. Invariant: two feature vectors may be compared only
if their extractors' `signature` is the same: it holds the network, the weights and the resize.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from echosweep import runs
from echosweep.data.store import FrameStore
from echosweep.errors import EchoSweepError, UsageError

Matrix = Callable[[int, int], Tensor]
# Images a network call, by device: on a CPU more are no faster, and fewer fit its cache.
CHUNK = {"cpu": 8, "cuda": 64}


@dataclass(frozen=True)
class Options:
    """What a user may ask of an extractor; each takes what concerns it and refuses what cannot be.

    inception, dinov2: a weights file, None for the one in ECHOSWEEP_INCEPTION, ECHOSWEEP_DINOV2.
    dims: the feature width, None for the extractor's own.
    """

    inception: Path | None = None
    dinov2: Path | None = None
    resize: str = "edm"
    dims: int | None = None
    allow_unknown_weights: bool = False
    device: str | None = None


def tf1_bilinear(size: int, out: int) -> Tensor:
    """Return TensorFlow 1's bilinear resize (out, size): source = j * size / out, no half pixel."""
    return _interpolation(torch.arange(out, dtype=torch.float64) * size / out, size)


def half_pixel_bilinear(size: int, out: int) -> Tensor:
    """Return the bilinear resize (out, size) with source = (j + 1/2) size / out - 1/2."""
    return _interpolation((torch.arange(out, dtype=torch.float64) + 0.5) * size / out - 0.5, size)


def _interpolation(source: Tensor, size: int) -> Tensor:
    source = source.clamp(0, size - 1)
    left = source.floor().clamp(max=max(size - 2, 0)).long()
    share = source - left
    rows, matrix = torch.arange(len(source)), torch.zeros(len(source), size, dtype=torch.float64)
    matrix[rows, left] = 1 - share
    matrix[rows, (left + 1).clamp(max=size - 1)] += share
    return matrix.float()


def pil_bicubic(size: int, out: int) -> Tensor:
    """Return Pillow's antialiased bicubic resize (out, size): what it makes of the unit matrix."""
    return _pillow(size, out, Image.Resampling.BICUBIC)


def pil_bilinear(size: int, out: int) -> Tensor:
    """Return Pillow's antialiased bilinear resize (out, size)."""
    return _pillow(size, out, Image.Resampling.BILINEAR)


def _pillow(size: int, out: int, kernel: Image.Resampling) -> Tensor:
    unit = Image.fromarray(np.eye(size, dtype=np.float32))
    return torch.from_numpy(np.array(unit.resize((out, size), kernel)).T.copy())


@dataclass(frozen=True)
class Resize:
    """A named way from uint8 (N, H, W[, 3]) to network input: (resized - offset) / scale."""

    name: str
    size: int
    matrix: Matrix
    offset: float
    scale: float

    def __call__(self, images: NDArray[np.uint8], device: torch.device) -> Tensor:
        """Return (N, 3, size, size) float32; grey is repeated to three equal channels."""
        x = torch.from_numpy(np.ascontiguousarray(images)).to(device).float()
        x = x.unsqueeze(1) if x.ndim == 3 else x.permute(0, 3, 1, 2)
        rows, columns = (self.matrix(n, self.size).to(device) for n in x.shape[2:])
        x = (rows @ x @ columns.T).clamp(0, 255)  # a bicubic filter overshoots
        x = ((x - self.offset) / self.scale).expand(-1, 3, -1, -1)
        return x.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Extractor:
    """A network, its weights and its resize: uint8 (N, H, W[, 3]) -> float32 (N, dims).

    name: the key in EXTRACTORS. metric: what a Fréchet distance of these features is called.
    weights: SHA-256 of the weights, or how they are made. notes: what a reader of the number must
    know. precision: of convolutions and products, fp32 or fp16.
    """

    name: str
    metric: str
    dims: int
    resize: Resize
    weights: str
    network: Callable[[Tensor], Tensor]
    device: torch.device
    notes: tuple[str, ...] = ()
    precision: str = "fp32"

    @property
    def label(self) -> str:
        """Return what a record calls these features: inception-2048, random-64."""
        return f"{self.name}-{self.dims}"

    def describe(self) -> dict[str, Any]:
        """Return what the features depend on, as JSON."""
        return {
            "name": self.name,
            "metric": self.metric,
            "dims": self.dims,
            "weights": self.weights,
            "resize": self.resize.name,
            "precision": self.precision,
            "signature": self.signature,
        }

    @cached_property
    def signature(self) -> str:
        """Return 16 hex digits: equal for extractors whose features may be compared."""
        rounding = [] if self.precision == "fp32" else [self.precision]
        return runs.signature([self.name, self.dims, self.resize.name, self.weights, *rounding])

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features of `images`, float32 (N, dims).

        An image has the same bits whatever images come with it: kernels round differently at
        other shapes, so the network always sees CHUNK images, the last one repeated to fill up.
        """
        chunk = CHUNK[self.device.type]
        features = np.empty((len(images), self.dims), np.float32)
        for start in range(0, len(images), chunk):
            rows = np.arange(start, start + chunk).clip(max=len(images) - 1)
            features[start : start + chunk] = self._forward(images[rows])[: len(images) - start]
        return features

    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = self.resize(images, self.device)
        # TensorFloat-32 would move features by about 1e-3, and differently on every card.
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            torch.autocast(self.device.type, torch.float16, enabled=self.precision == "fp16"),
        ):
            features: NDArray[np.float32] = self.network(x).float().cpu().numpy()
        return features


def extract(
    store: FrameStore, rows: NDArray[np.int64], extractor: Extractor, batch: int = 64
) -> Iterator[NDArray[np.float32]]:
    """Yield the features of a store's `rows`, float32 (<= batch, dims), in their order.

    Raises EchoSweepError, naming the image, where a feature is not finite.
    """
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        features = extractor(store.images[chosen])
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(bad):
            raise EchoSweepError(_not_finite(store, int(chosen[bad[0]]), extractor))
        yield features


def fold(
    weight: Tensor, scale: Tensor | None, shift: Tensor | None, mean: Tensor, var: Tensor
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that equals conv + batch norm (eps 1e-3).

    Computed in float64; a `scale` or `shift` that a file leaves out is 1 or 0.
    """
    gain = (1.0 if scale is None else scale.double()) / (var.double() + 1e-3).sqrt()
    bias = (0.0 if shift is None else shift.double()) - mean.double() * gain
    return (weight.double() * gain[:, None, None, None]).float(), bias.float()


def check_dims(options: Options, name: str, dims: int) -> None:
    """Raise UsageError if another feature width than the only one was asked for."""
    if options.dims not in (None, dims):
        raise UsageError(f"--dims {options.dims}: {name} has {dims} features; leave --dims out")


def _not_finite(store: FrameStore, row: int, extractor: Extractor) -> str:
    entry: Any = store.index[row]
    video = store.videos[int(entry["video"])].name
    return (
        f"image {row} of {store.path} (video {video}, frame {int(entry['frame'])}) gave features "
        f"of {extractor.name} that are not finite; the weights are damaged, or the device is: "
        "try --device cpu"
    )
