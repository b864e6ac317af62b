"""Autoguidance: away from a weaker model of the same data (Karras et al. 2024, arXiv 2406.02507).

D + w (D - D_weak), where the paper writes D_weak + (w + 1)(D - D_weak): its 2 is w = 1 here. What
the weak model gets wrong, the better one gets wrong too, only less; the difference shows the way.
"""

from torch import Tensor

from echosweep.diffusion.denoiser import DenoiserLike
from echosweep.diffusion.guidance.guided import Guided, Weight


def autoguidance(denoiser: DenoiserLike, weak: DenoiserLike, weight: Weight) -> Guided:
    """Return `denoiser` guided by `weak`: a smaller or earlier model, of the same classes."""

    def direction(x: Tensor, sigma: Tensor, denoised: Tensor, labels: Tensor | None) -> Tensor:
        return denoised - weak(x, weak.round_sigma(sigma), labels)

    return Guided(denoiser, direction, weight)
