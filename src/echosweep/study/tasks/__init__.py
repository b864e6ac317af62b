"""Tasks: what a worker does for a trial, each a function of the artifacts and JSON parameters.

To add one, write a function `(artifacts, **params) -> JSON record` and name it here. Invariant:
what it returns depends on its parameters and the study's data alone (times, machine and versions,
which it also notes, aside).
"""

from collections.abc import Callable
from typing import Any

from echosweep.study.tasks.finish import finish
from echosweep.study.tasks.floors import floors
from echosweep.study.tasks.measure import measure
from echosweep.study.tasks.shifts import shifts

TrialTask = Callable[..., dict[str, Any]]  # (artifacts, **params)

TASKS: dict[str, TrialTask] = {
    "measure": measure,
    "floor": floors,
    "shift": shifts,
    "final": finish,
}
