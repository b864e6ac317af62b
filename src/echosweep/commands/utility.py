"""Measure what generated images are worth for a task: networks learn from them, real ones test.

What each network says of the test is kept in OUT/fits, so the same call again continues, and one
with more repeats trains only those.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from echosweep import locks, runs
from echosweep.config import check_choice
from echosweep.data.provenance import Knowledge, Seen, check_order, count_seen, pair_notes
from echosweep.data.store import FrameStore
from echosweep.distributed import world
from echosweep.environment import environment
from echosweep.errors import UsageError
from echosweep.evaluation import CLASSIFIERS
from echosweep.evaluation.classify import FitSettings
from echosweep.evaluation.utility import Trial, judge, set_up
from echosweep.evaluation.utility_fits import Fits
from echosweep.progress import Show, hidden
from echosweep.reporting import figures
from echosweep.reporting.utility_figures import plot_utility


def utility(
    generated: str | Path,
    reference: str | Path,
    *,
    label: str,
    num: int | None = None,
    test_split: str = "test",
    teacher: bool = False,
    classifier: str = "resnet18",
    epochs: int = 20,
    lr: float = 3e-4,
    batch: int = 32,
    repeats: int = 3,
    seed: int = 0,
    out: str | Path | None = None,
    device: str | None = None,
    show: Show = hidden,
) -> dict[str, Any] | None:
    """Return what `generated` is worth to learn `label` from, against real images, as JSON.

    label: a word (classification) or a number (regression) of the videos of `reference`, and of
    `generated`; where it has none, or with `teacher`, networks that learnt from the real images
    give it. num: images of each to learn from; None for as many as the smaller has. classifier: a
    key of CLASSIFIERS. epochs, lr, batch: of every training; real and generated together have half
    the epochs, so as many steps. repeats: seeds that each arm is trained with. out: a folder for
    utility.json, utility.png and the networks' outputs, by default beside `generated`.

    The record: worth and gain with intervals, arms, n_test (see `judge`), n, labels ("generated" or
    "teacher"), classifier, settings, seen (how many videos of the test the generator knows),
    warnings, provenance. Under `torchrun` only the first process works and returns it. Raises
    UsageError, before any training, for what could tell nothing.
    """
    check_choice("classifier", classifier, list(CLASSIFIERS))
    if min(epochs, batch - 1, repeats, seed + 1) < 1 or not lr > 0:
        raise UsageError(
            f"epochs {epochs} and repeats {repeats} must be 1 or more, batch {batch} 2 or more, "
            f"seed {seed} 0 or more, lr {lr} more than 0"
        )
    with world(device) as peers:
        made, real = FrameStore.open(generated), FrameStore.open(reference)
        check_order(made, real)
        trial = set_up(
            made, real, label, num=num, test_split=test_split, teacher=teacher, seed=seed
        )
        folder = Path(out) if out else made.path.with_name(made.path.name + ".utility")
        runs.check_record(folder / "utility.json")
        runs.check_writable(folder / "utility.png", runs.PNG)
    if peers.rank > 0:
        return None
    seen = count_seen(Knowledge.of_store(made), real, real.rows(test_split))
    settings = FitSettings(epochs, lr, batch, seed)
    fits = Fits(trial, folder / "fits", classifier, settings, peers.device)
    with locks.locked(folder), show(f"utility for {label}", "images") as progress:
        runs.remove_temporaries(folder / "fits", alone=True)
        found = judge(trial, fits.outputs(repeats, progress))
        record = {
            **found,
            "n": len(trial.generated),
            "labels": "teacher" if trial.by_teacher else "generated",
            "classifier": classifier,
            "settings": {"epochs": epochs, "lr": lr, "batch": batch, "repeats": repeats},
            "seen": seen._asdict(),
            "warnings": [*found["warnings"], *_warnings(trial, seen)],
            "provenance": {
                "generated": trial.generated.describe() | {"seed": seed},
                "reference": trial.real.describe() | {"split": "train", "seed": seed},
                "test": trial.test.describe() | {"split": test_split},
                "environment": environment(),
            },
        }
        runs.write_json(folder / "utility.json", record)
        figures.save(plot_utility(record), folder / "utility.png")
    return record


def _warnings(trial: Trial, seen: Seen) -> Iterator[str]:
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
