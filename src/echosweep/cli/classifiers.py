"""From classifiers to numbers: shift, utility."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from echosweep.cli.options import Many, print_json
from echosweep.config import registered
from echosweep.progress import bar

_CLASSIFIERS = registered("evaluation", "CLASSIFIERS")
_Classifier = Parameter(help=f"Network: {', '.join(_CLASSIFIERS)}.")
_Classifiers = Parameter(help=f"Which to train, with commas: {', '.join(_CLASSIFIERS)}; or all.")


def shift(
    generated: Path,
    reference: Path,
    /,
    *,
    after: Path | None = None,
    classifiers: Annotated[str, _Classifiers] = "all",
    epochs: int = 50,
    lr: float = 1e-4,
    batch: int = 128,
    repeats: int = 3,
    num: Annotated[int | None, Parameter(name=["--num", "-n"])] = None,
    split: str | None = None,
    floor: bool = True,
    seed: int = 0,
    out: Path | None = None,
    html: Path | None = None,
    device: str | None = None,
) -> None:
    """Say whether classifiers can tell generated images from real ones; JSON on stdout, a page.

    Interrupted, the same command continues.

    Parameters
    ----------
    generated
        Frame store of generated images.
    reference
        Frame store of real images.
    after
        Frame store of images of the same model with guidance.
    epochs
        Passes over the images of every fit.
    lr
        Learning rate of Adam.
    batch
        Images a step.
    repeats
        Fits of each classifier, each with another seed and another tenth of the patients to test.
    num
        Images of each store; default: as many as all have.
    split
        Split of the reference: train, val or test; default: all.
    floor
        Also tell real images from real images of other patients.
    seed
        Seed of every draw.
    out
        Folder for shift.json, the page shift.html and the finished fits; default: GENERATED.shift.
    html
        Write the page here instead.
    device
        cpu, cuda, cuda:1, ...; default: a GPU where there is one.
    """
    from echosweep.commands.shift import shift as run
    from echosweep.threads import use_best_threads

    use_best_threads()
    record = run(
        generated,
        reference,
        after=after,
        classifiers=_CLASSIFIERS if classifiers == "all" else classifiers.split(","),
        epochs=epochs,
        lr=lr,
        batch=batch,
        repeats=repeats,
        num=num,
        split=split,
        floor=floor,
        seed=seed,
        out=out,
        html=html,
        device=device,
        show=bar,
    )
    if record:
        print_json(record)


def utility(
    generated: Path,
    reference: Path,
    /,
    *,
    label: str,
    num: Annotated[int | None, Parameter(name=["--num", "-n"])] = None,
    test_split: str = "test",
    teacher: Annotated[bool, Many] = False,
    classifier: Annotated[str, _Classifier] = "resnet18",
    epochs: int = 20,
    lr: float = 3e-4,
    batch: int = 32,
    repeats: int = 3,
    seed: int = 0,
    out: Path | None = None,
    device: str | None = None,
) -> None:
    """Measure what generated images are worth to learn a label from; JSON on stdout, a plot.

    Interrupted, the same command continues.

    Parameters
    ----------
    generated
        Frame store of generated images.
    reference
        Frame store of real images, split by patient: its split train is learnt from.
    label
        What to learn: a word or a number of the videos, as EF. Generated images without it get it
        from a teacher that learnt from the real ones.
    num
        Images of each store to learn from, drawn by seed; default: as many as the smaller has.
    test_split
        Split of REFERENCE to test on: test or val.
    teacher
        Have the generated images labelled by a teacher although they have labels.
    epochs
        Passes over the images; half of that for real and generated ones together.
    lr
        Learning rate of Adam.
    batch
        Images a step.
    repeats
        How often each network is trained, with another seed.
    seed
        Seed of every draw.
    out
        Folder for utility.json, utility.png and what is needed to continue; default:
        GENERATED.utility.
    device
        cpu, cuda, cuda:1, ...; default: a GPU where there is one.
    """
    from echosweep.commands.utility import utility as run
    from echosweep.threads import use_best_threads

    use_best_threads()
    record = run(
        generated,
        reference,
        label=label,
        num=num,
        test_split=test_split,
        teacher=teacher,
        classifier=classifier,
        epochs=epochs,
        lr=lr,
        batch=batch,
        repeats=repeats,
        seed=seed,
        out=out,
        device=device,
        show=bar,
    )
    if record:
        print_json(record)
