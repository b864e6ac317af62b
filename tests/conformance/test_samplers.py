"""Every registered sampler keeps the contract; registering is testing."""

import inspect
from collections.abc import Iterator

import pytest
import torch

from echosweep import rng
from echosweep.diffusion import FRAMEWORKS, Denoiser
from echosweep.diffusion.samplers import SAMPLERS, SamplerStep, nfe, options, run
from echosweep.errors import UsageError
from echosweep.networks import NETWORKS


class Recording:
    """The ideal denoiser of N(labels, 0.5^2), which counts its calls."""

    sigma_min, sigma_max = 0.002, 80.0

    def __init__(self):
        self.calls, self.grad = 0, False

    def round_sigma(self, sigma):
        return sigma

    def __call__(self, x, sigma, labels=None):
        self.calls += 1
        self.grad |= torch.is_grad_enabled()
        assert x.dtype == sigma.dtype == torch.float64
        assert sigma.shape == (len(x),)
        variance = sigma.reshape(-1, 1, 1, 1) ** 2
        mean = 0 if labels is None else labels.reshape(-1, 1, 1, 1)
        return (0.25 * x + mean * variance) / (0.25 + variance)


@pytest.fixture(params=SAMPLERS)
def name(request):
    return request.param


@pytest.fixture
def latents():
    return rng.ImageNoise(range(3))((1, 4, 6))


def test_steps_are_yielded_one_by_one(name, latents):
    denoiser = Recording()
    sampler = SAMPLERS[name](denoiser, latents, num_steps=7)
    assert isinstance(sampler, Iterator)
    assert denoiser.calls == 0
    steps = []
    for step in sampler:
        assert isinstance(step, SamplerStep)
        assert step.nfe == denoiser.calls
        assert step.x.shape == step.denoised.shape == latents.shape
        assert step.x.dtype == step.denoised.dtype == torch.float64
        steps.append(step)
    assert [(s.i, s.steps) for s in steps] == [(i, 7) for i in range(7)]
    assert denoiser.calls == nfe(name, 7)
    sigmas = [s.sigma for s in steps]
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[0] == pytest.approx(80)


def test_last_state_is_the_last_denoised_image(name, latents):
    *_, last = SAMPLERS[name](Recording(), latents, num_steps=7)
    torch.testing.assert_close(last.x, last.denoised)


def test_it_takes_what_every_sampler_takes(name):
    parameters = inspect.signature(SAMPLERS[name].steps).parameters
    assert list(parameters)[:2] == ["denoiser", "latents"]
    assert {"num_steps", "labels", "noise", "corrector"} <= set(parameters)
    assert {"num_steps", "sigma_min", "sigma_max"} <= set(options(name))


def test_latents_are_not_changed_and_no_gradient_is_kept(name, latents):
    before, denoiser = latents.clone(), Recording()
    x = run(SAMPLERS[name](denoiser, latents, num_steps=5))
    assert torch.equal(latents, before)
    assert not denoiser.grad
    assert not x.requires_grad


def test_the_caller_keeps_gradients_between_steps(name, latents):
    for _ in SAMPLERS[name](Recording(), latents, num_steps=3):
        assert torch.is_grad_enabled()


def test_labels_reach_the_denoiser(name, latents):
    labels = torch.tensor([-1.0, 0.0, 1.0]).double()
    x = run(SAMPLERS[name](Recording(), latents, num_steps=64, labels=labels))
    shift = x - run(SAMPLERS[name](Recording(), latents, num_steps=64))
    torch.testing.assert_close(shift.mean(dim=(1, 2, 3)), labels, atol=0.02, rtol=0)


def test_one_step_is_the_mean(name, latents):
    (step,) = SAMPLERS[name](Recording(), latents, num_steps=1)
    torch.testing.assert_close(step.x, step.denoised)
    assert step.nfe == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_steps": 0}, "0 steps"), ({"sigma_min": 5.0, "sigma_max": 1.0}, "no noise levels")],
)
def test_impossible_settings_are_refused_before_work(name, latents, settings, message):
    denoiser = Recording()
    with pytest.raises(UsageError, match=message):
        next(SAMPLERS[name](denoiser, latents, **settings))
    assert denoiser.calls == 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_is_sampled(name, framework):
    row = FRAMEWORKS[framework]
    torch.manual_seed(0)
    network = NETWORKS["ddpmpp-tiny"](8, 1, row.out_channel_factor)
    denoiser = Denoiser(network, row).eval()
    x = run(SAMPLERS[name](denoiser, rng.ImageNoise(range(2))(denoiser.image_shape), num_steps=4))
    assert x.shape == (2, 1, 8, 8)
    assert x.isfinite().all()
