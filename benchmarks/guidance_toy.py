"""Does guidance help where all is known? Points in the plane, over seeds, with the interval.

Real points are three clusters on a ring. The model is the ideal denoiser of something near: the
clusters wider and of unequal weight. A small network learns log r from noised samples of both, as
`echosweep discriminate` does; Heun with and without it starts from the same latents. "ideal" has
the true log r instead. The distance is the energy distance to real points.
`OMP_NUM_THREADS=1 python benchmarks/guidance_toy.py`
"""

import argparse
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from echosweep import rng
from echosweep.diffusion.denoiser import DenoiserLike
from echosweep.diffusion.guidance import Interval, discriminator, value_and_gradient
from echosweep.diffusion.guidance.discriminator import ValueAndGradient
from echosweep.diffusion.samplers import SAMPLERS, run
from echosweep.guides import published_interval
from echosweep.training import OBJECTIVES
from echosweep.training.discriminator import noised
from paired import T_975, print_table


@dataclass
class Ring:
    """Three Gaussian clusters of deviation s: points (N,2,1,1), and their ideal denoiser."""

    s: float
    weights: Tensor
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    @property
    def centres(self) -> Tensor:
        angles = torch.arange(3, dtype=torch.float64) * math.tau / 3
        return torch.stack([angles.cos(), angles.sin()], dim=1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        rows = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return (self.centres[rows] + self.s * noise)[:, :, None, None]

    def log_p(self, x: Tensor, sigma: Tensor) -> Tensor:
        variance = (self.s**2 + sigma.square())[:, None]
        away = (x[:, None, :, 0, 0] - self.centres).square().sum(dim=2)
        return (self.weights.log() - away / (2 * variance) - variance.log()).logsumexp(dim=1)

    def round_sigma(self, sigma: Tensor) -> Tensor:
        return sigma

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        points, variance = x[:, :, 0, 0], (self.s**2 + sigma.square())[:, None]
        away = (points[:, None] - self.centres).square().sum(dim=2)
        share = (self.weights.log() - away / (2 * variance)).softmax(dim=1)
        gain = self.s**2 / variance
        D = gain * points + (1 - gain) * share @ self.centres
        return D[:, :, None, None]


class LogRatio(nn.Module):
    """log r of points at a noise level: three layers on x / sqrt(1 + sigma^2) and ln sigma."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1))
        )

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        z = x[:, :, 0, 0] * (1 + sigma.square()).rsqrt()[:, None]
        logits: Tensor = self.layers(torch.cat([z, sigma.log()[:, None] / 4], dim=1).float())
        return logits[:, 0]


def train(real: Ring, made: Ring, steps: int, seed: int) -> LogRatio:
    torch.manual_seed(seed)
    log_ratio, draw = LogRatio(), rng.generator("toy", seed)
    optimizer = torch.optim.Adam(log_ratio.parameters(), lr=2e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    sides = (real.draw(20_000, draw), made.draw(20_000, draw))
    for _ in range(steps):
        real_now, made_now = (
            noised(side[torch.randint(len(side), (512,), generator=draw)], None, draw)
            for side in sides
        )
        optimizer.zero_grad()
        loss_of: Any = OBJECTIVES["cross-entropy"].loss  # it looks at no denoiser
        torch.autograd.backward(loss_of(log_ratio, real_now, made_now, made, 0.0))
        optimizer.step()
        decay.step()
    return log_ratio.requires_grad_(False)


def guided(
    made: Ring, evaluate: ValueAndGradient, w: float, interval: tuple[float, float]
) -> DenoiserLike:
    inside = discriminator(made, evaluate, lambda sigma: w * torch.ones_like(sigma))
    return Interval(made, inside, *interval)


def energy(a: Tensor, b: Tensor) -> float:
    """Return 2 E|a - b| - E|a - a'| - E|b - b'| of points (N,2,1,1), as means over all pairs."""
    p, q = a[:, :, 0, 0], b[:, :, 0, 0]
    n, m = len(p), len(q)
    within = torch.pdist(p).sum() * 2 / (n * (n - 1)) + torch.pdist(q).sum() * 2 / (m * (m - 1))
    return float(2 * torch.cdist(p, q).mean() - within)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(T_975))
    parser.add_argument("--num", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=3000, help="of training the discriminator")
    arguments = parser.parse_args()
    even = torch.full((3,), 1 / 3, dtype=torch.float64)
    real, made = Ring(0.2, even), Ring(0.3, torch.tensor([3, 2, 1], dtype=torch.float64) / 6)
    reference = real.draw(4000, rng.generator("toy", "reference"))
    low, high = published_interval()
    found: dict[str, list[float]] = {}
    for seed in range(arguments.seeds):
        latents = torch.randn(
            arguments.num, 2, 1, 1, generator=rng.generator("latents", seed), dtype=torch.float64
        )
        learned = value_and_gradient(train(real, made, arguments.steps, seed))
        ideal = value_and_gradient(lambda x, sigma: real.log_p(x, sigma) - made.log_p(x, sigma))
        for name, evaluate, w1, w2, end in (
            ("unguided", learned, 0, 0, high),
            ("w1 1", learned, 1, 0, high),
            ("w1 2", learned, 2, 0, high),
            ("w1 5", learned, 5, 0, high),
            ("w1 1, w2 1", learned, 1, 1, high),
            ("w1 1, w2 1, sigma to 5", learned, 1, 1, 5.0),
            ("ideal, w1 2", ideal, 2, 0, high),
            ("ideal, w1 1, w2 1", ideal, 1, 1, high),
        ):
            first, second = (guided(made, evaluate, w, (low, end)) for w in (w1, w2))
            x = run(SAMPLERS["heun"](first, latents, num_steps=30, corrector=second))
            found.setdefault(name, []).append(1000 * energy(x, reference))
        fresh = real.draw(arguments.num, rng.generator("floor", seed))
        found.setdefault("real points", []).append(1000 * energy(fresh, reference))
    print_table("energy distance x 1000", found, digits=1)


if __name__ == "__main__":
    main()
