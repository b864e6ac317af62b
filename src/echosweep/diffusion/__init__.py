"""Diffusion: noise is added to images in training and taken out, step by step, in sampling.

Four nouns: a framework says how noise is added and the network preconditioned, the denoiser joins
the two, a schedule says which noise levels to visit, a sampler visits them.
To add a framework, write its functions in `frameworks.py` and name its row here.
"""

from collections.abc import Mapping

from echosweep.diffusion.denoiser import Denoiser, DenoiserLike, denoising_loss
from echosweep.diffusion.frameworks import EDM, IDDPM, VE, VP, Framework
from echosweep.registry import Registry

__all__ = ["FRAMEWORKS", "Denoiser", "DenoiserLike", "Framework", "denoising_loss"]

FRAMEWORKS: Mapping[str, Framework] = Registry(
    "frameworks",
    {
        "edm": EDM,
        "vp": VP,
        "ve": VE,
        "iddpm": IDDPM,
    },
)
