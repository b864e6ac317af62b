"""What guides a model: discriminate, choose-epoch."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from echosweep.cli.options import Discriminate, Features, Many, Sample, print_json, read_config
from echosweep.config import DiscriminatorConfig, FeatureConfig, SampleConfig
from echosweep.errors import UsageError
from echosweep.progress import bar
from echosweep.runs import command_line


def discriminate(
    *,
    data: Path,
    generated: Path,
    model: Path,
    out: Path,
    config: Path | None = None,
    options: Discriminate = {},  # noqa: B006
    device: str | None = None,
) -> None:
    """Train a discriminator that guides a model. Interrupted, the same command continues.

    Parameters
    ----------
    data
        Frame store of real images: its train split is learned from, its val split measured on.
    generated
        Frame store that `sample` drew from MODEL, without guidance.
    model
        Run folder of the model to guide, or a snapshot's .safetensors file in it.
    out
        Folder to make: weights of every epoch, log, accuracy by noise level.
    config
        YAML file with any of the options below, as OUT/config.yaml; options given here win.
    device
        cpu, cuda, cuda:1, ...; default: a GPU where there is one.
    """
    from echosweep.commands.discriminate import discriminate as run
    from echosweep.compute import prepare_process

    prepare_process()

    settings = read_config(DiscriminatorConfig, config, options)
    with bar("discriminate", "images") as progress:
        record = run(data, generated, model, out, config=settings, device=device, progress=progress)
    if record:
        for note in record["notes"]:
            print(f"note: {note}", file=sys.stderr)
        print(
            f"{out}: epoch {record['epoch']} of {record['epochs']}, held-out accuracy "
            f"{record['held_out']['accuracy']:.2f} (trained on: "
            f"{record['training']['accuracy']:.2f}). "
            f"Next: {command_line('sample', model, '--guidance', out, '--w1', 5, '--out', 'STORE')}"
        )


def choose_epoch(
    model: Path,
    /,
    *,
    data: Path,
    out: Path,
    num: Annotated[int | None, Parameter(name=["--num", "-n"])] = None,
    seed: int = 1_000_000,
    splits: int = 10,
    split: str | None = None,
    epochs: str = "every",
    batch: int = 64,
    details: Annotated[bool, Many] = False,
    sampling: Sample = {},  # noqa: B006
    options: Features = {},  # noqa: B006
) -> None:
    """Choose the epoch of a discriminator (--guidance DISC) without a leak; JSON on stdout.

    Images are drawn with each epoch; on halves of patients and seeds one half chooses, the other
    reports. Interrupted, the same command continues.

    Parameters
    ----------
    model
        Run folder of the model that is guided, or a snapshot's .safetensors file in it.
    data
        Frame store of real images, best of patients that no training saw.
    out
        Folder for the images of each epoch, choice.json and epochs.png.
    num
        Images of each epoch, half of them to choose and half to report; default: as many as DATA
        has for its halves, at most 50,000. More take over those that are there.
    seed
        Image i has seed SEED + i. The default is beyond the seeds of a discriminator's training.
    splits
        How often patients and seeds are halved.
    split
        Split of DATA: train, val or test; default: all.
    epochs
        Epochs to choose from, as 1,5,10; or every.
    batch
        Images drawn at a time; changes no image.
    details
        Print the distance of every half too, as choice.json has them.
    """
    from echosweep.commands.choose_epoch import choose_epoch as run
    from echosweep.commands.epoch_record import print_table
    from echosweep.compute import prepare_process

    prepare_process()

    record = run(
        model,
        data=data,
        out=out,
        num=num,
        seed=seed,
        splits=splits,
        split=split,
        epochs=_parse_epochs(epochs),
        batch=batch,
        sampling=SampleConfig.make(sampling),
        config=FeatureConfig.make(options),
        show=bar,
    )
    if record:
        print_table(record)
        print_json(record if details else {k: v for k, v in record.items() if k != "details"})


def _parse_epochs(text: str) -> list[int] | None:
    if text == "every":
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--epochs {text!r} must be numbers, as 1,5,10, or every") from None
