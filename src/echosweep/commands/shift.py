"""The distribution-shift panel: can classifiers tell generated images from real ones, and by what?

Accuracies before and after guidance, against chance and against real images of other patients;
then where it shows, and trivial causes. Everything that can be wrong is checked before the first
fit. Invariant: every finished fit is a file, so the same command again continues.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from echosweep import locks, runs
from echosweep.config import ShiftOptions
from echosweep.data.provenance import Knowledge, Seen, check_order, count_seen, pair_notes
from echosweep.data.store import FrameStore, check_comparable
from echosweep.distributed import world
from echosweep.environment import environment
from echosweep.evaluation.classify import FitSettings
from echosweep.evaluation.floor import halve
from echosweep.evaluation.sets import Side, draw_rows
from echosweep.evaluation.shift import Fit, find_chance, find_fits, find_verdict, summarise
from echosweep.evaluation.shift_causes import find_bands, find_causes
from echosweep.evaluation.shift_folds import (
    Fold,
    Part,
    check_folds,
    count_parts,
    make_folds,
)
from echosweep.progress import Show, hidden
from echosweep.reporting.shift_page import ShiftPictures, write_shift_page

Fits = dict[str, list[Fit]]  # by classifier, one a repeat
Images = NDArray[np.uint8]
Numbers = NDArray[np.floating]
_FLOOR = "floor"
_FEW_STEPS = 1000
_SHOWN = 12


def shift(
    generated: str | Path,
    reference: str | Path,
    *,
    config: ShiftOptions | None = None,
    show: Show = hidden,
    **options: Any,
) -> dict[str, Any] | None:
    """Return whether classifiers can tell `generated` from `reference`, and by what.

    The record is JSON: verdicts, table, chance, bands and causes by column ("generated", "guided",
    "floor"). Under `torchrun` only the first process works, and returns it.

    Args:
        generated: Frame store of generated images.
        reference: Frame store of real images.
        config: The settings; by default the paper's.
        show: Makes progress bars.
        options: Fields of ShiftOptions (after, classifiers, epochs, num, ...), on top of `config`.

    Raises:
        UsageError: For what was asked for wrongly, and for stores that were made differently.
    """
    wanted = ShiftOptions.merge(config, options)
    settings = FitSettings(wanted.epochs, wanted.lr, wanted.batch, wanted.seed)
    repeats, seed, split = wanted.repeats, wanted.seed, wanted.split
    with world(wanted.device) as peers:
        made = {"generated": FrameStore.open(generated)}
        made |= {"guided": FrameStore.open(wanted.after)} if wanted.after else {}
        real = FrameStore.open(reference)
        columns, reference_side = _sides(made, real, wanted.num, split, seed)
        for side in columns.values():
            check_folds(side, reference_side, repeats)
        folder = wanted.out or _beside(made["generated"])
        page = wanted.html or folder / "shift.html"
        runs.check_record(folder / "shift.json")
        runs.check_writable(page, runs.PAGE)
    if peers.rank > 0:
        return None
    with locks.locked(folder):
        runs.remove_temporaries(folder / "fits", alone=True)
        folds = {
            name: make_folds(side, reference_side, repeats, seed) for name, side in columns.items()
        }
        folds |= _floor(
            Side(real, real.rows(split)), len(reference_side), repeats, seed, wanted.floor
        )
        fits = _fit(folds, wanted.classifiers, settings, folder / "fits", peers.device, show)
        with show("causes", "sets") as progress:
            progress(0, len(columns))
            record = _measured(folds, fits) | _explained(columns, reference_side)
            progress(len(columns), len(columns))
        seen = _seen(columns, real, split)
        record |= {
            "settings": asdict(settings) | {"repeats": repeats},
            "seen": {name: found._asdict() for name, found in seen.items()},
            "warnings": [
                *_warnings(columns, reference_side, seen),
                *_cautions(record, folds, settings, wanted.floor),
            ],
            "provenance": {name: side.describe() for name, side in columns.items()}
            | {"reference": reference_side.describe() | {"split": split}}
            | {"environment": environment()},
        }
        runs.write_json(folder / "shift.json", record)
        write_shift_page(page, record, _pictures(folds, fits, record))
        return record | {"page": str(page)}


def _beside(store: FrameStore) -> Path:
    return store.path.with_name(store.path.name + ".shift")


def _sides(
    made: Mapping[str, FrameStore],
    real: FrameStore,
    num: int | None,
    split: str | None,
    seed: int,
) -> tuple[dict[str, Side], Side]:
    """Return the generated sides by column, and the reference, all of as many images."""
    for store in made.values():
        check_order(store, real)
        check_comparable(store, real)
    if num is None:
        num = min(len(real.rows(split)), *map(len, made.values()))
    columns = {name: Side(store, draw_rows(store, num)) for name, store in made.items()}
    return columns, Side(real, draw_rows(real, num, split, seed))


def _floor(pool: Side, num: int, repeats: int, seed: int, wanted: bool) -> dict[str, list[Fold]]:
    """Return the folds of real against real: halves by patient, of at most `num` images.

    Nothing where it is not wanted, or where a half would have too few patients to be held out.
    """
    if not wanted or pool.groups.max() < 3:
        return {}
    halves = halve(pool, "video", seed)
    num = min(num, *map(len, halves))
    first, second = (Side(pool.store, np.sort(pool.rows[half[:num]])) for half in halves)
    parts = count_parts(first, second)
    return {_FLOOR: make_folds(first, second, min(repeats, parts), seed)} if parts > 1 else {}


def _fit(
    folds: Mapping[str, Sequence[Fold]],
    classifiers: Sequence[str],
    settings: FitSettings,
    folder: Path,
    device: torch.device,
    show: Show,
) -> dict[str, Fits]:
    """Return the fits of every classifier, by column."""
    fits: dict[str, Fits] = {name: {} for name in folds}
    for classifier in classifiers:
        for name, parts in folds.items():
            with show(f"{name}, {classifier}", "images") as progress:
                found = find_fits(parts, classifier, settings, folder, device, progress)
            fits[name][classifier] = found
    return fits


def _measured(folds: Mapping[str, Sequence[Fold]], fits: Mapping[str, Fits]) -> dict[str, Any]:
    """Return what the classifiers found, by column."""
    table = {
        name: {classifier: summarise(found) for classifier, found in column.items()}
        for name, column in fits.items()
    }
    chance = {name: find_chance(folds[name], 2 * len(column)) for name, column in fits.items()}
    return {
        "verdicts": {
            name: find_verdict(list(column.values()), chance[name])
            for name, column in table.items()
        },
        "table": table,
        "chance": {name: asdict(margins) for name, margins in chance.items()},
        "images": {name: len(parts[0].reference.side) for name, parts in folds.items()},
    }


def _explained(columns: Mapping[str, Side], reference: Side) -> dict[str, Any]:
    """Return by what single numbers the sides can be told apart, by column."""
    return {
        "causes": {name: find_causes(side, reference) for name, side in columns.items()},
        "bands": {name: find_bands(side, reference) for name, side in columns.items()},
    }


def _seen(columns: Mapping[str, Side], real: FrameStore, split: str | None) -> dict[str, Seen]:
    """Return how many videos of the split each column's model knows."""
    rows = real.rows(split)
    return {
        name: count_seen(Knowledge.of_store(side.store), real, rows)
        for name, side in columns.items()
    }


def _warnings(
    columns: Mapping[str, Side], reference: Side, seen: Mapping[str, Seen]
) -> Iterator[str]:
    """Yield what is doubtful about the sets themselves."""
    for name, side in columns.items():
        if side.store.content == reference.store.content:
            yield f"the {name} images are those of the reference store itself"
        yield from (f"{name}: {note}" for note in pair_notes(side.store, reference.store))
        yield from seen[name].warnings(f"the model of the {name} images")


def _cautions(
    record: Mapping[str, Any],
    folds: Mapping[str, Sequence[Fold]],
    settings: FitSettings,
    floor: bool,
) -> Iterator[str]:
    """Yield what is doubtful about the answers."""
    fold = folds["generated"][0]
    parts, verdicts = count_parts(fold.generated.side, fold.reference.side), record["verdicts"]
    steps = settings.epochs * -(-2 * len(fold.generated.train) // settings.batch)
    if steps < _FEW_STEPS:
        yield (
            f"a fit has {steps} steps, those of the paper 35,000: a classifier that has not yet "
            "learnt to tell the sets apart is no proof that they are alike; more --epochs or images"
        )
    for name, verdict in verdicts.items():
        told = [row["name"] for row in record["causes"].get(name, ()) if row["told_apart"]]
        if told and verdict != "told apart":
            yield (
                f"single numbers tell the {name} images apart where no classifier does "
                f"({', '.join(told)}): mend these first, and train the classifiers for longer"
            )
    if verdicts["generated"].startswith("too few") and len(folds["generated"]) < parts:
        yield f"--repeats {parts} tests every patient once, and can tell more"
    if floor and _FLOOR not in folds:
        yield "no floor: half of the reference has too few patients or videos to be held out"
    images = record["images"]
    if images.get(_FLOOR, images["generated"]) < images["generated"]:
        yield (
            f"the floor is of {images[_FLOOR]} images a side, the other columns of "
            f"{images['generated']}: its classifiers had less to learn from"
        )
    if verdicts.get(_FLOOR) == "told apart":
        yield (
            "the floor itself is told apart, which chance does in fewer than 1 of 20 panels: the "
            "halves differ, so look for one patient under two names"
        )


def _pictures(
    folds: Mapping[str, Sequence[Fold]], fits: Mapping[str, Fits], record: Mapping[str, Any]
) -> ShiftPictures:
    """Return the maps of each column, and images that the best classifier is surest about."""
    maps = {name: _maps(column) for name, column in fits.items() if name != _FLOOR}
    table = record["table"]["generated"]
    best = max(table, key=lambda name: float(table[name]["accuracy"]))
    found, parts = fits["generated"][best], list(zip(*folds["generated"], strict=True))
    made = _surest(parts[0], [fit.generated for fit in found])
    return ShiftPictures(maps, best, made, _surest(parts[1], [fit.reference for fit in found]))


def _maps(column: Fits) -> dict[str, dict[str, Numbers]]:
    """Return the mean of each map over repeats, by classifier."""
    kinds = ("slope", "on_generated", "on_reference")
    return {
        classifier: {kind: np.mean([getattr(fit, kind) for fit in fits], axis=0) for kind in kinds}
        for classifier, fits in column.items()
    }


def _surest(parts: Sequence[Part], scores: Sequence[Numbers]) -> tuple[Images, Images]:
    """Return the tested images of a side with the highest scores, and with the lowest."""
    rows = np.concatenate([part.test for part in parts])[np.argsort(np.concatenate(scores))]
    side = parts[0].side
    return side.images(rows[::-1][:_SHOWN]), side.images(rows[:_SHOWN])
