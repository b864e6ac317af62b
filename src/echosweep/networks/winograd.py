"""3x3 convolutions of wide layers on a CPU, with a quarter of the multiplications.

Winograd's F(4x4, 3x3) (Lavin and Gray 2016, arXiv 1509.09308, section 4.3): a tile of 4x4 outputs
takes 36 products, each of a sum over its 6x6 inputs, in place of 144. Over tiles and channels those
are 36 matrix products; the sums before and after them are products with a constant matrix.
`F.conv2d` is the plain form; both are exact but for rounding, of which this one has some five times
as much. Invariant: the bits of an image do not depend on the others it is computed with.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_INPUTS = [  # B^T of the paper: 6 sums over 6 inputs in a row
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_WEIGHTS = [  # G, times 24: of 3 weights
    [6, 0, 0],
    [-4, -4, -4],
    [-4, 4, -4],
    [1, 2, 4],
    [1, -2, 4],
    [0, 0, 24],
]
_OUTPUTS = [  # A^T: 4 outputs in a row
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]
# What pays, measured: narrower layers spend more on the sums than they save, and fewer tiles more
# on the sums of weights. Images of a pass: their 36 sums should stay in a shared cache, 8 MiB.
_NARROWEST, _FEWEST_PIXELS, _PASS = 96, 16 * 16, 2**21


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with all its options, in Winograd's form where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of x (N,C,H,W) or (C,H,W)."""
        weight, bias = self.weight, self.bias
        if not (self._has_the_form() and worthwhile(x, weight)):
            return super().forward(x)
        y: Tensor = Winograd.apply(x, weight)  # type: ignore[no-untyped-call]
        return y if bias is None else y + bias[:, None, None]

    def _has_the_form(self) -> bool:
        """Say whether these options are those of `Winograd`, whatever the sizes."""
        return (
            self.padding in ((1, 1), "same")  # the same of kernels of 3
            and self.padding_mode == "zeros"
            and self.stride == self.dilation == (1, 1)
            and self.groups == 1
        )


def worthwhile(x: Tensor, weight: Tensor) -> bool:
    """Say whether x (N,C,H,W) is convolved faster in Winograd's form; its N does not matter.

    What is no such x, as one without N, or with another C than the weights', is not.
    """
    if x.ndim != 4 or x.shape[1] != weight.shape[1] or not len(x):
        return False
    height, width = x.shape[2:]
    return (
        weight.shape[2:] == (3, 3)
        and min(weight.shape[:2]) >= _NARROWEST
        and height * width >= _FEWEST_PIXELS
        and height % 4 == width % 4 == 0
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


class Winograd(torch.autograd.Function):
    """The 3x3 convolution of padding 1, without bias: (N,C,H,W), (K,C,3,3) -> (N,K,H,W)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Return the convolution, its channels last in memory."""
        ctx.save_for_backward(x, weight)
        return _convolve(x, _weights(weight, _G).transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients for x and weight; twice differentiable, then in the plain form."""
        x, weight = ctx.saved_tensors
        # The forward pass was not autocast, or it would have been plain: nor is this one, whoever
        # calls it within autocast. The sums would be of two dtypes, and the gradients of another.
        with torch.autocast("cpu", enabled=False):
            if torch.is_grad_enabled():
                return _plain_gradients(g, x, weight, ctx.needs_input_grad)
            for_x, for_weight = ctx.needs_input_grad
            return (
                _convolve(g, _weights(weight, _G.flip(1))) if for_x else None,
                _weight_gradient(x, g) if for_weight else None,
            )


def _plain_gradients(
    g: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    sizes: Any = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    for_x, for_weight, _ = torch.ops.aten.convolution_backward(
        g, x, weight, None, *sizes, [*needed, False]
    )
    return for_x, for_weight


def _convolve(x: Tensor, u: Tensor) -> Tensor:
    """Return the convolution (N,K,H,W) of x with weights u (36,C,K)."""
    (n, _, h, w), (_, c, k) = x.shape, u.shape
    y = x.new_empty(n, h // 4, 4, w // 4, 4, k)
    for part, into in zip(*_passes(max(c, k), x, y), strict=True):
        sums = torch.bmm((_B @ _overlapping_tiles(part)).view(36, -1, c), u)
        tiles = (_A @ sums.view(36, -1)).view(4, 4, len(part), h // 4, w // 4, k)
        into.copy_(tiles.permute(2, 3, 0, 4, 1, 5))
    return y.view(n, h, w, k).permute(0, 3, 1, 2)


def _weight_gradient(x: Tensor, g: Tensor) -> Tensor:
    """Return the gradient (K,C,3,3) for the weights from that of the output, g (N,K,H,W)."""
    c, k = x.shape[1], g.shape[1]
    sums = x.new_zeros(36, k, c)
    for inputs, outputs in zip(*_passes(max(c, k), x, g), strict=True):
        v = (_B @ _overlapping_tiles(inputs)).view(36, -1, c)
        m = (_A.T @ _tiles(outputs)).view(36, -1, k)
        sums.baddbmm_(m.transpose(1, 2), v)
    return (_G.T @ sums.view(36, -1)).view(3, 3, k, c).permute(2, 3, 0, 1)


def _weights(weight: Tensor, g: Tensor) -> Tensor:
    """Return the 36 sums over each kernel of weight (K,C,3,3), as (36,K,C)."""
    k, c = weight.shape[:2]
    return (g @ weight.permute(0, 2, 3, 1).reshape(k, 9, c)).transpose(0, 1)


def _tiles(x: Tensor) -> Tensor:
    """Return the 4x4 pixels of every tile of x (N,C,H,W), as (16, tiles * C)."""
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n, h // 4, 4, w // 4, 4, c)
    return rows.permute(2, 4, 0, 1, 3, 5).reshape(16, -1)


def _overlapping_tiles(x: Tensor) -> Tensor:
    """Return the 6x6 pixels that every tile of x (N,C,H,W) is made of, as (36, tiles * C)."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    tiles = padded.unfold(1, 6, 4).unfold(2, 6, 4)  # (N, H/4, W/4, C, 6, 6), without a copy
    return tiles.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)


def _passes(channels: int, *images: Tensor) -> list[tuple[Tensor, ...]]:
    """Split along the first dimension into what one pass of so many channels takes."""
    pixels = images[0].shape[2] * images[0].shape[3]
    count = max(1, _PASS * 16 // (36 * channels * pixels))
    return [torch.split(t, count) for t in images]


def _twice(rows: list[list[int]], scale: int = 1) -> Tensor:
    """Return the matrix that does to flattened squares what `rows` does along each side."""
    matrix = torch.tensor(rows, dtype=torch.float64) / scale
    return torch.kron(matrix, matrix).float()


_B, _G, _A = _twice(_INPUTS), _twice(_WEIGHTS, 24), _twice(_OUTPUTS)
