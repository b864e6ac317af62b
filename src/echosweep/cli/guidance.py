"""What guides a model: discriminate, choose-epoch."""

import sys
from pathlib import Path

import echosweep
from echosweep.cli.options import Details, prepare_process, print_json, takes, without_details
from echosweep.config import ChooseEpochOptions, DiscriminateOptions
from echosweep.progress import bar
from echosweep.runs import command_line


@takes(DiscriminateOptions)
def discriminate(
    *, data: Path, generated: Path, model: Path, out: Path, options: DiscriminateOptions
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
    """
    prepare_process()
    with bar("discriminate", "images") as progress:
        record = echosweep.discriminate(
            data, generated, model, out, config=options, progress=progress
        )
    if record:
        for note in record["notes"]:
            print(f"note: {note}", file=sys.stderr)
        print(
            f"{out}: epoch {record['epoch']} of {record['epochs']}, held-out accuracy "
            f"{record['held_out']['accuracy']:.2f} (trained on: "
            f"{record['training']['accuracy']:.2f}). "
            f"Next: {command_line('sample', model, '--guidance', out, '--w1', 5, '--out', 'STORE')}"
        )


@takes(ChooseEpochOptions)
def choose_epoch(
    model: Path, /, *, data: Path, out: Path, options: ChooseEpochOptions, details: Details = False
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
    """
    from echosweep.commands.epoch_record import print_table

    prepare_process()
    record = echosweep.choose_epoch(model, data=data, out=out, config=options, show=bar)
    if record:
        print_table(record)
        print_json(without_details(record, details))
