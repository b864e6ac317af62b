"""From images to numbers: evaluate, floor, copies, shift, utility."""

from pathlib import Path

import echosweep
from echosweep.cli.options import Details, print_json, takes, use_best_threads, without_details
from echosweep.config import (
    CopiesOptions,
    EvaluateOptions,
    FloorOptions,
    ShiftOptions,
    UtilityOptions,
)
from echosweep.progress import bar


@takes(EvaluateOptions)
def evaluate(
    generated: Path, reference: Path, /, *, options: EvaluateOptions, details: Details = False
) -> None:
    """Measure how far generated images are from real ones (FID and more); JSON on stdout.

    Parameters
    ----------
    generated
        Frame store of generated images.
    reference
        Frame store of real images.
    """
    use_best_threads()
    record = echosweep.evaluate(generated, reference, config=options, show=bar)
    if record:
        print_json(without_details(record, details))


@takes(FloorOptions)
def floor(store: Path, /, *, options: FloorOptions) -> None:
    """Measure the optimal FID: halves of real images against each other; JSON on stdout.

    Parameters
    ----------
    store
        Frame store of real images.
    """
    from echosweep.commands.floor import print_table

    use_best_threads()
    record = echosweep.floor(store, config=options, show=bar)
    if record:
        print_table(record)
        print_json(record)


@takes(CopiesOptions)
def copies(generated: Path, train: Path, /, *, options: CopiesOptions) -> None:
    """Search generated images for copies of training images; JSON on stdout, a page to look at.

    Parameters
    ----------
    generated
        Frame store of generated images.
    train
        Frame store that the model was trained on.
    """
    use_best_threads()
    record = echosweep.copies(generated, train, config=options, show=bar)
    if record:
        print_json(record)


@takes(ShiftOptions)
def shift(generated: Path, reference: Path, /, *, options: ShiftOptions) -> None:
    """Say whether classifiers can tell generated images from real ones; JSON on stdout, a page.

    Interrupted, the same command continues.

    Parameters
    ----------
    generated
        Frame store of generated images.
    reference
        Frame store of real images.
    """
    use_best_threads()
    record = echosweep.shift(generated, reference, config=options, show=bar)
    if record:
        print_json(record)


@takes(UtilityOptions)
def utility(generated: Path, reference: Path, /, *, options: UtilityOptions) -> None:
    """Measure what generated images are worth to learn a label from; JSON on stdout, a plot.

    Interrupted, the same command continues.

    Parameters
    ----------
    generated
        Frame store of generated images.
    reference
        Frame store of real images, split by patient: its split train is learnt from.
    """
    use_best_threads()
    record = echosweep.utility(generated, reference, config=options, show=bar)
    if record:
        print_json(record)
