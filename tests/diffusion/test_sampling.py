"""Samplers: golden values, order of convergence, churn, and images that do not meet."""

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from echosweep import rng
from echosweep.diffusion import FRAMEWORKS, Denoiser
from echosweep.diffusion.samplers import SAMPLERS, nfe, options, run
from echosweep.errors import UsageError
from echosweep.networks import NETWORKS

heun, euler, ode = SAMPLERS["heun"], SAMPLERS["euler"], SAMPLERS["ode"]
VP_ODE = {"discretization": "vp", "schedule": "vp", "scaling": "vp", "solver": "heun"}
VE_ODE = {"discretization": "ve", "schedule": "ve", "scaling": "none", "solver": "euler"}


@pytest.mark.parametrize(
    ("key", "sampler", "num_steps", "framework", "settings"),
    [
        ("edm_det_18", heun, 18, "edm", {}),
        ("ablation_vp_vp_vp_heun_20", ode, 20, "vp", VP_ODE),
        ("ablation_ve_ve_none_euler_20", ode, 20, "ve", VE_ODE),
    ],
)
def test_golden_samples(key, sampler, num_steps, framework, settings, golden, gaussian, cosine):
    expected = json.loads((golden / "samplers.json").read_text())["samplers"][key]
    row = FRAMEWORKS[framework]
    denoiser = gaussian(0.5, 0.1, row.sigma_min, row.sigma_max)
    *_, last = sampler(denoiser, cosine, num_steps=num_steps, **settings)
    assert last.nfe == expected["nfe"]
    assert last.x.flatten()[:4].tolist() == pytest.approx(expected["first4"], rel=1e-6)
    assert float(last.x.mean()) == pytest.approx(expected["mean"], rel=1e-6)


def test_golden_heun_30(golden: Path, gaussian):
    expected = json.loads((golden / "guidance.json").read_text())["Heun N=30, w1=0"]
    i = torch.arange(1024, dtype=torch.float64)
    latents = torch.stack([(0.013 * i + 0.1).cos(), 1.7 * (0.05 * i).sin()]).reshape(2, 1, 32, 32)
    *_, last = heun(gaussian(0.5, 0.1), latents, num_steps=30)
    assert last.nfe == expected["nfe"] == 59
    for k in (0, 1):
        assert last.x[k].flatten()[:4].tolist() == pytest.approx(expected[f"s{k}"], rel=1e-6)
        assert float(last.x[k].mean()) == pytest.approx(expected["means"][k], rel=1e-6)
        assert float(last.x[k].std()) == pytest.approx(expected["stds"][k], rel=1e-6)


def order(sampler, denoiser, **settings):
    """Minus the slope of log error over log steps; the exact end is latent smax s / sqrt(...)."""
    low, high, s = 1e-4, 80.0, denoiser.s
    exact = high * s / math.sqrt(s**2 + high**2)
    steps, latents = [64, 128, 256, 512], torch.ones(1, 1, 1, 1, dtype=torch.float64)
    errors = [
        abs(float(run(sampler(denoiser, latents, num_steps=n, **settings))) - exact) for n in steps
    ]
    assert denoiser.sigma_min == low
    return -float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def test_order_of_convergence(gaussian):
    denoiser, settings = gaussian(0.5, sigma_min=1e-4), {"sigma_min": 1e-4, "sigma_max": 80.0}
    assert order(euler, denoiser, **settings) == pytest.approx(1, abs=0.03)
    assert order(heun, denoiser, **settings) == pytest.approx(2, abs=0.06)


@pytest.mark.parametrize(
    ("discretization", "schedule"), list(product(["edm", "ve", "vp"], ["linear", "ve", "vp"]))
)
def test_order_of_the_general_sampler(discretization, schedule, gaussian):
    """With VP's scaling some errors cancel and Heun is better than second order."""
    settings = {"discretization": discretization, "schedule": schedule, "sigma_min": 1e-4}
    denoiser = gaussian(0.5, sigma_min=1e-4)
    for scaling in ("none", "vp"):
        found = order(ode, denoiser, **settings, solver="euler", scaling=scaling)
        assert found == pytest.approx(1, abs=0.12)
        found = order(ode, denoiser, **settings, solver="heun", scaling=scaling)
        assert found == pytest.approx(2, abs=0.12) or (scaling == "vp" and found > 2)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_general_sampler_contains_the_others(solver, gaussian, cosine):
    denoiser = gaussian(0.5, 0.1)
    special = list(SAMPLERS[solver](denoiser, cosine, num_steps=12))
    general = list(ode(denoiser, cosine, num_steps=12, solver=solver))
    for a, b in zip(special, general, strict=True):
        torch.testing.assert_close(a.x, b.x, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(a.denoised, b.denoised, rtol=1e-11, atol=1e-12)
        assert (a.i, a.steps, a.nfe) == (b.i, b.steps, b.nfe)
        assert a.sigma == pytest.approx(b.sigma)


def test_nfe_in_closed_form():
    assert [nfe("heun", n) for n in (18, 30, 40)] == [35, 59, 79]
    assert nfe("euler", 20) == nfe("ode", 20, solver="euler") == 20
    assert nfe("ode", 20) == 39


def test_corrector_makes_the_second_evaluation(gaussian, cosine):
    class Counting(gaussian):
        calls = 0

        def __call__(self, x, sigma, labels=None):
            type(self).calls += 1
            return super().__call__(x, sigma, labels)

    class Other(Counting):
        calls = 0

    for sampler in (heun, ode):
        Counting.calls = Other.calls = 0
        same = run(sampler(Counting(), cosine, num_steps=9, corrector=Other()))
        assert (Counting.calls, Other.calls) == (9, 8)
        assert torch.equal(same, run(sampler(gaussian(), cosine, num_steps=9)))
        other = run(sampler(gaussian(), cosine, num_steps=9, corrector=Other(0.5, mean=0.2)))
        assert not torch.allclose(same, other)


def test_churn_needs_noise_and_none_is_drawn_without(gaussian, cosine):
    def never(shape):
        raise AssertionError("drew noise")

    for sampler in (heun, euler):
        assert torch.equal(
            run(sampler(gaussian(), cosine, noise=never)), run(sampler(gaussian(), cosine))
        )
        with pytest.raises(UsageError, match="S_churn 40 draws noise"):
            next(sampler(gaussian(), cosine, S_churn=40))
        with pytest.raises(UsageError, match="S_churn -1 must be 0"):
            next(sampler(gaussian(), cosine, S_churn=-1))


def test_churn_raises_the_levels_in_range_alone(gaussian, cosine):
    settings = {"S_churn": 4.0, "S_min": 0.05, "S_max": 50.0}
    plain = [step.sigma for step in heun(gaussian(), cosine, num_steps=10)]
    steps = heun(gaussian(), cosine, num_steps=10, noise=rng.ImageNoise([0]), **settings)
    raised = [step.sigma for step in steps]
    expected = [s * 1.4 if 0.05 <= s <= 50 else s for s in plain]
    assert raised == pytest.approx(expected)
    steps = heun(gaussian(), cosine, num_steps=10, S_churn=1e9, noise=rng.ImageNoise([0]))
    assert next(steps).sigma == pytest.approx(80 * math.sqrt(2))


def test_churn_keeps_the_distribution(gaussian):
    """The sampler's law is N(mean, s^2) with and without churn: mean and spread to 4 sigma."""
    seeds, shape = range(16), (1, 64, 64)
    noise = rng.ImageNoise(seeds)
    settings = {"num_steps": 256, "S_churn": 40.0, "noise": noise}
    x = run(heun(gaussian(0.5, 0.1), noise(shape), **settings))
    count = x.numel()
    assert float(x.mean()) == pytest.approx(0.1, abs=4 * 0.5 / math.sqrt(count))
    assert float(x.std()) == pytest.approx(0.5, rel=4 / math.sqrt(2 * count))


def images(denoiser, seeds, batch, shape, **settings):
    pieces = []
    for start in range(0, len(seeds), batch):
        noise = rng.ImageNoise(seeds[start : start + batch])
        pieces.append(run(heun(denoiser, noise(shape), noise=noise, **settings)))
    return torch.cat(pieces)


def test_an_image_depends_on_its_seed_alone(gaussian):
    seeds, settings = list(range(100, 164)), {"num_steps": 8, "S_churn": 8.0}
    expected = images(gaussian(), seeds, 64, (1, 5, 7), **settings)
    for batch in (1, 7):
        assert torch.equal(images(gaussian(), seeds, batch, (1, 5, 7), **settings), expected)
    backwards = images(gaussian(), seeds[::-1], 7, (1, 5, 7), **settings)
    assert torch.equal(backwards.flip(0), expected)


def test_an_image_of_a_network_depends_on_its_seed_up_to_rounding():
    """Convolutions round differently at other batch sizes: one grey level, where one truncates."""
    torch.manual_seed(0)
    network = NETWORKS["ddpmpp-tiny"](16, 1, 1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.02 * torch.randn(p.shape))
    denoiser = Denoiser(network, FRAMEWORKS["edm"]).eval()
    settings = {"num_steps": 6, "S_churn": 2.0}
    together = images(denoiser, range(7), 7, (1, 16, 16), **settings)
    alone = images(denoiser, range(7), 1, (1, 16, 16), **settings)
    grey = [(127.5 * x + 128).clip(0, 255).to(torch.uint8).int() for x in (together, alone)]
    assert together.std() > 0.1
    assert (grey[0] - grey[1]).abs().max() <= 1
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=0)


def test_settings_a_sampler_takes():
    assert "S_churn" in options("heun")
    assert "solver" in options("ode")
    assert "S_churn" not in options("ode")
    for name in SAMPLERS:
        assert not {"labels", "noise", "corrector", "latents"} & set(options(name))
    with pytest.raises(UsageError, match="solver 'rk4' is not known; choose from euler, heun"):
        next(ode(None, torch.zeros(1, 1, 1, 1), solver="rk4"))
