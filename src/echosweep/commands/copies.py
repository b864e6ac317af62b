"""Search generated images for copies of training images, before anything is shared.

A search is calibrated on held-out real images, so that a rate of false alarms can be stated; what
was found can be looked at on a page and left out of a new store.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from echosweep import locks, places, runs
from echosweep.build import build_extractor
from echosweep.commands.evaluate import with_features
from echosweep.config import CopiesOptions, FeatureConfig
from echosweep.data.provenance import (
    Knowledge,
    Seen,
    check_order,
    check_real,
    count_missing,
    count_seen,
)
from echosweep.data.store import MANIFEST, FrameStore
from echosweep.distributed import world
from echosweep.environment import environment
from echosweep.errors import UsageError
from echosweep.evaluation.copies import CopyReport, check_copies, find_copies
from echosweep.evaluation.copies_drop import drop_rows
from echosweep.evaluation.features import Extractor
from echosweep.evaluation.sets import Side
from echosweep.progress import Show, hidden
from echosweep.reporting.copies_page import write_copies_page
from echosweep.reporting.copy_sheet import copy_sheet

_PAIRS, _SHOWN_PIXELS = 24, 192  # on the page, and about the width of an image there


def copies(
    generated: str | Path,
    train: str | Path,
    *,
    config: FeatureConfig | None = None,
    show: Show = hidden,
    **options: Any,
) -> dict[str, Any] | None:
    """Return which images of `generated` are copies of images of `train`, as a JSON record.

    Under `torchrun` processes share the features; only the first searches, and returns the record.

    Args:
        generated: Frame store of generated images.
        train: Frame store that the model was trained on.
        config: A CopiesOptions, or the FeatureConfig to compare by.
        show: Makes progress bars.
        options: Fields of CopiesOptions (holdout, rate, drop, features, ...), on top of `config`.

    Raises:
        UsageError: For stores made differently, patients on both sides, or too few images.
    """
    wanted = CopiesOptions.merge(config, options)
    rate, drop, seed = wanted.rate, wanted.drop, wanted.seed
    if drop and not (drop / MANIFEST).is_file():
        places.check_free(drop, "--drop")
    with contextlib.ExitStack() as stack:
        with world(wanted.device) as peers:
            extractor = build_extractor(wanted, wanted.device)
            made, real = FrameStore.open(generated), FrameStore.open(train)
            held = FrameStore.open(wanted.holdout) if wanted.holdout else real
            check_order(made, real, "GENERATED TRAIN")
            if wanted.holdout:
                check_real(held, "--holdout")
            splits = (wanted.train_split, wanted.holdout_split)
            plain = Side(made, made.rows()), *_split(real, held, *splits)
            check_copies(*plain, rate)
            if drop:
                _check_drop(drop, made)
            folder = wanted.out or made.path.with_name(made.path.name + ".copies")
            runs.check_record(folder / "copies.json")
            runs.check_writable(folder / "copies.html", runs.PAGE)
            if peers.rank == 0:
                stack.enter_context(locks.locked(folder))
            cache = runs.cache_folder(wanted.cache)
            sides = [with_features(side, extractor, cache, peers, show) for side in plain]
        if peers.rank > 0:
            return None
        memory = int(wanted.memory_gb * 2**30)
        with show("copies", "images") as progress:
            found = find_copies(*sides, rate=rate, memory=memory, seed=seed, progress=progress)
        record = _record(found, sides, extractor, seed)
        runs.write_json(folder / "copies.json", record)
        write_copies_page(folder / "copies.html", record, _sheet(made, real, found))
        if drop:  # after the page: what was found is kept, even if there is no room for a store
            facts = {"why": "copies of training images", "rate": rate, "train": real.content}
            kept = drop_rows(made, np.flatnonzero(found.flagged), drop, facts)
            record["dropped"] = {"path": str(kept.path), "images": len(kept)}
            runs.write_json(folder / "copies.json", record)
        return record | {"page": str(folder / "copies.html")}


def _check_drop(out: Path, made: FrameStore) -> None:
    """Raise UsageError unless `out` can be made, or is a store that was made of `made` before."""
    if (out / MANIFEST).is_file():
        removed = runs.read_record(out / MANIFEST, "remove it").get("removed", [])
        if removed and removed[-1].get("from") == made.content:
            return  # its rows are compared once they are known
    places.check_free(out, "--drop")


def _record(
    found: CopyReport, sides: Sequence[Side], extractor: Extractor, seed: int
) -> dict[str, Any]:
    """Return the findings as JSON, with the names of the images and where all came from."""
    generated, train, holdout = sides
    record = found.record()
    seen = count_seen(Knowledge.of_store(generated.store), holdout.store, holdout.rows)
    record["seen"] = seen._asdict()
    record["notes"] += _warnings(generated, train, seen)
    for row in record["images"]:
        row["name"] = _name(generated.store, row["position"])
        row["train_name"] = _name(train.store, row["train_row"])
    return record | {
        "seed": seed,
        "features": {extractor.label: extractor.describe()},
        "provenance": {
            "generated": generated.describe(),
            "train": train.describe(),
            "holdout": holdout.describe(),
            "environment": environment(),
        },
    }


def _warnings(generated: Side, train: Side, seen: Seen) -> Iterator[str]:
    """Yield what is doubtful about which videos are searched, and which calibrate (`seen`)."""
    if seen.trained:
        yield (
            f"{seen.trained} of {seen.videos} held-out videos were trained on by the model: "
            "copies of them raise what counts as innocent, so copies pass; give --holdout videos "
            "that no training saw"
        )
    knows = Knowledge.of_store(generated.store)
    if missing := count_missing(knows, train.store, train.rows):
        yield (
            f"{missing} of the {len(knows.trained)} videos that the model was trained on are not "
            "searched, so copies of them are not found; give a TRAIN that holds all of them"
        )
    yield from seen._replace(trained=0, chose=0).warnings(videos="held out")


def _split(
    real: FrameStore, held: FrameStore, train_split: str | None, holdout_split: str | None
) -> tuple[Side, Side]:
    """Return the training and the held-out side; of one store, they never overlap."""
    if held.content != real.content:
        return Side(real, real.rows(train_split)), Side(held, held.rows(holdout_split))
    train_split = train_split or "train"
    if holdout_split == train_split:
        raise UsageError(f"split {train_split!r} cannot be trained on and held out")
    rows = real.rows(train_split)
    others = held.rows(holdout_split) if holdout_split else np.setdiff1d(real.rows(), rows)
    if not len(others):
        raise UsageError(
            f"{real.path} has no image outside split {train_split!r} to calibrate on; give real "
            "images of other patients with --holdout STORE"
        )
    return Side(real, rows), Side(held, others)


def _name(store: FrameStore, row: int) -> str:
    """Return "VIDEO, frame N" of an image; a generated one is its seed alone."""
    entry: Any = store.index[row]
    video = store.videos[int(entry["video"])]
    name = f"{video.name} ({video.patient})" if video.patient else video.name
    return name if name == f"seed-{entry['frame']}" else f"{name}, frame {int(entry['frame'])}"


def _sheet(made: FrameStore, real: FrameStore, found: CopyReport) -> Any:
    worst = found.worst(_PAIRS)
    rows = found.nearest[worst]
    captions = [
        f"p {found.p_values[i]:.4f}{' flagged' if found.flagged[i] else ''}: "
        f"{_name(made, i)} | {_name(real, row)}"
        for i, row in zip(worst.tolist(), rows.tolist(), strict=True)
    ]
    zoom = max(2, _SHOWN_PIXELS // made.preparation.size[1])
    return copy_sheet(made.images[worst], real.images[rows], captions, zoom=zoom)
