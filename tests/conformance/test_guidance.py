"""Every guidance is a denoiser around a denoiser."""

import inspect

import pytest
import torch

from echosweep import rng
from echosweep.diffusion import FRAMEWORKS, Denoiser
from echosweep.diffusion.guidance import (
    WEIGHTINGS,
    Guided,
    Interval,
    Measured,
    autoguidance,
    discriminator,
    value_and_gradient,
)
from echosweep.diffusion.samplers import SAMPLERS, run
from echosweep.networks import NETWORKS

LEVELS = (0.05, 1.0, 20.0)


class Shrink:
    """A denoiser that notes whether it was asked to keep gradients, and by whom."""

    sigma_min, sigma_max = 0.01, 50.0

    def __init__(self, s=0.5):
        self.s, self.calls, self.grad = s, 0, False

    def round_sigma(self, sigma):
        return (sigma * 8).round() / 8 + 0.01

    def __call__(self, x, sigma, labels=None):
        self.calls += 1
        self.grad |= x.requires_grad
        mean = 0 if labels is None else labels.reshape(-1, 1, 1, 1)
        variance = sigma.reshape(-1, 1, 1, 1) ** 2
        return (self.s**2 * x + variance * mean) / (self.s**2 + variance)


def log_ratio(x, sigma):
    return (x / 10).sin().mean(dim=(1, 2, 3)) / (1 + sigma)


def weigh(w):
    return lambda sigma: w * torch.ones_like(sigma)


def by_discriminator(denoiser, w):
    return discriminator(denoiser, value_and_gradient(log_ratio), weigh(w))


MAKE = {  # (denoiser, strength) -> guided; at strength 0 the denoiser itself
    "discriminator": by_discriminator,
    "autoguidance": lambda denoiser, w: autoguidance(denoiser, Shrink(0.9), weigh(w)),
    "interval": lambda denoiser, w: Interval(
        denoiser, by_discriminator(denoiser, 1.0), 0.5, 5.0 if w else 0.4
    ),
}


@pytest.fixture(params=MAKE)
def make(request):
    return MAKE[request.param]


@pytest.fixture
def x():
    return rng.ImageNoise(range(3))((1, 4, 6))


def at(level, n=3):
    return torch.full((n,), level, dtype=torch.float64)


def test_it_takes_a_denoiser_first():
    for guidance in (discriminator, autoguidance, Interval):
        assert next(iter(inspect.signature(guidance).parameters)) == "denoiser"


def test_it_is_a_denoiser(make, x):
    plain = Shrink()
    guided = make(plain, 1.0)
    assert (guided.sigma_min, guided.sigma_max) == (0.01, 50.0)
    assert torch.equal(guided.round_sigma(x), plain.round_sigma(x))
    for level in LEVELS:
        D = guided(x, at(level))
        assert (D.shape, D.dtype) == (x.shape, x.dtype)
        assert not D.requires_grad


def test_at_strength_0_it_is_the_denoiser_bit_for_bit(make, x):
    for level in LEVELS:
        assert torch.equal(make(Shrink(), 0.0)(x, at(level)), Shrink()(x, at(level)))


def test_at_strength_1_it_guides(make, x):
    assert not torch.equal(make(Shrink(), 1.0)(x, at(1.0)), Shrink()(x, at(1.0)))


def test_no_gradient_flows_through_the_denoiser(make, x):
    plain = Shrink()
    make(plain, 1.0)(x, at(1.0))
    assert plain.calls == 1
    assert not plain.grad


def test_labels_reach_the_denoiser(make, x):
    labels = torch.tensor([-1.0, 0.0, 1.0]).double()
    guided = make(Shrink(), 1.0)
    moved = guided(x, at(1.0), labels) - guided(x, at(1.0))
    assert moved[1].abs().max() < 1e-12
    assert (moved[0] < 0).all()
    assert (moved[2] > 0).all()


def test_an_image_is_guided_alone(make, x):
    guided = make(Shrink(), 1.0)
    together = guided(x, at(1.0))
    for i in range(3):
        torch.testing.assert_close(guided(x[i : i + 1], at(1.0, 1))[0], together[i])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_takes_it(make, sampler, x):
    images = [run(SAMPLERS[sampler](make(Shrink(), w), x, num_steps=6)) for w in (0.0, 1.0)]
    plain = run(SAMPLERS[sampler](Shrink(), x, num_steps=6))
    assert torch.equal(images[0], plain)
    assert not torch.equal(images[1], plain)
    assert images[1].isfinite().all()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_framework_is_guided(make, sampler, framework):
    row = FRAMEWORKS[framework]
    torch.manual_seed(0)
    network = NETWORKS["ddpmpp-tiny"](8, 1, row.out_channel_factor, model_channels=8)
    denoiser = Denoiser(network, row).eval().requires_grad_(False)
    latents = rng.ImageNoise(range(2))(denoiser.image_shape)
    images = [run(SAMPLERS[sampler](make(denoiser, w), latents, num_steps=8)) for w in (0.0, 0.1)]
    assert torch.equal(images[0], run(SAMPLERS[sampler](denoiser, latents, num_steps=8)))
    assert not torch.equal(images[1], images[0])
    assert images[1].isfinite().all()


@pytest.mark.parametrize("sampler", ["heun", "ode"])
def test_the_correction_is_guided_by_itself(make, sampler, x):
    plain, guided = Shrink(), make(Shrink(), 1.0)
    pairs = [(plain, plain), (guided, plain), (plain, guided), (guided, guided)]
    images = [run(SAMPLERS[sampler](a, x, num_steps=6, corrector=b)) for a, b in pairs]
    assert len({tuple(image.flatten().tolist()) for image in images}) == 4


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_weighting_is_a_share(name):
    sigma = torch.logspace(-3, 3, 50, dtype=torch.float64)
    measured = Measured(
        accuracy=[(0.01, 1.0), (1.0, 0.8), (100.0, 0.45)],
        best_weight=[(0.01, 1.0), (1.0, 0.9), (100.0, 0.0)],
    )
    share = WEIGHTINGS[name](sigma, (0.05, 100.0), measured)
    assert (share.shape, share.dtype) == (sigma.shape, sigma.dtype)
    assert share.min() >= 0
    assert share.max() == 1
    assert (share.diff() <= 1e-12).all()  # trust falls with the noise


def test_a_weight_of_0_at_a_level_costs_no_direction(x):
    def direction(*arguments):
        raise AssertionError("asked for nothing")

    guided = Guided(Shrink(), direction, weigh(0.0))
    assert torch.equal(guided(x, at(1.0)), Shrink()(x, at(1.0)))
