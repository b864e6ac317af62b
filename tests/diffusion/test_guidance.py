"""Guidance against closed forms, golden values and its definitions."""

import json
import math

import pytest
import torch

from echosweep import rng
from echosweep.diffusion.guidance import (
    WEIGHTINGS,
    Boost,
    Measured,
    autoguidance,
    discriminator,
    value_and_gradient,
)
from echosweep.diffusion.guidance.guided import Interval
from echosweep.diffusion.samplers import SAMPLERS, run
from echosweep.diffusion.schedule import vp_time
from echosweep.guides import published_interval

heun, euler = SAMPLERS["heun"], SAMPLERS["euler"]


def one(sigma):
    return torch.ones_like(sigma)


def golden_log_ratio(x, sigma):
    z = x * (1 + sigma.square()).rsqrt()[:, None, None, None]
    return 2 * (0.3 - z.square().mean(dim=(1, 2, 3))) * (1 - 0.5 * vp_time(sigma))


def gaussian_log_ratio(real, made):
    """ln N(x; m, s^2 + sigma^2) of the real less that of the generated, summed over pixels."""

    def of(x, sigma, g):
        variance = (g.s**2 + sigma.square())[:, None, None, None]
        return -0.5 * ((x - g.mean).square() / variance + variance.log()).sum(dim=(1, 2, 3))

    return lambda x, sigma: of(x, sigma, real) - of(x, sigma, made)


def guided_by(denoiser, log_ratio, w=1.0, boost=None, interval=None):
    evaluate = value_and_gradient(log_ratio)
    guided = discriminator(denoiser, evaluate, lambda s: w * one(s), boost)
    return Interval(denoiser, guided, *interval) if interval else guided


@pytest.fixture
def latents():
    i = torch.arange(1024, dtype=torch.float64)
    return torch.stack([(0.013 * i + 0.1).cos(), 1.7 * (0.05 * i).sin()]).reshape(2, 1, 32, 32)


def test_golden_guided_samples(golden, gaussian, latents):
    expected = json.loads((golden / "guidance.json").read_text())
    expected = expected["Heun N=30, w1=5, w2=0, no boosting"]
    calls = []

    def counted(x, sigma):
        calls.append(sigma)
        return golden_log_ratio(x, sigma)

    plain = gaussian(0.5, 0.1)
    guided = guided_by(plain, counted, 5.0, interval=published_interval())
    *_, last = heun(guided, latents, num_steps=30, corrector=plain)
    assert last.nfe == expected["nfe"]
    assert len(calls) == expected["disc_calls"]
    for k in (0, 1):
        assert last.x[k].flatten()[:4].tolist() == pytest.approx(expected[f"s{k}"], rel=1e-6)
        assert float(last.x[k].mean()) == pytest.approx(expected["means"][k], rel=1e-6)
        assert float(last.x[k].std()) == pytest.approx(expected["stds"][k], rel=1e-6)


def test_published_interval_is_that_of_the_golden_file(golden):
    sigma = json.loads((golden / "guidance.json").read_text())["sigma_at_tau"]
    assert published_interval() == pytest.approx((sigma["0.01"], sigma["1.0"]), rel=1e-12)


@pytest.mark.parametrize("level", [0.01, 0.5, 3.0, 80.0])
def test_an_ideal_discriminator_turns_one_denoiser_into_the_other(gaussian, level):
    made, real = gaussian(0.5, 0.1), gaussian(0.45, 0.15)
    x = level * rng.ImageNoise(range(5))((1, 2, 2))
    sigma = torch.full((5,), level, dtype=torch.float64)
    guided = guided_by(made, gaussian_log_ratio(real, made))
    torch.testing.assert_close(guided(x, sigma), real(x, sigma), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", ["heun", "ode"])
def test_guided_twice_by_the_ideal_it_draws_from_the_other(gaussian, sampler):
    made, real = gaussian(0.5, 0.1), gaussian(0.45, 0.15)
    latents = rng.ImageNoise(range(5))((1, 2, 2))
    guided = guided_by(made, gaussian_log_ratio(real, made))
    x = run(SAMPLERS[sampler](guided, latents, num_steps=18, corrector=guided))
    torch.testing.assert_close(
        x, run(SAMPLERS[sampler](real, latents, num_steps=18)), rtol=1e-12, atol=1e-12
    )


def test_what_is_certain_is_clipped_and_pulls_no_more():
    x = torch.tensor([0.0, 11.4, 11.6, -11.6]).double().reshape(4, 1, 1, 1)
    value, gradient = value_and_gradient(lambda x, s: x.sum(dim=(1, 2, 3)))(x, torch.ones(4))
    limit = math.log((1 - 1e-5) / 1e-5)
    assert value.tolist() == pytest.approx([0, 11.4, limit, -limit])
    assert gradient.flatten().tolist() == [1, 1, 0, 0]


def test_samples_on_both_ends_of_an_interval_are_each_treated_as_theirs(gaussian):
    low, high = gaussian(0.5), gaussian(0.9)
    x, sigma = torch.ones(3, 1, 1, 1).double(), torch.tensor([0.4, 0.5, 2.1]).double()
    D = Interval(low, high, 0.5, 2.0)(x, sigma)
    expected = [denoiser(x, sigma)[i] for i, denoiser in enumerate((low, high, low))]
    assert torch.equal(D, torch.stack(expected))


def test_autoguidance_extrapolates(gaussian):
    good, weak = gaussian(0.5), gaussian(0.8)
    x, sigma = rng.ImageNoise(range(2))((1, 2, 2)), torch.tensor([0.3, 2.0]).double()
    guided = autoguidance(good, weak, lambda s: 1.5 * one(s))
    a, b = good(x, sigma), weak(x, sigma)
    torch.testing.assert_close(guided(x, sigma), b + 2.5 * (a - b))


def test_weightings_at_known_places():
    sigma = torch.tensor([0.1, 1.0, 10.0]).double()
    measured = Measured([(0.1, 0.9), (10.0, 0.5)], [(0.1, 0.6), (1.0, 0.5), (10.0, 0.0)])
    found = {name: w(sigma, (0.1, 10.0), measured).tolist() for name, w in WEIGHTINGS.items()}
    assert found["constant"] == [1, 1, 1]
    assert found["linear"] == pytest.approx([1, 0.5, 0])
    assert found["cosine"] == pytest.approx([1, 0.5, 0])
    assert found["accuracy"] == pytest.approx([0.8, 0.4, 0])
    assert found["error"] == pytest.approx([0.6, 0.5, 0])


def boosted_by_hand(denoiser, log_ratio, levels, latent, noise, w, interval, order):
    """One sample, step by step, as algorithms of the published sampler are told in words."""
    low, high = interval
    n, x, before = len(levels), latent * levels[0], math.inf
    for i, t in enumerate(levels):
        t_next, t_hat, x_hat = (levels[i + 1] if i + 1 < n else 0.0), t, x
        if i % 5 == 0:
            eps = noise(x.shape[1:])
            if before < 0:
                t_hat = t * (1 + min(4 / n, math.sqrt(2) - 1))
                x_hat = x + math.sqrt(t_hat**2 - t**2) * eps
        sigma, before = torch.full((1,), t_hat, dtype=torch.float64), math.inf
        D = denoiser(x_hat, sigma)
        if low <= t_hat <= high:
            leaf = x_hat.clone().requires_grad_()
            ratio = log_ratio(leaf, sigma).clamp(-math.log(1e5 - 1), math.log(1e5 - 1))
            (gradient,) = torch.autograd.grad(ratio.sum(), leaf)
            before = float(ratio.detach())
            double = 2 if i % 2 == 0 and before < 0 else 1
            D = D + w * double * t_hat**2 * gradient
        d = (x_hat - D) / t_hat
        x = x_hat + (t_next - t_hat) * d
        if order == 2 and t_next:
            d2 = (x - denoiser(x, torch.full((1,), t_next, dtype=torch.float64))) / t_next
            x = x_hat + (t_next - t_hat) * (d + d2) / 2
    return x


@pytest.mark.parametrize(("sampler", "order"), [("heun", 2), ("euler", 1)])
def test_boosting_is_what_its_words_say(gaussian, sampler, order):
    plain, interval, seeds = gaussian(0.5, 0.1), (0.3, 150.0), range(6)
    noise = rng.ImageNoise(seeds)
    latents, boost = 1.5 * noise((1, 3, 3)), Boost(*interval)
    guided = guided_by(plain, golden_log_ratio, 0.5, boost, interval)
    steps = list(
        SAMPLERS[sampler](
            guided, latents, num_steps=16, noise=noise, churned=boost.churned, corrector=plain
        )
    )
    levels = list(heun(plain, latents, num_steps=16))
    levels = [step.sigma for step in levels]
    for k, seed in enumerate(seeds):
        alone = rng.ImageNoise([seed])
        latent = 1.5 * alone((1, 3, 3))
        expected = boosted_by_hand(
            plain, golden_log_ratio, levels, latent, alone, 0.5, interval, order
        )
        torch.testing.assert_close(steps[-1].x[k], expected[0], rtol=1e-12, atol=1e-12)
    raised = [step.sigma > level * 1.01 for step, level in zip(steps, levels, strict=True)]
    assert any(raised)  # the case is one in which boosting churns
    assert not raised[0]


def test_boosting_doubles_at_even_steps_what_looks_generated():
    boost, sigma = Boost(0.1, 10.0), torch.tensor([1.0, 1.0, 20.0]).double()
    ratio = torch.tensor([-1.0, 1.0, -1.0]).double()
    assert not boost.churned(0).any()
    assert boost.factor(ratio, sigma).tolist() == [2, 1, 1]
    assert boost.churned(1) is None
    assert boost.factor(ratio, sigma).tolist() == [1, 1, 1]
    for i in range(2, 5):
        boost.churned(i)
    boost.factor(ratio, sigma)
    assert boost.churned(5).tolist() == [True, False, False]
