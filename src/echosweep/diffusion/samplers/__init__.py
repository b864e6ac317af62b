"""Samplers: from unit normal latents and a denoiser to images, one yielded step at a time.

To add one, write `samplers/mine.py`, a generator with the others' arguments, and name it here.
Invariant: each sampler takes `num_steps, labels, noise, corrector` and yields `Step`s.
"""

import inspect
from collections.abc import Callable, Iterator

from echosweep.diffusion.samplers.euler import euler
from echosweep.diffusion.samplers.heun import heun
from echosweep.diffusion.samplers.ode import ode
from echosweep.diffusion.samplers.step import Step, run

__all__ = ["SAMPLERS", "Sampler", "Step", "nfe", "options", "run"]

Sampler = Callable[..., Iterator[Step]]

SAMPLERS: dict[str, Sampler] = {
    "heun": heun,
    "euler": euler,
    "ode": ode,
}

_ORDERS = {"heun": 2, "euler": 1}


def nfe(sampler: str, num_steps: int, solver: str = "heun") -> int:
    """Return the network evaluations per image: N for Euler, 2N - 1 for Heun.

    solver: that of the sampler `ode`. Heun's last step, to sigma 0, is Euler's.
    """
    order = _ORDERS[solver if sampler == "ode" else sampler]
    return order * num_steps - (order - 1)


def options(sampler: str) -> tuple[str, ...]:
    """Return the names of the settings that a sampler takes, in order."""
    parameters = inspect.signature(SAMPLERS[sampler]).parameters.values()
    given = {"labels", "noise", "corrector", "churned"}
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in given)
