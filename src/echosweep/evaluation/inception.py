"""Inception-v3 of 2015-12-05, the network that FID is defined on (Szegedy et al. 2016).

It differs from later Inceptions: average pools leave the padding out of the mean, and the last
block pools with a maximum. Invariant: whatever file the weights came from, each convolution has
its batch norm folded in and pytorch-fid's name, so that all files give one graph.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Conv(NamedTuple):
    """One convolution: pytorch-fid's name, NVIDIA's TorchScript name, weight shape (O, I, H, W).

    TorchScript names are kept with underscores for dots: that file nests them in some blocks and
    not in others.
    """

    name: str
    script: str
    shape: tuple[int, int, int, int]


def layout() -> list[Conv]:
    """Return all 94 convolutions in the order of the graph."""
    stem = [
        Conv("Conv2d_1a_3x3", "layers_conv", (32, 3, 3, 3)),
        Conv("Conv2d_2a_3x3", "layers_conv_1", (32, 32, 3, 3)),
        Conv("Conv2d_2b_3x3", "layers_conv_2", (64, 32, 3, 3)),
        Conv("Conv2d_3b_1x1", "layers_conv_3", (80, 64, 1, 1)),
        Conv("Conv2d_4a_3x3", "layers_conv_4", (192, 80, 3, 3)),
    ]
    blocks = [
        *_block("5b", 0, _block_a(192, 32)),
        *_block("5c", 1, _block_a(256, 64)),
        *_block("5d", 2, _block_a(288, 64)),
        *_block("6a", 3, _block_b()),
        *_block("6b", 4, _block_c(128)),
        *_block("6c", 5, _block_c(160)),
        *_block("6d", 6, _block_c(160)),
        *_block("6e", 7, _block_c(192)),
        *_block("7a", 8, _block_d()),
        *_block("7b", 9, _block_e(1280)),
        *_block("7c", 10, _block_e(2048)),
    ]
    return stem + blocks


def _block(name: str, index: int, convs: Iterator[Conv]) -> Iterator[Conv]:
    script = f"layers_mixed_{index}_" if index else "layers_mixed_"
    for conv in convs:
        yield Conv(f"Mixed_{name}.{conv.name}", script + conv.script, conv.shape)


def _tower(
    branch: str, script: str, widths: list[int], kernels: list[tuple[int, int]]
) -> Iterator[Conv]:
    """Yield the chain of convolutions `branch_1`, `branch_2`, ... from widths[0] channels on."""
    for i, kernel in enumerate(kernels):
        name = branch if len(kernels) == 1 else f"{branch}_{i + 1}"
        yield Conv(
            name, f"{script}conv_{i}" if i else f"{script}conv", (widths[i + 1], widths[i], *kernel)
        )


_1x1, _3x3, _5x5, _1x7, _7x1, _1x3, _3x1 = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1), (1, 3), (3, 1)


def _block_a(width: int, pool: int) -> Iterator[Conv]:
    yield from _tower("branch1x1", "", [width, 64], [_1x1])
    yield from _tower("branch5x5", "tower_", [width, 48, 64], [_1x1, _5x5])
    yield from _tower("branch3x3dbl", "tower_1_", [width, 64, 96, 96], [_1x1, _3x3, _3x3])
    yield from _tower("branch_pool", "tower_2_", [width, pool], [_1x1])


def _block_b() -> Iterator[Conv]:
    yield from _tower("branch3x3", "", [288, 384], [_3x3])
    yield from _tower("branch3x3dbl", "tower_", [288, 64, 96, 96], [_1x1, _3x3, _3x3])


def _block_c(width: int) -> Iterator[Conv]:
    yield from _tower("branch1x1", "", [768, 192], [_1x1])
    yield from _tower("branch7x7", "tower_", [768, width, width, 192], [_1x1, _1x7, _7x1])
    widths, kernels = [768, *[width] * 4, 192], [_1x1, _7x1, _1x7, _7x1, _1x7]
    yield from _tower("branch7x7dbl", "tower_1_", widths, kernels)
    yield from _tower("branch_pool", "tower_2_", [768, 192], [_1x1])


def _block_d() -> Iterator[Conv]:
    yield from _tower("branch3x3", "tower_", [768, 192, 320], [_1x1, _3x3])
    yield from _tower(
        "branch7x7x3", "tower_1_", [768, 192, 192, 192, 192], [_1x1, _1x7, _7x1, _3x3]
    )


def _block_e(width: int) -> Iterator[Conv]:
    yield from _tower("branch1x1", "", [width, 320], [_1x1])
    yield Conv("branch3x3_1", "tower_conv", (384, width, 1, 1))
    yield Conv("branch3x3_2a", "tower_mixed_conv", (384, 384, 1, 3))
    yield Conv("branch3x3_2b", "tower_mixed_conv_1", (384, 384, 3, 1))
    yield from _tower("branch3x3dbl", "tower_1_", [width, 448, 384], [_1x1, _3x3])
    yield Conv("branch3x3dbl_3a", "tower_1_mixed_conv", (384, 384, 1, 3))
    yield Conv("branch3x3dbl_3b", "tower_1_mixed_conv_1", (384, 384, 3, 1))
    yield from _tower("branch_pool", "tower_2_", [width, 192], [_1x1])


# The 1x1 convolutions of a block's input, the one of the pool branch last.
_HEADS_A = ("branch1x1", "branch5x5_1", "branch3x3dbl_1", "branch_pool")
_HEADS_C = ("branch1x1", "branch7x7_1", "branch7x7dbl_1", "branch_pool")
_HEADS = {f"Mixed_{block}.": _HEADS_A for block in ("5b", "5c", "5d")} | {
    f"Mixed_{block}.": _HEADS_C for block in ("6b", "6c", "6d", "6e")
}


class Inception:
    """The graph up to the layer that gives `dims` features: 64, 192, 768 or 2048.

    weights: (weight, bias) by convolution name; those behind that layer may be missing.
    """

    def __init__(self, weights: Mapping[str, tuple[Tensor, Tensor]], dims: int) -> None:
        self._weights, self._dims = weights, dims
        self._merged = {
            block: _merge([weights[block + name] for name in names])
            for block, names in _HEADS.items()
            if all(block + name in weights for name in names)
        }

    def __call__(self, x: Tensor) -> Tensor:
        """Return (N, dims), averaged over space, of scaled (N, 3, 299, 299) input."""
        stages = {64: self._stem, 192: self._stem_2, 768: self._mixed_5_6, 2048: self._mixed_7}
        for dims, stage in stages.items():
            x = stage(x)
            if dims == self._dims:
                return x.mean(dim=(2, 3))
        raise AssertionError(f"no layer of {self._dims} features")

    def _conv(self, name: str, x: Tensor, stride: int = 1, pad: bool = True) -> Tensor:
        weight, bias = self._weights[name]
        padding = tuple(n // 2 if pad and stride == 1 else 0 for n in weight.shape[2:])
        return F.conv2d(x, weight, bias, stride, padding).relu_()

    def _heads(self, block: str, x: Tensor) -> list[Tensor]:
        """Return the 1x1 convolutions of a block's input, that of the pool branch pooled.

        They run as one. Convolving before pooling is the same, for both are linear and a mean
        leaves a bias as it is, and pools fewer channels.
        """
        weight, bias, widths = self._merged[block]
        *towers, pool = torch.split(F.conv2d(x, weight, bias), widths, dim=1)
        return [*(tower.relu() for tower in towers), _mean_pool(pool).relu_()]

    def _chain(
        self, branch: str, x: Tensor, length: int, last_stride: int = 1, first: int = 1
    ) -> Tensor:
        for i in range(first, length + 1):
            x = self._conv(f"{branch}_{i}", x, last_stride if i == length else 1)
        return x

    def _stem(self, x: Tensor) -> Tensor:
        x = self._conv("Conv2d_1a_3x3", x, stride=2)
        x = self._conv("Conv2d_2a_3x3", x, pad=False)
        return F.max_pool2d(self._conv("Conv2d_2b_3x3", x), 3, 2)

    def _stem_2(self, x: Tensor) -> Tensor:
        x = self._conv("Conv2d_3b_1x1", x)
        return F.max_pool2d(self._conv("Conv2d_4a_3x3", x, pad=False), 3, 2)

    def _mixed_5_6(self, x: Tensor) -> Tensor:
        for name in ("Mixed_5b.", "Mixed_5c.", "Mixed_5d."):
            x = self._a(name, x)
        x = self._b("Mixed_6a.", x)
        for name in ("Mixed_6b.", "Mixed_6c.", "Mixed_6d.", "Mixed_6e."):
            x = self._c(name, x)
        return x

    def _mixed_7(self, x: Tensor) -> Tensor:
        x = self._e("Mixed_7b.", self._d("Mixed_7a.", x), _mean_pool)
        return self._e("Mixed_7c.", x, _max_pool)

    def _a(self, name: str, x: Tensor) -> Tensor:
        single, wide, double, pool = self._heads(name, x)
        wide = self._chain(name + "branch5x5", wide, 2, first=2)
        double = self._chain(name + "branch3x3dbl", double, 3, first=2)
        return torch.cat([single, wide, double, pool], dim=1)

    def _b(self, name: str, x: Tensor) -> Tensor:
        wide = self._conv(name + "branch3x3", x, stride=2)
        double = self._chain(name + "branch3x3dbl", x, 3, last_stride=2)
        return torch.cat([wide, double, F.max_pool2d(x, 3, 2)], dim=1)

    def _c(self, name: str, x: Tensor) -> Tensor:
        single, long, double, pool = self._heads(name, x)
        long = self._chain(name + "branch7x7", long, 3, first=2)
        double = self._chain(name + "branch7x7dbl", double, 5, first=2)
        return torch.cat([single, long, double, pool], dim=1)

    def _d(self, name: str, x: Tensor) -> Tensor:
        wide = self._chain(name + "branch3x3", x, 2, last_stride=2)
        long = self._chain(name + "branch7x7x3", x, 4, last_stride=2)
        return torch.cat([wide, long, F.max_pool2d(x, 3, 2)], dim=1)

    def _e(self, name: str, x: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
        wide = self._conv(name + "branch3x3_1", x)
        double = self._chain(name + "branch3x3dbl", x, 2)
        return torch.cat(
            [
                self._conv(name + "branch1x1", x),
                self._conv(name + "branch3x3_2a", wide),
                self._conv(name + "branch3x3_2b", wide),
                self._conv(name + "branch3x3dbl_3a", double),
                self._conv(name + "branch3x3dbl_3b", double),
                self._conv(name + "branch_pool", pool(x)),
            ],
            dim=1,
        )


def _merge(convs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, list[int]]:
    """Return weight and bias of convolutions of one input as one, and the width of each."""
    weights, biases = zip(*convs, strict=True)
    return torch.cat(weights), torch.cat(biases), [len(bias) for bias in biases]


def _mean_pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, padding=1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 1, padding=1)
