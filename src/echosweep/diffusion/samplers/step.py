"""What every sampler yields, and the helpers that samplers share.

A sampler is a generator: the caller sees each step, shows it, counts it, or stops early.
Invariant: the state is float64 and image i is computed from its own latent, noise and label alone.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from echosweep.diffusion.denoiser import DenoiserLike


class SamplerStep(NamedTuple):
    """One step. x: (N,C,H,W) float64 after it, at the next noise level, signal scale 1.

    i: this step, from 0. steps: how many there are. sigma: the noise level of the first evaluation.
    denoised: D there, float64. nfe: network evaluations so far.
    """

    i: int
    steps: int
    sigma: float
    x: Tensor
    denoised: Tensor
    nfe: int


class Evaluate(Protocol):
    """A denoiser at one noise level for the whole batch, or at one for each image."""

    def __call__(self, denoiser: DenoiserLike, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Return D(x; sigma), float64. sigma: a number, or float64 (N,1,1,1)."""


def evaluator(labels: Tensor | None) -> Evaluate:
    """Return the function that evaluates denoisers under `labels`, in float64."""

    def evaluate(denoiser: DenoiserLike, x: Tensor, sigma: float | Tensor) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=torch.float64, device=x.device)
        return denoiser(x, levels.flatten().repeat(len(x) // levels.numel()), labels).double()

    return evaluate


def level(sigma: float | Tensor) -> float:
    """Return the highest noise level of a batch, as `SamplerStep` gives it."""
    return sigma if isinstance(sigma, float) else float(sigma.max())


def run(steps: Iterable[SamplerStep]) -> Tensor:
    """Run a sampler to its end and return the images, float64 (N,C,H,W), about [-1, 1]."""
    return deque(steps, maxlen=1).pop().x
