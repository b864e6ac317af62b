"""What the training of a discriminator lowers.

The minimum of the cross-entropy is log r, but on the way there an overfitted discriminator can lead
samples away from the real ones (Verine et al. 2025, arXiv 2503.16117): D + sigma^2 grad log r is
then a worse denoiser than D. So that denoiser's own error on real images can be lowered instead.
Invariant: no gradient reaches D.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import softplus

from echosweep.diffusion.denoiser import Denoiser

LogRatio = Callable[[Tensor, Tensor], Tensor]


class Noisy(NamedTuple):
    """Images and their noise: y (N,C,H,W), x = y + sigma n, sigma (N,), labels (N,L) or None."""

    y: Tensor
    x: Tensor
    sigma: Tensor
    labels: Tensor | None


Loss = Callable[[LogRatio, Noisy, Noisy, Denoiser, float], Tensor]


class Objective(NamedTuple):
    """A row of OBJECTIVES.

    loss: `(log_ratio, real, generated, denoiser, label_smoothing) -> float32 ()`. gradient_only:
    it fits the gradient of log r to the denoiser's errors. Log r itself is then known but for a
    constant at each noise level, and real images must be as they are.
    """

    loss: Loss
    gradient_only: bool


def cross_entropy(
    log_ratio: LogRatio, real: Noisy, generated: Noisy, denoiser: Denoiser, label_smoothing: float
) -> Tensor:
    """Return the binary cross-entropy of real against generated images, d = sigmoid(log r)."""
    x, sigma = torch.cat([real.x, generated.x]), torch.cat([real.sigma, generated.sigma])
    logits = log_ratio(x, sigma)
    return entropy_of(logits[: len(real.x)], logits[len(real.x) :], label_smoothing)


def entropy_of(real: Tensor, generated: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the binary cross-entropy of the logits of real and generated images, () in nats.

    Targets are 1 - label_smoothing and label_smoothing; both sides weigh the same.
    """
    right = softplus(-real).mean() + softplus(generated).mean()
    wrong = softplus(real).mean() + softplus(-generated).mean()
    return ((1 - label_smoothing) * right + label_smoothing * wrong) / 2


class Errors(NamedTuple):
    """Weighted squared errors per pixel, float32 (N,): of D, and of D + sigma^2 grad log r.

    overlap: the error of D times the correction. correction: the correction squared.
    """

    plain: Tensor
    guided: Tensor
    overlap: Tensor
    correction: Tensor


def denoising_errors(log_ratio: LogRatio, real: Noisy, denoiser: Denoiser) -> Errors:
    """Return w(sigma) (D - y)^2, without guidance and with it; w is that of the framework."""
    with torch.no_grad():
        sigma = denoiser.round_sigma(real.sigma)
        error = denoiser(real.x, sigma, real.labels) - real.y
        weight = denoiser.framework.weight(sigma, denoiser.sigma_data)
    correction = real.sigma.square()[:, None, None, None] * gradient(log_ratio, real)
    guided = error + correction
    products = (error**2, guided**2, error * correction, correction**2)
    return Errors(*(weight * product.mean(dim=(1, 2, 3)) for product in products))


def reconstruction(
    log_ratio: LogRatio, real: Noisy, generated: Noisy, denoiser: Denoiser, label_smoothing: float
) -> Tensor:
    """Return the error of the guided denoiser on real images (Verine et al. 2025).

    Its minimum over all functions is the real images' own denoiser. Generated images and
    label_smoothing do not enter.
    """
    return denoising_errors(log_ratio, real, denoiser).guided.mean()


def gradient_penalty(log_ratio: LogRatio, real: Noisy) -> Tensor:
    """Return |grad log r|^2 / 2, mean over real images: R1 (Mescheder et al. 2018, equation 9)."""
    return gradient(log_ratio, real).square().sum(dim=(1, 2, 3)).mean() / 2


def gradient(log_ratio: LogRatio, images: Noisy) -> Tensor:
    """Return grad log r at x, (N,C,H,W); differentiable itself where gradients are enabled."""
    twice = torch.is_grad_enabled()
    # Fused attention has no second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        x = images.x.detach().requires_grad_()
        (found,) = torch.autograd.grad(log_ratio(x, images.sigma).sum(), x, create_graph=twice)
    return found
