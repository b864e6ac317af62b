"""What is kept and said of a discriminator: the facts of an epoch, the figures, the notes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from echosweep.commands.discriminator_split import Split
from echosweep.config import DiscriminatorConfig
from echosweep.evaluation.sets import FEW_GROUPS, Side
from echosweep.guides import published_interval
from echosweep.reporting import discriminator_figures, figures

PLOTS = ("loss.png", "accuracy.png")
_HARM = 1.01  # more of the plain denoiser's error than that is no chance of the noise
EpochRow = dict[str, Any]


def facts_of_epoch(
    row: EpochRow, config: DiscriminatorConfig, guides: dict[str, Any], split: Split, frozen: bool
) -> dict[str, Any]:
    """Return what guidance needs to know of an epoch's weights.

    Args:
        row: What was measured of the epoch.
        config: Of the discriminator.
        guides: Facts of the model that is guided.
        split: The images, real and generated.
        frozen: Whether weights that are not trained lie in a file of their own.
    """
    levels = row["held_out"]["levels"]
    return {
        "kind": "discriminator",
        "epoch": row["epoch"],
        "config": config.model_dump(mode="json", exclude={"classifier"}),
        "guides": guides,
        "data": split.real.store.content,
        "generated": split.generated.store.content,
        "features": "../features" if frozen else None,
        "accuracy": [
            [level["sigma"], (level["real"] + level["generated"]) / 2] for level in levels
        ],
        "best_weight": [[level["sigma"], level["best_weight"]] for level in levels],
    }


def plot(out: Path, rows: Sequence[EpochRow], best: int) -> None:
    """Write the figures of loss and accuracy into the folder; best: the epoch that is marked."""
    figures.save(discriminator_figures.plot_loss(rows, best), out / PLOTS[0])
    accuracy = discriminator_figures.plot_accuracy(rows, best, published_interval())
    figures.save(accuracy, out / PLOTS[1])


def notes(
    out: Path, rows: Sequence[EpochRow], best: EpochRow, held_out_real: Side
) -> Iterator[str]:
    """Yield what a reader must know of the numbers.

    Args:
        out: The discriminator's folder.
        rows: What was measured of each epoch.
        best: The row of the epoch that is kept.
        held_out_real: The real images that were not trained on.
    """
    if mended := sum(row["nonfinite"] > 0 for row in rows):
        yield (
            f"in {mended} of {len(rows)} epochs gradients were not finite and were mended "
            f"(nonfinite in {out / 'metrics.jsonl'})"
        )
    patients = held_out_real.describe()["groups"]
    if patients < FEW_GROUPS:
        yield (
            f"the held-out real images are of {patients} patients: whether others are told "
            "from generated images as well cannot be said"
        )
    levels = best["held_out"]["levels"]
    harmed = [level["sigma"] for level in levels if level["guided_error"] > _HARM]
    if harmed:
        yield (
            "at w = 1 guidance denoises held-out real images worse than the model alone does "
            f"at sigma {', '.join(f'{sigma:g}' for sigma in harmed)}: guide where it helps, "
            "with --weighting error, or --guidance-min and --guidance-max"
        )
