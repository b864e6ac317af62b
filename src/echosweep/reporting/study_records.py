"""A study's records, read back: what was tried, what came out of it, what is still missing.

study.json, recipe.yaml, stages/NN-NAME.json and trials/SIGNATURE/result.json are all that a report
is made of; a stage is told by what it searches, not by its name. Invariant: nothing is written, and
a study may be read while it runs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from echosweep.config import SampleConfig
from echosweep.errors import EchoSweepError
from echosweep.reporting.study_checks import (
    FIX,
    read_facts,
    read_recipe,
    read_result,
    read_stages,
)

Record = Mapping[str, Any]
Role = Literal["networks", "sampler", "training", "guidance"]
_GUIDANCE = {*(f"sample.{name}" for name in SampleConfig.GUIDANCE), "weak", "epoch"}
_GUIDANCE_PARTS = ("discriminator.", "discriminator_images")


class Study(NamedTuple):
    """All records of a study. results: of the task "measure", by the signature of its trial."""

    path: Path
    identity: Record
    data: Record
    recipe: Record
    stages: tuple[Record, ...]
    results: Mapping[str, Record]

    def of_kind(self, kind: str) -> Iterator[Record]:
        """Yield the stages of a kind: search, floor, shift, final."""
        return (stage for stage in self.stages if stage["stage"] == kind)

    def result_of(self, kind: str) -> Record | None:
        """Return what the last stage of a kind found, None as long as there is nothing."""
        found = [stage["result"] for stage in self.of_kind(kind) if stage.get("result")]
        return found[-1] if found else None


class Paper(NamedTuple):
    """What Reynaud & Kainz 2023 found on the same data: FIDs, and accuracies in per cent."""

    optimal: float
    unguided: float | None = None
    guided: float | None = None
    accuracies: Mapping[str, tuple[float, float]] = {}  # before and after guidance, by classifier


_PAPERS = {
    (64, 64): Paper(
        optimal=0.88,
        unguided=3.75,
        guided=2.60,
        accuracies={
            "linear": (71.67, 72.14),
            "resnet18": (66.25, 60.91),
            "resnet18-augmented": (98.30, 84.24),
        },
    ),
    (112, 112): Paper(optimal=0.95),
}


def read_study(path: Path) -> Study:
    """Return the records in the folder of a study.

    Raises UsageError where no study is, EchoSweepError for a record that is damaged, or missing
    although others depend on it.
    """
    facts, stages = read_facts(path), read_stages(path)
    if not facts.get("identity", {}).get("name"):
        raise EchoSweepError(f"{path / 'study.json'} names no recipe; {FIX}")
    recipe, results = read_recipe(path), dict(_results(path, stages))
    return Study(path, facts["identity"], facts.get("data", {}), recipe, tuple(stages), results)


def _results(path: Path, stages: Sequence[Record]) -> Iterator[tuple[str, Record]]:
    """Yield what came out of each trial of the searches, once."""
    rows = [row for stage in stages if stage["stage"] == "search" for row in trials_of(stage)]
    for signature in dict.fromkeys(row["signature"] for row in rows if row["state"] == "complete"):
        yield signature, read_result(path, signature)


def trials_of(stage: Record) -> list[Record]:
    """Return the trials of a stage; none of one that failed before its first."""
    return list(stage.get("trials", ()))


def role(stage: Record) -> Role | None:
    """Return what a search is about, by the fields that it varies; None for no search."""
    fields = list(stage.get("options", {}).get("space", {}))
    if stage["stage"] != "search" or not fields:
        return None
    if {"train.network", "train.framework"} & set(fields):
        return "networks"
    if any(name in _GUIDANCE or name.startswith(_GUIDANCE_PARTS) for name in fields):
        return "guidance"
    return "sampler" if any(name.startswith("sample.") for name in fields) else "training"


def of_role(study: Study, wanted: Role) -> list[Record]:
    """Return the stages of a role, in their order."""
    return [stage for stage in study.stages if role(stage) == wanted]


def score_name(stage: Record) -> str:
    """Return the exact name of what a search is judged by: fid, fid_infinity, kid, ..."""
    score = str(stage["score"])
    if not score.startswith("fd"):
        return score
    return (stage["metric"] or "distance") + score[2:]


def chosen(stage: Record) -> set[str]:
    """Return the signatures of the trials that a search kept."""
    return {entry["signature"] for entry in stage.get("selected") or ()}


def missing(study: Study) -> Iterator[str]:
    """Yield what the study still lacks, a sentence each; nothing for a finished one."""
    begun = {stage["name"] for stage in study.stages}
    for stage in study.stages:
        states = [trial["state"] for trial in trials_of(stage)]
        ended = sum(state in ("complete", "failed") for state in states)
        if stage["state"] == "running":
            yield f"stage {stage['name']} is not done: {ended} of {len(states)} trials so far"
        elif stage["state"] == "failed":
            yield f"stage {stage['name']} failed, so nothing follows it"
    waiting = [entry["name"] for entry in study.recipe.get("stages", ())]
    if waiting := [name for name in waiting if name not in begun]:
        yield f"not begun: {', '.join(waiting)}"


def paper(study: Study, metric: str) -> Paper | None:
    """Return the paper's numbers if, and only if, these may stand beside them.

    That is for distances that are FIDs, of data that is named EchoNet-Dynamic and as large.
    """
    name = re.sub("[^a-z]", "", str(study.data.get("name")).lower())
    size = tuple(study.data.get("preparation", {}).get("size", ()))
    return _PAPERS.get(size) if metric == "fid" and "echonetdynamic" in name else None
