"""Report a candidate: fresh seeds, patients that chose nothing, every metric, copies removed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from echosweep import folders
from echosweep.commands.copies import copies
from echosweep.data.store import FILES, MANIFEST
from echosweep.environment import environment
from echosweep.errors import UsageError
from echosweep.study.artifacts import Artifacts
from echosweep.study.candidate import Candidate
from echosweep.study.commands import Drawn
from echosweep.study.tasks.measure import about, compare, distances, rows_in


def finish(
    artifacts: Artifacts,
    *,
    candidate: dict[str, Any],
    num: int,
    seed: int,
    split: str,
    metrics: Sequence[str],
    rate: float,
) -> dict[str, Any]:
    """Return what is reported of a candidate, and the store of its images that may be shared.

    paper: the distance by the protocol of Reynaud & Kainz 2023, real images of the training split
    on one side, which flatters a model that remembers them.
    """
    made = Candidate.make(candidate)
    images = artifacts.images(made, num, seed)
    drawn = Drawn(num, seed, min(num, rows_in(artifacts.data, split)), split, tuple(metrics))
    record = compare(artifacts, images, drawn, artifacts.study / "evaluation" / images.name)
    trained_on = made.train.split
    as_published = Drawn(
        num, seed, min(num, rows_in(artifacts.data, trained_on)), trained_on, ("frechet",)
    )
    paper = compare(artifacts, images, as_published)
    return {
        "measure": {
            **about(artifacts, made, images, drawn),
            **distances(record),
            "n_generated": record["n_generated"],
            "n_reference": record["n_reference"],
            "environment": environment(),
        },
        "record": record,
        "paper": {
            "split": trained_on,
            "n": paper["n_reference"],
            **distances(paper),
        },
        "candidate": made.model_dump(mode="json"),
        **_shareable(artifacts, images, trained_on, rate),
    }


def _shareable(artifacts: Artifacts, images: Path, trained_on: str, rate: float) -> dict[str, Any]:
    """Return what the search for copies found, and the store without them."""
    kept = images.with_name(images.name + "-shareable")
    if kept.exists():  # of a search that was cut short, or at another rate
        folders.remove_files(kept, (*FILES, MANIFEST))
    try:
        found = copies(
            images,
            artifacts.data,
            train_split=trained_on,
            rate=rate,
            drop=kept,
            out=artifacts.study / "copies" / images.name,
            config=artifacts.features.model_copy(
                update={"features": artifacts.features.chosen[:1]}
            ),
            show=artifacts.show,
        )
    except UsageError as error:  # too few real images to know what an innocent one looks like
        return {"copies": {"error": str(error)}, "shareable": None}
    assert found
    return {
        "copies": {name: value for name, value in found.items() if name != "images"},
        "shareable": str(kept.relative_to(artifacts.study)),
    }
