"""Samplers: from unit normal latents and a denoiser to images, one yielded step at a time.

To add one, write `samplers/mine.py`, a generator with the others' arguments, and name its row here.
Invariant: each sampler takes `num_steps, labels, noise, corrector` and yields `SamplerStep`s.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from echosweep.diffusion.samplers.euler import euler
from echosweep.diffusion.samplers.heun import heun
from echosweep.diffusion.samplers.ode import ode
from echosweep.diffusion.samplers.step import SamplerStep, run
from echosweep.registry import Registry

__all__ = ["SAMPLERS", "Method", "Sampler", "SamplerStep", "nfe", "once", "options", "run", "twice"]
Sampler = Callable[..., Iterator[SamplerStep]]  # with its settings bound, of (denoiser, latents)


@dataclass(frozen=True)
class Method:
    """A row of SAMPLERS.

    Attributes:
        steps: `(denoiser, latents, *, num_steps, ...)`, yields every step. Its other settings are
            keywords with a default.
        evaluations: Network evaluations per image, of the number of steps and the setting `solver`.
    """

    steps: Sampler
    evaluations: Callable[[int, str], int]

    def __call__(self, *arguments: Any, **settings: Any) -> Iterator[SamplerStep]:
        """Return the steps."""
        return self.steps(*arguments, **settings)


def once(num_steps: int, solver: str) -> int:
    """Return the evaluations of a first-order method: one a step."""
    return num_steps


def twice(num_steps: int, solver: str) -> int:
    """Return the evaluations of Heun's method, whose last step, to sigma 0, is Euler's."""
    return 2 * num_steps - 1


def by_solver(num_steps: int, solver: str) -> int:
    """Return the evaluations of the solver that is chosen."""
    return {"euler": once, "heun": twice}[solver](num_steps, solver)


SAMPLERS: Mapping[str, Method] = Registry(
    "samplers",
    {
        "heun": Method(heun, twice),
        "euler": Method(euler, once),
        "ode": Method(ode, by_solver),
    },
)


def nfe(sampler: str, num_steps: int, solver: str = "heun") -> int:
    """Return the network evaluations per image: N for Euler, 2N - 1 for Heun.

    solver: that of the sampler `ode`.
    """
    return SAMPLERS[sampler].evaluations(num_steps, solver)


def options(sampler: str) -> tuple[str, ...]:
    """Return the names of the settings that a sampler takes, in order."""
    parameters = inspect.signature(SAMPLERS[sampler].steps).parameters.values()
    given = {"labels", "noise", "corrector", "churned"}
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in given)
