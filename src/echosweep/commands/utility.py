"""Measure what generated images are worth for a task: networks learn from them, real ones test.

What each network says of the test is kept in OUT/fits, so the same call again continues, and one
with more repeats trains only those.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from echosweep import locks, runs
from echosweep.config import UtilityOptions
from echosweep.data.provenance import Knowledge, Seen, check_order, count_seen, pair_notes
from echosweep.data.store import FrameStore
from echosweep.distributed import world
from echosweep.environment import environment
from echosweep.evaluation.classify import FitSettings
from echosweep.evaluation.utility import UtilityTrial, judge, set_up
from echosweep.evaluation.utility_fits import Fits
from echosweep.progress import Show, hidden
from echosweep.reporting import figures
from echosweep.reporting.utility_figures import plot_utility


def utility(
    generated: str | Path,
    reference: str | Path,
    *,
    config: UtilityOptions | None = None,
    show: Show = hidden,
    **options: Any,
) -> dict[str, Any] | None:
    """Return what `generated` is worth to learn a label from, against real images, as JSON.

    The record: worth and gain with intervals, arms, n_test (see `judge`), n, labels ("generated" or
    "teacher"), network, settings, seen (how many videos of the test the generator knows),
    warnings, provenance. Under `torchrun` only the first process works and returns it.

    Args:
        generated: Frame store of generated images.
        reference: Frame store of real images, with a label by video.
        config: The settings.
        show: Makes progress bars.
        options: Fields of UtilityOptions (label, num, teacher, epochs, ...), on top of `config`.

    Raises:
        UsageError: Before any training, for what could tell nothing.
    """
    wanted = UtilityOptions.merge(config, options)
    network, repeats, seed = wanted.network, wanted.repeats, wanted.seed
    settings = FitSettings(wanted.epochs, wanted.lr, wanted.batch, seed)
    with world(wanted.device) as peers:
        made, real = FrameStore.open(generated), FrameStore.open(reference)
        check_order(made, real)
        trial = set_up(
            *(made, real, wanted.label),
            num=wanted.num,
            test_split=wanted.test_split,
            teacher=wanted.teacher,
            seed=seed,
        )
        folder = wanted.out or made.path.with_name(made.path.name + ".utility")
        runs.check_record(folder / "utility.json")
        runs.check_writable(folder / "utility.png", runs.PNG)
    if peers.rank > 0:
        return None
    seen = count_seen(Knowledge.of_store(made), real, real.rows(wanted.test_split))
    fits = Fits(trial, folder / "fits", network, settings, peers.device)
    with locks.locked(folder), show(f"utility for {wanted.label}", "images") as progress:
        runs.remove_temporaries(folder / "fits", alone=True)
        found = judge(trial, fits.outputs(repeats, progress))
        record = {
            **found,
            "n": len(trial.generated),
            "labels": "teacher" if trial.by_teacher else "generated",
            "network": network,
            "settings": wanted.model_dump(include={"epochs", "lr", "batch", "repeats"}),
            "seen": seen._asdict(),
            "warnings": [*found["warnings"], *_warnings(trial, seen)],
            "provenance": {
                "generated": trial.generated.describe() | {"seed": seed},
                "reference": trial.real.describe() | {"split": "train", "seed": seed},
                "test": trial.test.describe() | {"split": wanted.test_split},
                "environment": environment(),
            },
        }
        runs.write_json(folder / "utility.json", record)
        figures.save(plot_utility(record), folder / "utility.png")
    return record


def _warnings(trial: UtilityTrial, seen: Seen) -> Iterator[str]:
    made, real = trial.generated.store, trial.real.store
    yield from pair_notes(made, real)
    yield from seen.warnings("the generator", "of the test")
    if seen.trained:
        yield "images of the generator may show the test patients; train it on split train"
    trained_on = made.manifest.get("source", {}).get("trained_on")
    if seen.by_name and trained_on not in (None, real.content):
        yield (
            "the generator was trained on another store: see to it that no test patient is in it, "
            "or its images may show them"
        )
