"""What a study has to give away: its winner, and all that must be said of it.

Everything is read and checked before anything is written. Invariant: a winner whose images were not
searched for copies of patients, or still hold one that was flagged, is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echosweep.data.store import FrameStore
from echosweep.errors import UsageError
from echosweep.export.weights import Weights, find_weights
from echosweep.places import check_no_way_out
from echosweep.reporting.study_checks import understood
from echosweep.reporting.study_records import Study, read_study
from echosweep.text import below

Record = Mapping[str, Any]
_FIX = "run the study again"


@dataclass(frozen=True)
class Winner:
    """The winner of a finished study.

    name, data: of the study. final: the final stage's result for it. shift: the record of a shift
    stage, where there is one. images: those that may be given away. guide: None where none guides.
    """

    name: str
    data: Record
    final: Record
    shift: Record | None
    images: FrameStore
    model: Weights
    guide: Weights | None

    @property
    def source(self) -> Record:
        """Return how the images were drawn: model, settings, seeds."""
        return dict(self.images.manifest["source"])


def find_winner(study: Path) -> Winner:
    """Return the winner of the study in that folder.

    Raises UsageError for a folder that is no study, a study that is not finished or has no final
    stage, and a winner that was not searched for copies or has them still.
    """
    check_no_way_out(study)
    found = read_study(study)
    with understood(study):
        return _winner(found)


def _winner(about: Study) -> Winner:
    study, stages = about.path, about.stages
    final = _final(study, stages)
    images = _shareable(study, final)
    source = images.manifest["source"]
    guidance = source["sample"].get("guidance")
    return Winner(
        name=about.identity["name"],
        data=dict(about.data),
        final=final,
        shift=next((s["result"] for s in stages if _is_done(s, "shift")), None),
        images=images,
        model=find_weights(study, source["model"]),
        guide=find_weights(study, guidance["sha256"]) if guidance else None,
    )


def _is_done(stage: Record, kind: str) -> bool:
    return (stage["stage"], stage["state"]) == (kind, "done")


def _final(study: Path, stages: Sequence[Record]) -> Record:
    """Return what the last final stage says of the winner; raise UsageError if none is done."""
    running = [stage["name"] for stage in stages if stage["state"] == "running"]
    done = [stage for stage in stages if _is_done(stage, "final")]
    if running or not done:
        why = f"stage {running[0]!r} is not done" if running else "no stage of kind final is done"
        raise UsageError(
            f"{study} is not finished: {why}. Run the study to its end; a recipe without a stage "
            "`final` needs one"
        )
    return dict(done[-1]["result"]["winner"])


def _shareable(study: Path, final: Mapping[str, Any]) -> FrameStore:
    """Return the images that may be given away; raise UsageError unless they were searched.

    They are those of the search, without what it flagged: by contents and rows, not by paths.
    """
    copies = final.get("copies") or {}
    if not final.get("shareable") or "flagged" not in copies:
        why = f" ({copies['error']})" if "error" in copies else ""
        raise UsageError(
            f"images of {study}'s winner cannot be given away: copies of training images were not "
            f"sought{why}. Mend that, and run the final stage again"
        )
    images = FrameStore.open(below(study, final["shareable"], "the final stage"))
    searched = copies["provenance"]["generated"]["content"]
    removed = [e for e in images.manifest.get("removed", []) if e["from"] == searched]
    if images.content != searched and not removed:
        raise UsageError(
            f"{images.path} holds other images than those that were searched for copies; {_FIX}"
        )
    rows = {row for entry in removed for row in entry["rows"]}
    kept = {row["position"] for row in copies.get("images", [])} - rows
    if kept or len(rows) < copies["flagged"]:
        raise UsageError(
            f"{images.path} still holds images that were flagged as copies of patients: "
            f"{copies['flagged']} were flagged, {len(rows)} removed; {_FIX}"
        )
    return images
