"""What `choose-epoch` found, as a record, as a table and in words.

Invariant: nothing is said of other patients than one where the reference is of one alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from echosweep.commands.epoch_images import UNGUIDED, Epoch, stores_of
from echosweep.config import SampleConfig
from echosweep.data.provenance import Seen
from echosweep.evaluation.epoch_choice import Choice, Floats
from echosweep.evaluation.features import Extractor
from echosweep.evaluation.floor import spread
from echosweep.evaluation.sets import FEW_GROUPS, Side
from echosweep.runs import command_line
from echosweep.streams import console, table


def findings(epochs: Sequence[Epoch], distances: Mapping[str, Floats], by: str) -> dict[str, Any]:
    """Return choice, unguided, difference, verdict and epochs as JSON.

    distances: (splits, 2) by store. by: how the reference was halved.
    """
    stores = stores_of(epochs)
    values = np.stack([distances[stores[epoch.number]] for epoch in epochs])
    record = Choice([e.number for e in epochs], values, distances[UNGUIDED]).record()
    for row, epoch in zip(record["epochs"], epochs, strict=True):
        accuracy = [at_level for _, at_level in epoch.facts["accuracy"]]
        row["accuracy"] = float(np.mean(accuracy)) if accuracy else None
        row["sha256"], row["images"] = epoch.facts["sha256"], stores[epoch.number]
    if by == "frame":
        record["difference"]["interval"] = None
    return record | {"verdict": _verdict(record["difference"]["interval"])}


def _verdict(interval: list[float] | None) -> str:
    if interval is None:
        return "one patient or video cannot tell whether guidance helps others"
    if interval[1] < 0:
        return "guidance helps"
    return "guidance does harm" if interval[0] > 0 else "it cannot be told whether guidance helps"


def floor_record(values: Floats) -> dict[str, Any]:
    """Return the distances between real halves as JSON."""
    found = values.tolist()
    return {"mean": float(np.mean(found)), "std": spread(found), "values": found}


def next_command(model: Path, epoch: Epoch, sampling: SampleConfig, seed: int) -> str:
    """Return the command that draws from the chosen epoch, from seeds that did not choose it."""
    config = SampleConfig.merge(sampling, {"guidance": epoch.path})
    return command_line(
        "sample", model, *config.words(), "--seed", seed, "--num", 50000, "--out", "STORE"
    )


def warnings(reference: Side, by: str, n: int, extractor: Extractor, seen: Seen) -> list[str]:
    """Return what a reader must know. n: images in each half. seen: of the reference's videos."""
    # Videos that were held out from a discriminator, or chose before, may choose.
    known = seen._replace(chose=0).warnings("the discriminator, or the model,")
    return [*extractor.notes, *_warnings(reference, by, n, extractor.dims), *known]


def _warnings(reference: Side, by: str, n: int, dims: int) -> Iterator[str]:
    groups = int(reference.groups.max()) + 1
    if by == "frame":
        yield (
            "the reference is one patient or video, so its halves are by frame: they tell of this "
            "heart alone, and there is no interval"
        )
    elif groups < FEW_GROUPS:
        yield (
            f"the reference is of {groups} patients or videos: errors and intervals are too narrow "
            f"with fewer than {FEW_GROUPS}"
        )
    if n <= dims:
        yield (
            f"{n} images a half for {dims} features: the covariance has rank {n - 1} at most, so "
            "only the order of the epochs and the control counts"
        )


def print_table(record: Mapping[str, Any]) -> None:
    """Print what was found to stderr, and the next command."""
    out, metric = console(stderr=True), record["metric"]
    halves = 2 * len(record["details"]["picked"])
    title = f"{metric}, {record['n']:,} images against as many real ones"
    columns = ("epoch", metric, "error", "accuracy", f"chosen by, of {halves} halves")
    rows = table(*columns, title=title)
    for row in (*record["epochs"], {"epoch": UNGUIDED, **record["unguided"]}):
        accuracy = f"{row['accuracy']:.1%}" if row.get("accuracy") is not None else ""
        numbers = (f"{row['mean']:.4g}", f"{row['error']:.2g}", accuracy)
        rows.add_row(str(row["epoch"]), *numbers, str(row.get("chosen", "")))
    out.print(rows)
    for sentence in _sentences(record):
        out.print(sentence, soft_wrap=True)


def _sentences(record: Mapping[str, Any]) -> Iterator[str]:
    choice, metric, apart = record["choice"], record["metric"], record["difference"]
    reported, leak = choice["reported"], choice["leak"]
    yield (
        f"Epoch {choice['epoch']}. Chosen on one half, reported on the other: {metric} "
        f"{reported['mean']:.4g} ± {reported['error']:.2g}."
    )
    yield (
        f"Reported on the half that chose: {choice['same_half']:.4g}. The leak: "
        f"{leak['mean']:.2g} ± {leak['std']:.2g}."
    )
    yield f"Guided - unguided: {apart['mean']:+.3g} ± {apart['error']:.2g}: {record['verdict']}."
    yield f"Next: {record['next']}"
