"""What a study will do and cost, before it does: its stages rehearsed, each trial's parts added up.

The stages run as they will, but with a `do` that only takes note and hands back made-up scores, so
what is counted is what will be asked for. Which candidates win cannot be known: the first of each
round are taken, and all that follows from that choice says "assumed".
Invariant: nothing is trained, and nothing is written.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from echosweep import machine, places
from echosweep.config import TrainConfig
from echosweep.data.splits import assign_splits
from echosweep.data.store import FrameStore, Preparation, image_shape
from echosweep.errors import UsageError
from echosweep.progress import Show, hidden
from echosweep.streams import console, table
from echosweep.study import STAGES
from echosweep.study.backends import BackendSettings, local
from echosweep.study.candidate import Candidate
from echosweep.study.checks import check, check_copies_can_be_sought
from echosweep.study.recipe import Recipe
from echosweep.study.stages import StageContext
from echosweep.study.status_table import duration
from echosweep.study.trial import Trial
from echosweep.text import size

if TYPE_CHECKING:
    from echosweep.study.timings import Data, Timings
    from echosweep.study.trial_costs import TrialCosts

_SHARES = (0.75, 0.125, 0.125)  # of train, val and test in data that a recipe makes
_LINES = 40  # trials printed of a stage


class PlannedTrial(NamedTuple):
    """A trial of a rehearsal: its round in the study, and whether it hangs on a choice before."""

    trial: Trial
    label: str
    round: int
    assumed: bool


class PlannedStage(NamedTuple):
    """A stage of a rehearsal."""

    name: str
    kind: str
    steps: list[PlannedTrial]


def plan_trials(recipe: Recipe) -> list[PlannedStage]:
    """Return every stage with the trials that it asks for, where the first always win.

    Raises UsageError for what no study can run.
    """
    options, acts = check(recipe), []
    candidates, rehearsal = [recipe.base], _Rehearsal(recipe)
    for entry in recipe.stages:
        rehearsal.begin()
        run = STAGES[entry.stage].run
        candidates = run(options[entry.name], candidates, rehearsal.context).candidates
        acts.append(PlannedStage(entry.name, entry.stage, rehearsal.steps))
    return acts


class _Rehearsal:
    """Takes note of what stages ask for, and answers with scores that fall from round to round."""

    def __init__(self, recipe: Recipe) -> None:
        self.context = StageContext(recipe, self._do, lambda signature: None, self._note)
        self.steps: list[PlannedTrial] = []
        self._labels: dict[str, str] = {}
        self._rounds, self._asked = 0, set[str]()

    def begin(self) -> None:
        """Begin a stage."""
        self.steps = []

    def _do(self, trials: Sequence[Trial], changed: Callable[[], None]) -> list[dict[str, Any]]:
        changed()  # the stage notes its trials, with their labels
        chosen = len(self._asked) > 1
        for trial in trials:
            assumed = chosen and trial.task != "floor"
            label = self._labels[trial.signature]
            self.steps.append(PlannedTrial(trial, label, self._rounds, assumed))
        self._asked |= {trial.signature for trial in trials if trial.task == "measure"}
        self._rounds += 1
        # A later round beats an earlier one: so the baseline loses, and guidance is counted.
        score = {self.context.recipe.select.score: -float(self._rounds)}
        return [{"state": "complete", "values": score, "nfe": 0} for _ in trials]

    def _note(self, record: dict[str, Any]) -> None:
        self._labels |= {row["signature"]: row["label"] for row in record["trials"]}


def plan(
    recipe: Recipe,
    data: str | Path | None = None,
    *,
    workers: int | None = None,
    gpus: int | None = None,
    device: str | None = None,
    show: Show = hidden,
) -> dict[str, Any]:
    """Return what a study of `recipe` on the frame store `data` will do here, and its cost.

    data: None where the recipe makes its own. workers: trials at a time, as the backends have them.
    gpus: of a trial; None for the recipe's. device: what is timed; a GPU where there is one.

    The plan is JSON: stages, each with its trials (label, round, assumed, hours of one device,
    memory_gb, disk_gb) and their sums; wall_hours is with all workers; total; device, workers and
    threads; notes. Raises UsageError for what no study can run.
    """
    acts = plan_trials(recipe)
    check_copies_can_be_sought(recipe, check(recipe), count_images(recipe, data))
    from echosweep.devices import pick_device  # here, not above: `check_disk` needs no torch
    from echosweep.study.timings import Timings
    from echosweep.study.trial_costs import TrialCosts
    from echosweep.threads import threads

    picked = pick_device(device)
    several = (recipe.gpus if gpus is None else gpus) if picked.type == "cuda" else 0
    there = local.gpus() if picked.type == "cuda" else []
    slots, shared = local.share_out(BackendSettings(workers, several), there, machine.cores())
    with threads(shared):
        timings = Timings(_data(recipe, data), recipe.features, picked, several, show)
        timings.learn([config for act in acts for config in _trained(act)])
        costs = TrialCosts(timings)
        stages = [_stage(act, costs, workers or len(slots)) for act in acts]
    return {
        "recipe": recipe.name,
        "device": timings.device_name,
        "gpus": several,
        "workers": workers or len(slots),
        "threads": shared,
        "stages": stages,
        "total": _sums(stages),
        "notes": list(_notes(timings, acts, several)),
    }


def _trained(act: PlannedStage) -> Iterator[TrainConfig]:
    for step in act.steps:
        if "candidate" in step.trial.params:
            yield Candidate.make(step.trial.params["candidate"]).train


def _data(recipe: Recipe, data: str | Path | None) -> "Data":
    """Return what costs depend on of the data; of a recipe's own, as it will be made."""
    from echosweep.study.timings import Data
    from echosweep.training.batches import class_names

    counts = count_images(recipe, data)
    if data is not None:
        store = FrameStore.open(data, verify=False)
        return Data(store.preparation, counts, partial(class_names, store))
    made = recipe.data
    assert made is not None
    return Data(Preparation((made.size, made.size)), counts, lambda label, split: ())


def count_images(recipe: Recipe, data: str | Path | None) -> Counter[str]:
    """Return how many real images each split has; of a recipe's own data, as it will be made."""
    if data is not None:
        return Counter(FrameStore.open(data, verify=False).splits.tolist())
    made = recipe.data
    if made is None:
        raise UsageError(f"recipe {recipe.name!r} needs --data STORE to be planned for")
    videos = Counter(assign_splits(map(str, range(made.videos)), _SHARES, 0).values())
    each = -(-made.frames // made.every)
    return Counter({split: number * each for split, number in videos.items()})


def _stage(act: PlannedStage, costs: "TrialCosts", workers: int) -> dict[str, Any]:
    """Return the trials of a stage with what each costs, and their sums."""
    trials = list[dict[str, Any]]()
    for step in act.steps:
        cost = costs.cost(step.trial)
        trials.append(
            {
                "signature": step.trial.signature,
                "label": step.label,
                "round": step.round,
                "assumed": step.assumed,
                "hours": cost.seconds / 3600,
                "memory_gb": cost.memory_gb,
                "disk_gb": cost.disk / 1e9,
            }
        )
    rounds = [[t["hours"] for t in group] for _, group in groupby(trials, itemgetter("round"))]
    return {
        "name": act.name,
        "stage": act.kind,
        "trials": trials,
        "hours": sum(t["hours"] for t in trials),
        "wall_hours": sum(makespan(hours, workers) for hours in rounds),
        "memory_gb": max((t["memory_gb"] for t in trials), default=0.0),
        "disk_gb": sum(t["disk_gb"] for t in trials),
    }


def makespan(times: Sequence[float], workers: int) -> float:
    """Return when the last of some tasks ends, each begun in order as one of `workers` is free."""
    free = [0.0] * workers
    for time in times:
        heapq.heapreplace(free, free[0] + time)
    return max(free)


def _sums(stages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    added = ("hours", "wall_hours", "disk_gb")
    return {
        "trials": sum(len(stage["trials"]) for stage in stages),
        **{name: sum(stage[name] for stage in stages) for name in added},
        "memory_gb": max(stage["memory_gb"] for stage in stages),
    }


def _notes(timings: "Timings", acts: Sequence[PlannedStage], gpus: int) -> Iterator[str]:
    """Yield what a reader must know of the numbers."""
    steps = [step for act in acts for step in act.steps]
    yield (
        "counted: processes that start, training, sampling, features and classifiers; not counted: "
        "distances, pages, and what else uses this machine"
    )
    if any(step.assumed for step in steps):
        yield "assumed: which candidates win is not known yet; the first of each round are taken"
    if timings.scaled:
        yield (
            f"scaled: {', '.join(timings.scaled)} would take long to time here; evaluations were, "
            "and a step takes as many of them as that of the largest network that was timed"
        )
    if gpus > 1:
        yield f"a trial's {gpus} GPUs are taken to be {gpus} times as fast as one"
    if any("discriminator" in step.trial.params.get("candidate", {}) for step in steps):
        yield "every epoch of a discriminator is counted; patience may end it earlier"


def print_plan(plan: dict[str, Any]) -> None:
    """Print a plan as a table: stages, their trials, the total."""
    columns = ("", "one device", f"{plan['workers']} at a time", "memory", "disk", "")
    rows = table(*columns)
    for stage in plan["stages"]:
        rows.add_row(f"{stage['name']}: {len(stage['trials'])} trials", *_numbers(stage))
        for trial in stage["trials"][:_LINES]:
            note = "assumed" if trial["assumed"] else ""
            rows.add_row(f"  {trial['label']}", *_numbers(trial), note, style="dim")
        if len(stage["trials"]) > _LINES:
            rows.add_row(f"  and {len(stage['trials']) - _LINES} more", style="dim")
    total = plan["total"]
    rows.add_row(f"in all: {total['trials']} trials", *_numbers(total), style="bold")
    out = console()
    out.print(f"{plan['recipe']} on {plan['device']}, threads of a trial: {plan['threads']}")
    out.print(rows)
    for note in plan["notes"]:
        out.print(note, soft_wrap=True)


def _numbers(row: dict[str, Any]) -> tuple[str, str, str, str]:
    wall = duration(row["wall_hours"] * 3600) if "wall_hours" in row else ""
    memory = f"{row['memory_gb']:.3g} GB" if row["memory_gb"] else ""
    return duration(row["hours"] * 3600), wall, memory, f"{row['disk_gb']:.3g} GB"


def check_disk(recipe: Recipe, data: str | Path | None, study: Path) -> None:
    """Raise UsageError if a study does not fit on the disk of its folder, as far as is known.

    Known is what the recipe says that it costs; else at least the images that it will draw.
    """
    there = sum(path.stat().st_size for path in study.rglob("*") if path.is_file())
    needed = recipe.cost.disk_gb * 1e9 if recipe.cost else _bytes_of_images(recipe, data)
    places.check_room(
        study,
        needed - there,
        f"recipe {recipe.name!r} needs {size(needed)} in all, so another",
        "choose another --out, or make fewer images: num of select and report",
    )


def _bytes_of_images(recipe: Recipe, data: str | Path | None) -> int:
    """Return the bytes of the images of all trials."""
    made = FrameStore.open(data, verify=False).preparation if data else None
    size = recipe.data.size if recipe.data else 0
    each = math.prod(image_shape(made or Preparation((size, size))))
    trials = {step.trial.signature: step.trial for act in plan_trials(recipe) for step in act.steps}
    return each * sum(trial.params.get("num") or 0 for trial in trials.values())
