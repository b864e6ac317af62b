"""Choose the epoch of a discriminator without a leak: one half chooses, the other reports.

Reynaud & Kainz 2023 sample for every epoch, keep the one with the best FID and report that same
FID. Here halves of the patients, and of the seeds, choose and report in turns, and how much the
paper's way flatters is a number. Invariant: all epochs and the unguided control are drawn from the
same seeds and compared with the same halves, at the same number of images.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from echosweep import locks, runs
from echosweep.build import build_extractor, model_path
from echosweep.commands.epoch_images import (
    Drawing,
    Epoch,
    check_epochs,
    check_prepared_alike,
    count_drawn,
    draw_missing,
    find_epochs,
    settings_of,
)
from echosweep.commands.epoch_record import findings, floor_record, next_command, warnings
from echosweep.commands.evaluate import with_features
from echosweep.config import ChooseEpochOptions, Config, SampleConfig
from echosweep.data.provenance import Knowledge, Seen, check_real, count_seen
from echosweep.data.store import FrameStore
from echosweep.distributed import world
from echosweep.environment import environment
from echosweep.errors import UsageError
from echosweep.evaluation.epoch_choice import Floats, Splits, draw_halves
from echosweep.evaluation.features import Extractor
from echosweep.evaluation.floor import USUAL, largest_half
from echosweep.evaluation.sets import Side
from echosweep.progress import Progress, Show, hidden
from echosweep.reporting import figures
from echosweep.reporting.epoch_figures import plot_epochs
from echosweep.training import checkpoint

FIRST_SEED = 1_000_000  # discriminators learn from images of seeds 0, 1, ...: these are new to them
_REFERENCE = "reference"


class EpochTask(NamedTuple):
    """What is compared, and how it is halved."""

    reference: Side
    by: str
    num: int
    repeats: int
    seed: int


def choose_epoch(
    model: str | Path,
    *,
    data: str | Path,
    out: str | Path,
    config: Config | None = None,
    show: Show = hidden,
    **options: Any,
) -> dict[str, Any] | None:
    """Return which epoch of a discriminator guides `model` best, and how good that is, as JSON.

    The record: choice, unguided, difference, verdict, floor, epochs, metric, n, by, next, warnings,
    features, provenance. The same call continues, and one with a larger `num` draws only the rest.
    Under `torchrun` processes share images and features, and only the first returns the record.

    Args:
        model: The run that is guided, or a snapshot in it.
        data: Frame store of real images, prepared as those that the model was trained on.
        out: Folder for the images of each epoch (frame stores), choice.json and epochs.png.
        config: A ChooseEpochOptions, or the SampleConfig or FeatureConfig to use.
        show: Makes progress bars.
        options: Fields of ChooseEpochOptions (guidance: the discriminator's folder; num, seed,
            repeats, epochs, steps, features, ...), on top of `config`.

    Raises:
        UsageError: For what does not fit, before the first image.
    """
    wanted = ChooseEpochOptions.merge(config, options)
    sampling, seed = wanted.part(SampleConfig), wanted.seed
    assert wanted.guidance is not None  # the options refuse to be without
    run, folder = Path(model), Path(out)
    with contextlib.ExitStack() as stack:
        with world(wanted.device) as peers:
            found = find_epochs(wanted.guidance, wanted.epochs)
            check_epochs(found, run)
            task = _task(data, run, wanted)
            extractor = build_extractor(wanted, wanted.device)
            cache = runs.cache_folder(wanted.cache)
            drawing = Drawing(run, folder, task.num, seed, wanted.batch, peers)
            settings = settings_of(found, sampling)
            there = count_drawn(settings, drawing)
            runs.check_record(folder / "choice.json")
            runs.check_writable(folder / "epochs.png", runs.PNG)
            if peers.rank == 0:
                stack.enter_context(locks.locked(folder))
                runs.remove_temporaries(folder / "distances", alone=True)
            with show(f"images of {len(settings)} sets", "images") as progress:
                draw_missing(settings, there, drawing, progress)
            sides = {
                name: with_features(side, extractor, cache, peers, show)
                for name, side in _sides(task, settings, folder)
            }
        if peers.rank > 0:
            return None
        task = task._replace(reference=sides.pop(_REFERENCE))
        halves = Splits(task.reference, draw_halves(*task))
        with show(f"distances ({extractor.label})", "sets") as progress:
            distances = _distances(sides, halves, task, extractor, folder, progress)
        record = _found(found, distances, halves, task, extractor, _seen(run, found, task))
        chosen = next(e for e in found if e.number == record["choice"]["epoch"])
        knows = Knowledge.of_rows(task.reference.store, chose=task.reference.rows)
        record["warnings"] += _keep_choice(chosen, knows)
        record["next"] = next_command(run, chosen, sampling, seed + task.num)
        record["provenance"] = {
            "model": chosen.facts["guides"]["sha256"],
            "reference": task.reference.describe() | {"split": wanted.split},
            "sampling": sampling.plain(),
            "seeds": [seed, seed + task.num],
            "knows": knows.to_json(),
            "environment": environment(),
        }
        runs.write_json(folder / "choice.json", record)
        figures.save(plot_epochs(record), folder / "epochs.png")
    return record


def _found(
    epochs: Sequence[Epoch],
    distances: Mapping[str, Floats],
    halves: Splits,
    task: EpochTask,
    extractor: Extractor,
    seen: Seen,
) -> dict[str, Any]:
    """Return what was found, and by what, as JSON."""
    n = task.num // 2
    return {
        "metric": extractor.metric,
        "n": n,
        "by": task.by,
        **findings(epochs, distances, task.by),
        "floor": floor_record(halves.floor()),
        "features": extractor.describe(),
        "seen": seen._asdict(),
        "warnings": warnings(task.reference, task.by, n, extractor, seen),
    }


def _seen(model: Path, epochs: Sequence[Epoch], task: EpochTask) -> Seen:
    """Return how many videos of the reference the model and its discriminator know."""
    facts = (checkpoint.read_facts(model_path(model)), epochs[0].facts)
    of_model, of_discriminator = map(Knowledge.of_model, facts)
    return count_seen(of_model.join(of_discriminator), task.reference.store, task.reference.rows)


def _keep_choice(chosen: Epoch, knows: Knowledge) -> list[str]:
    """Keep the videos that chose with the epoch's weights; return a warning where it cannot be.

    So the images that it guides later know them too.
    """
    name = chosen.path.with_suffix("")
    kept = Knowledge.of_model(checkpoint.read_facts(name)).join(knows).to_json()
    try:
        if checkpoint.read_facts(name).get("knows") != kept:
            checkpoint.amend(name, knows=kept)
    except OSError as error:
        return [
            f"{name}.json cannot be written ({error.strerror}), so images of this epoch will not "
            "know which videos chose it: report by other videos"
        ]
    return []


def _task(data: str | Path, model: Path, options: ChooseEpochOptions) -> EpochTask:
    """Return what is compared; halved by frame where the reference is of a single group.

    Raises UsageError for images unlike those of the model, or more than the halves have.
    """
    store = FrameStore.open(data)
    check_real(store, "--data")
    check_prepared_alike(model, store)
    reference = Side(store, store.rows(options.split))
    num, repeats, seed = options.num, options.repeats, options.seed
    by = "video" if reference.groups.max() > 0 else "frame"
    most = largest_half(reference, by, None, repeats, seed)
    if num is not None and num // 2 > most:
        raise UsageError(
            f"--num {num}: half of them is compared with half of {store.path}, which by {by} has "
            f"{most} images; ask for at most {2 * most}, or give more real images"
        )
    return EpochTask(
        reference, by, min(USUAL, 2 * most) if num is None else num // 2 * 2, repeats, seed
    )


def _sides(task: EpochTask, names: Iterable[str], folder: Path) -> Iterator[tuple[str, Side]]:
    """Yield the reference, and the sets of images, which were verified or have just been made."""
    yield _REFERENCE, task.reference
    for name in names:
        store = FrameStore.open(folder / name, verify=False)
        yield name, Side(store, np.arange(task.num))


def _distances(
    sides: Mapping[str, Side],
    halves: Splits,
    task: EpochTask,
    extractor: Extractor,
    folder: Path,
    progress: Progress,
) -> dict[str, Floats]:
    """Return the distances (splits, 2) of each set; those that an earlier call found are read."""
    common = [halves.signature, extractor.signature]
    found = {}
    for i, (name, side) in enumerate(sides.items()):
        progress(i, len(sides))
        key = runs.signature([*common, side.store.content])
        path = folder / "distances" / f"{name}-{key}.json"
        if not path.exists():
            runs.write_record(path, {"distances": halves.distances(side.features).tolist()})
        found[name] = np.array(runs.read_record(path, f"remove {path}")["distances"])
    progress(len(sides), len(sides))
    return found
