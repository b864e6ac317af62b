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


@pytest.mark.parametrize(
    "options",
    [
        *[{"stride": 2}, {"stride": (1, 2)}, {"dilation": 2}, {"padding": "same", "dilation": 2}],
        *[{"groups": 2}, {"groups": 96}, {"padding": 0}, {"padding": (1, 0)}, {"padding": 2}],
        *[{"padding_mode": mode} for mode in ("reflect", "replicate", "circular")],
        *[{"kernel_size": size} for size in (1, 2, 5, (3, 1))],
        *[{"bias": False}, {"padding": "same"}, {"padding": "valid"}, {"dtype": torch.float64}],
        *[{"dtype": torch.bfloat16}],
    ],
)
def test_every_option_is_that_of_torch(options: dict[str, Any]) -> None:
    given = {"kernel_size": 3, "padding": 1, **options}
    torch.manual_seed(0)
    ours = Conv2d(96, 192, **given)
    theirs = torch.nn.Conv2d(96, 192, **given)
    theirs.load_state_dict(ours.state_dict())
    x = drawn(2, 96, 16, 20).to(options.get("dtype", torch.float32))
    found, expected = ours(x), theirs(x)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert off(found, expected) < 5e-6


@pytest.mark.parametrize("shape", [(96, 16, 16), (0, 96, 16, 16), (1, 96, 15, 16)])
def test_every_shape_is_that_of_torch(shape: tuple[int, ...]) -> None:
    ours, theirs = Conv2d(96, 96, 3, padding=1), torch.nn.Conv2d(96, 96, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    x = drawn(*shape)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("shape", [(2, 95, 16, 16), (16, 16), (1, 2, 96, 16, 16)])
def test_what_torch_refuses_is_refused_in_its_words(shape: tuple[int, ...]) -> None:
    x = drawn(*shape)
    with pytest.raises(RuntimeError) as expected:
        torch.nn.Conv2d(96, 96, 3, padding=1)(x)
    with pytest.raises(RuntimeError) as found:
        Conv2d(96, 96, 3, padding=1)(x)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("forward", [False, True], ids=["plain forward", "autocast forward"])
@pytest.mark.parametrize("backward", [False, True], ids=["plain backward", "autocast backward"])
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_autocast_changes_no_dtype_of_a_gradient(
    forward: bool, backward: bool, twice: bool
) -> None:
    """Autocast to bf16 is to be near float32, and exactly float32 where the forward pass was."""
    ours, theirs = Conv2d(96, 96, 3, padding=1), torch.nn.Conv2d(96, 96, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    gradients = []
    for layer, cast in ((ours, True), (theirs, False)):
        x = drawn(2, 96, 16, 16).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=cast and forward):
            y = layer(x)
        assert y.dtype == (torch.bfloat16 if cast and forward else torch.float32)
        with torch.autocast("cpu", torch.bfloat16, enabled=cast and backward):
            inputs = (x, layer.weight, layer.bias)
            gradients.append(torch.autograd.grad(y.sin().sum(), inputs, create_graph=twice))
    for found, expected in zip(*gradients, strict=True):
        assert found.dtype == expected.dtype == torch.float32
        assert off(found, expected) < (0.02 if forward or backward else 5e-6)


def test_autocast_backward_alone_is_exact() -> None:
    x = drawn(2, 96, 16, 16).requires_grad_()
    layer = Conv2d(96, 96, 3, padding=1)
    plain = torch.autograd.grad(layer(x).sum(), (x, layer.weight))
    y = layer(x).sum()
    with torch.autocast("cpu", torch.bfloat16):
        cast = torch.autograd.grad(y, (x, layer.weight))
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))
