"""From images to numbers: evaluate, floor, copies."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from echosweep.cli.options import Features, Many, Metrics, print_json
from echosweep.config import FeatureConfig
from echosweep.progress import bar


def evaluate(
    generated: Path,
    reference: Path,
    /,
    *,
    metrics: Annotated[str, Metrics] = "frechet",
    num: Annotated[int | None, Parameter(name=["--num", "-n"])] = None,
    split: str | None = None,
    allow_difference: Annotated[list[str] | None, Many] = None,
    seed: int = 0,
    out: Path | None = None,
    details: Annotated[bool, Many] = False,
    options: Features = {},  # noqa: B006
) -> None:
    """Measure how far generated images are from real ones (FID and more); JSON on stdout.

    Parameters
    ----------
    generated
        Frame store of generated images.
    reference
        Frame store of real images.
    num
        Images of each store: the first of GENERATED, drawn from REFERENCE by seed; default: all.
    split
        Split of the reference: train, val or test; default: all.
    allow_difference
        Compare although the stores differ in this (size, fit, filter, ...); may be repeated.
    seed
        Seed of every draw.
    out
        Folder for evaluation.json and the page evaluation.html; with --metrics all, by default
        GENERATED.evaluation.
    details
        Print the curves too, as evaluation.json has them.
    """
    from echosweep.commands.evaluate import evaluate as run
    from echosweep.threads import use_best_threads

    use_best_threads()
    record = run(
        generated,
        reference,
        metrics=metrics,
        num=num,
        split=split,
        allow_difference=allow_difference or (),
        seed=seed,
        out=out,
        config=FeatureConfig.make(options),
        show=bar,
    )
    if record:
        print_json(record if details else {k: v for k, v in record.items() if k != "details"})


def floor(
    store: Path,
    /,
    *,
    by: str = "frame,video",
    num: Annotated[int | None, Parameter(name=["--num", "-n"])] = None,
    splits: int = 5,
    split: str | None = None,
    seed: int = 0,
    plot: Path | None = None,
    options: Features = {},  # noqa: B006
) -> None:
    """Measure the optimal FID: halves of real images against each other; JSON on stdout.

    Parameters
    ----------
    store
        Frame store of real images.
    by
        How to halve: frame (as in the paper), video (no patient on both sides), or both.
    num
        Images in each half; default: as many as there are.
    splits
        How often the halves are drawn, for mean and standard deviation.
    split
        Split of the store: train, val or test; default: all.
    seed
        Seed of the first draw.
    plot
        PNG of the distance against the number of images, with the fitted line.
    """
    from echosweep.commands.floor import floor as run
    from echosweep.commands.floor import print_table
    from echosweep.threads import use_best_threads

    use_best_threads()
    record = run(
        store,
        by=by.split(","),
        num=num,
        splits=splits,
        split=split,
        seed=seed,
        plot=plot,
        config=FeatureConfig.make(options),
        show=bar,
    )
    if record:
        print_table(record)
        print_json(record)


def copies(
    generated: Path,
    train: Path,
    /,
    *,
    holdout: Path | None = None,
    train_split: str | None = None,
    holdout_split: str | None = None,
    rate: float = 0.01,
    drop: Path | None = None,
    out: Path | None = None,
    memory_gb: Annotated[float, Parameter(name=["--memory-gb", "--memory"])] = 1.0,
    seed: int = 0,
    options: Features = {},  # noqa: B006
) -> None:
    """Search generated images for copies of training images; JSON on stdout, a page to look at.

    Parameters
    ----------
    generated
        Frame store of generated images.
    train
        Frame store that the model was trained on.
    holdout
        Real images of other patients, to calibrate on; default: those of TRAIN outside its
        training split.
    train_split
        Split of TRAIN that was trained on; default: train where HOLDOUT is TRAIN itself, else all.
    holdout_split
        Split of HOLDOUT to calibrate on; default: all that is not trained on.
    rate
        Share of images that are no copies but are flagged.
    drop
        Write a new store here, without the flagged images.
    out
        Folder for copies.json and the page copies.html; default: GENERATED.copies.
    memory_gb
        Memory for the blocks of the search.
    seed
        Seed of the cells of C_T and of the intervals.
    """
    from echosweep.commands.copies import copies as run
    from echosweep.threads import use_best_threads

    use_best_threads()
    record = run(
        generated,
        train,
        holdout=holdout,
        train_split=train_split,
        holdout_split=holdout_split,
        rate=rate,
        drop=drop,
        out=out,
        memory_gb=memory_gb,
        seed=seed,
        config=FeatureConfig.make(options),
        show=bar,
    )
    if record:
        print_json(record)
