"""The study: a fold over stages, each of which keeps the best candidates for the next.

    for stage in recipe.stages:
        candidates = STAGES[stage.stage].run(stage, candidates, ...)

To add a stage, write a function in `stages.py` and name it here; to add a strategy, a generator in
`strategies.py`. Nothing here imports torch: trials run in processes of their own.
"""

from collections.abc import Callable, Mapping

from echosweep.config import FloorOptions, ShiftOptions
from echosweep.registry import Registry
from echosweep.study.backends import Backend, BackendSettings
from echosweep.study.backends.local import Local
from echosweep.study.backends.ray import Ray
from echosweep.study.backends.slurm import Slurm
from echosweep.study.stages import (
    FinalOptions,
    SearchOptions,
    StageKind,
    final,
    floor,
    search,
    shift,
)
from echosweep.study.strategies import Strategy, grid, halving, tpe

STAGES: dict[str, StageKind] = {
    "search": StageKind(SearchOptions, search),
    "floor": StageKind(FloorOptions, floor),
    "shift": StageKind(ShiftOptions, shift),
    "final": StageKind(FinalOptions, final),
}

STRATEGIES: Mapping[str, Strategy] = Registry(
    "strategies",
    {
        "grid": grid,
        "halving": halving,
        "tpe": tpe,
    },
)

BACKENDS: Mapping[str, Callable[[BackendSettings], Backend]] = Registry(
    "backends",
    {
        "local": Local,
        "ray": Ray,
        "slurm": Slurm,
    },
)
