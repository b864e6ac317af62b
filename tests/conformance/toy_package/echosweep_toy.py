"""A package that adds one row to each open registry, each by one line of its metadata."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from echosweep.data import folder
from echosweep.diffusion import FRAMEWORKS
from echosweep.diffusion.discriminators import DISCRIMINATORS
from echosweep.diffusion.samplers import Method, SamplerStep
from echosweep.evaluation.classify import Classifier, build_linear
from echosweep.evaluation.features import Extractor, Options
from echosweep.evaluation.random_features import build_random
from echosweep.evaluation.sets import Metric, Result, Side
from echosweep.export.format import Format
from echosweep.networks import ddpmpp
from echosweep.study.backends.local import Local
from echosweep.study.strategies import grid
from echosweep.training import Objective
from echosweep.training.objectives import cross_entropy

network = partial(ddpmpp, model_channels=8, channel_mult=(1,), num_blocks=1, attention_factors=())
framework = replace(FRAMEWORKS["edm"], name="toy", sigma_max=20.0)
discriminator = DISCRIMINATORS["encoder"]
objective = Objective(cross_entropy, gradient_only=False)
classifier = Classifier(build_linear)
strategy, backend = grid, Local


def leaps(
    denoiser: Any,
    latents: Tensor,
    *,
    num_steps: int = 2,
    leap: float = 1.0,
    labels: Tensor | None = None,
    noise: Any = None,
    corrector: Any = None,
    churned: Any = None,
) -> Iterator[SamplerStep]:
    """Yield steps that each go the share `leap` of the way to D(x; sigma); two evaluations each."""
    x, sigma = latents.double(), torch.full((len(latents),), 1.0, dtype=torch.float64)
    for i in range(num_steps):
        denoiser(x, sigma, labels)
        denoised = denoiser(x, sigma, labels)
        x = x + leap * (denoised - x)
        yield SamplerStep(i, num_steps, 1.0, x, denoised, 2 * (i + 1))


sampler = Method(leaps, lambda num_steps, solver: 2 * num_steps)


def weighting(sigma: Tensor, interval: tuple[float, float], measured: Any) -> Tensor:
    """Return a half at every level."""
    return torch.full_like(sigma, 0.5)


def extractor(options: Options) -> Extractor:
    """Return the random features under another name."""
    return replace(build_random(options), name="toy", metric="toyd")


def gap(generated: Side, reference: Side, seed: int) -> Result:
    """Return how far apart the mean grey levels are."""
    levels = [float(np.mean(side.images(np.arange(len(side))))) for side in (generated, reference)]
    return Result({"toy_gap": abs(levels[0] - levels[1])})


metric = Metric(gap, "images")


class Videos:
    """Folders of videos, where they are asked for by name."""

    LOOKS_FOR = "videos of the toy"
    clips, decode = staticmethod(folder.clips), staticmethod(folder.decode)

    @staticmethod
    def count(tree: Any) -> int:
        """Return how many videos there are."""
        return len(tree.ending((".avi",)))


source = Videos()


def write(store: Any, num: int, out: Path, progress: Any) -> None:
    """Write the mean grey level of each image."""
    out.mkdir(exist_ok=True)
    np.savetxt(out / "levels.txt", store.images[:num].mean(axis=(1, 2)))


format = Format("toy", "Mean grey levels.", write)
