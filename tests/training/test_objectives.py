import math

import pytest
import torch
from torch import nn

from echosweep.diffusion import FRAMEWORKS
from echosweep.training import OBJECTIVES
from echosweep.training.objectives import (
    Noisy,
    denoising_errors,
    entropy_of,
    gradient,
    gradient_penalty,
)

REAL, GENERATED = (0.3, 0.25), (-0.2, 0.45)  # mean and standard deviation of every pixel


class Ideal:
    """The denoiser of images whose pixels are N(mean, s^2), under EDM's weight."""

    framework, sigma_data = FRAMEWORKS["edm"], 0.5

    def __init__(self, mean, s):
        self.mean, self.s = mean, s

    def round_sigma(self, sigma):
        return sigma

    def __call__(self, x, sigma, labels=None):
        variance = sigma.reshape(-1, 1, 1, 1) ** 2
        return (self.s**2 * x + self.mean * variance) / (self.s**2 + variance)


def log_ratio(x, sigma):
    """ln p_real - ln p_generated of noisy images, in closed form."""

    def log_density(mean, s):
        variance = s**2 + sigma.square()[:, None, None, None]
        return (-(x - mean).square() / variance - variance.log()).sum(dim=(1, 2, 3)) / 2

    return log_density(*REAL) - log_density(*GENERATED)


def draw(mean, s, count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = mean + s * torch.randn(count, 1, 2, 3, generator=generator, dtype=torch.float64)
    sigma = torch.linspace(-3, 3, count, dtype=torch.float64).exp()
    noise = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return Noisy(y, y + sigma[:, None, None, None] * noise, sigma, None)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_in_closed_form(smoothing):
    guess = torch.zeros(3, dtype=torch.float64)
    assert float(entropy_of(guess, guess, smoothing)) == pytest.approx(math.log(2))
    sure = torch.full((5,), math.log(3), dtype=torch.float64)  # d = 3/4 and 1/4: counts may differ
    wanted = -(1 - smoothing) * math.log(3 / 4) - smoothing * math.log(1 / 4)
    assert float(entropy_of(sure, -sure[:2], smoothing)) == pytest.approx(wanted)


def test_smoothed_targets_bound_the_best_logit():
    logit = torch.tensor(math.log(0.9 / 0.1), dtype=torch.float64, requires_grad=True)
    entropy_of(logit, -logit, 0.1).backward()
    assert float(logit.grad) == pytest.approx(0, abs=1e-12)


def test_cross_entropy_sees_both_sides_of_the_batch():
    real, generated = draw(*REAL), draw(*GENERATED, count=32, seed=1)
    found = OBJECTIVES["cross-entropy"].loss(log_ratio, real, generated, Ideal(*GENERATED), 0.1)
    sides = [log_ratio(i.x, i.sigma) for i in (real, generated)]
    assert float(found) == pytest.approx(float(entropy_of(*sides, 0.1)))


def test_the_true_ratio_turns_the_error_into_that_of_the_real_images_own_denoiser():
    real = draw(*REAL)
    model, best = Ideal(*GENERATED), Ideal(*REAL)
    errors = denoising_errors(log_ratio, real, model)
    found = OBJECTIVES["reconstruction"].loss(log_ratio, real, draw(*GENERATED), model, 0.0)
    weight = model.framework.weight(real.sigma, model.sigma_data)

    def error(denoiser):
        return weight * (denoiser(real.x, real.sigma) - real.y).square().mean(dim=(1, 2, 3))

    torch.testing.assert_close(errors.guided, error(best))
    torch.testing.assert_close(errors.plain, error(model))
    torch.testing.assert_close(errors.guided, errors.plain + 2 * errors.overlap + errors.correction)
    assert float(found.detach()) == pytest.approx(float(error(best).mean()))


def test_a_constant_changes_no_reconstruction_but_the_cross_entropy():
    real, generated, model = draw(*REAL), draw(*GENERATED), Ideal(*GENERATED)
    for objective in OBJECTIVES.values():
        values = [
            objective.loss(lambda x, s, c=c: log_ratio(x, s) + c, real, generated, model, 0)
            for c in (0.0, 2.0)
        ]
        assert torch.isclose(*values) == objective.gradient_only


def test_the_gradient_is_that_of_the_log_ratio_and_none_is_kept():
    real = draw(*REAL)
    variance = real.sigma.square()[:, None, None, None]
    (m1, s1), (m2, s2) = REAL, GENERATED
    wanted = (m1 - real.x) / (s1**2 + variance) - (m2 - real.x) / (s2**2 + variance)
    with torch.no_grad():
        found = gradient(log_ratio, real)
    torch.testing.assert_close(found, wanted)
    assert not found.requires_grad
    assert not real.x.requires_grad


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_gradient_reaches_the_denoiser(objective):
    class Trainable(Ideal, nn.Module):
        def __init__(self):
            nn.Module.__init__(self)
            self.mean = nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
            self.s = nn.Parameter(torch.tensor(0.4, dtype=torch.float64))

        __call__ = Ideal.__call__

    model, scale = Trainable(), torch.ones((), dtype=torch.float64, requires_grad=True)
    loss = OBJECTIVES[objective].loss(
        lambda x, s: scale * log_ratio(x, s), draw(*REAL), draw(*GENERATED), model, 0.0
    )
    loss.backward()
    assert float(scale.grad) != 0
    assert [p.grad for p in model.parameters()] == [None, None]


def test_r1_in_closed_form():
    slope = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    y = torch.zeros(5, 1, 1, 2, dtype=torch.float64)
    images = Noisy(y, y, torch.ones(5), None)
    penalty = gradient_penalty(lambda x, sigma: (x[:, 0, 0] * slope).sum(1), images)
    assert float(penalty.detach()) == pytest.approx(25 / 2)
    penalty.backward()
    assert slope.grad.tolist() == pytest.approx([3, 4])
