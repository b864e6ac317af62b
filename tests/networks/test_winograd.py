"""Winograd's form of a convolution against the plain one in float64."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from echosweep.networks.blocks import Style
from echosweep.networks.song_unet import SONG
from echosweep.networks.winograd import Conv2d, Winograd, worthwhile

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def off(found: Tensor, expected: Tensor) -> float:
    """The root mean square of the error over that of what is expected."""
    error, size = (found - expected).detach(), expected.detach()
    return float(error.square().mean().sqrt() / size.square().mean().sqrt())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("n", "c", "k", "height", "width"),
    [(1, 96, 96, 16, 16), (3, 96, 128, 16, 32), (2, 160, 97, 20, 28), (5, 128, 96, 64, 4)],
)
def test_value_and_gradients_are_those_of_the_plain_form(
    n: int, c: int, k: int, height: int, width: int, layout: torch.memory_format
) -> None:
    x = drawn(n, c, height, width).contiguous(memory_format=layout).requires_grad_()
    weight = (drawn(k, c, 3, 3, seed=1) / (9 * c) ** 0.5).contiguous(memory_format=layout)
    weight.requires_grad_()
    g = drawn(n, k, height, width, seed=2).contiguous(memory_format=layout)
    assert worthwhile(x, weight)
    found = Winograd.apply(x, weight)
    inputs = [t.detach().double().requires_grad_() for t in (x, weight)]
    plain = F.conv2d(*inputs, padding=1)
    assert found.shape == plain.shape
    assert off(found, plain) < 5e-6
    gradients = torch.autograd.grad(found, (x, weight), g)
    for ours, expected in zip(
        gradients, torch.autograd.grad(plain, inputs, g.double()), strict=True
    ):
        assert ours.shape == expected.shape
        assert off(ours, expected) < 5e-6


def test_a_gradient_has_a_gradient() -> None:
    """As a penalty on it asks for: the derivative of |d/dx f|^2 for the weights."""
    x, weight = drawn(2, 96, 16, 16), drawn(96, 96, 3, 3, seed=1) / 30

    def penalty_gradient(convolve: Any, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
        (slope,) = torch.autograd.grad(convolve(x, weight).sin().sum(), x, create_graph=True)
        (found,) = torch.autograd.grad(slope.square().sum(), weight)
        return found

    expected = penalty_gradient(lambda x, w: F.conv2d(x, w, padding=1), x.double(), weight.double())
    assert off(penalty_gradient(Winograd.apply, x, weight), expected) < 2e-5


def test_an_image_has_its_bits_whatever_it_is_computed_with() -> None:
    layer, x = Conv2d(128, 96, 3, padding=1), drawn(9, 128, 16, 16)
    together = layer(x)
    for start, end in [(0, 1), (3, 4), (2, 9)]:
        assert torch.equal(layer(x[start:end]), together[start:end])
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(layer(x), together)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("c", "k", "kernel", "size", "dtype"),
    [
        (95, 128, 3, 16, torch.float32),  # narrow
        (128, 95, 3, 16, torch.float32),
        (96, 96, 1, 16, torch.float32),
        (96, 96, 5, 16, torch.float32),
        (96, 96, 3, 12, torch.float32),  # few tiles
        (96, 96, 3, 18, torch.float32),  # no whole tiles
        (96, 96, 3, 16, torch.float64),
    ],
)
def test_elsewhere_it_is_the_plain_form(
    c: int, k: int, kernel: int, size: int, dtype: torch.dtype
) -> None:
    layer = Conv2d(c, k, kernel, padding=kernel // 2).to(dtype)
    x = drawn(2, c, size, size).to(dtype)
    assert not worthwhile(x, layer.weight)
    plain = F.conv2d(x, layer.weight, layer.bias, padding=kernel // 2)
    assert torch.equal(layer(x), plain)


def test_the_plain_form_is_taken_where_there_is_no_padding_or_another_arithmetic() -> None:
    layer = Conv2d(96, 96, 3)
    assert layer(drawn(1, 96, 16, 16)).shape == (1, 96, 14, 14)
    meta = Conv2d(96, 96, 3, padding=1, device="meta")
    assert not worthwhile(torch.empty(1, 96, 16, 16, device="meta"), meta.weight)
    layer = Conv2d(96, 96, 3, padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(drawn(1, 96, 16, 16)).dtype == torch.bfloat16


def test_layers_of_a_network_take_it() -> None:
    style: Style = SONG
    layer = style.conv(96, 96)
    torch.nn.init.normal_(layer.bias)
    x = drawn(2, 96, 16, 16)
    exact = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)
    assert layer(x).grad_fn is not None
    assert off(layer(x), exact) < 5e-6
    assert not torch.equal(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1))


def test_it_compiles() -> None:
    layer, x = Conv2d(96, 96, 3, padding=1), drawn(2, 96, 16, 16)
    compiled = torch.compile(layer, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
