"""From frame stores to images: train, ema, sample."""

from pathlib import Path

import echosweep
from echosweep.cli.options import DryRun, prepare_process, print_json, takes
from echosweep.config import EmaOptions, SampleOptions, TrainOptions
from echosweep.progress import bar, leads
from echosweep.runs import command_line


@takes(TrainOptions)
def train(*, data: Path, out: Path, options: TrainOptions, dry_run: DryRun = False) -> None:
    """Train a denoiser on a frame store. Interrupted, the same command continues.

    Parameters
    ----------
    data
        Frame store to train on.
    out
        Run folder: weights, log, sample grids, checkpoints.
    """
    prepare_process()
    if dry_run:
        from echosweep.commands.train import plan

        print_json(plan(data, config=options))
        return
    with bar("train", "images") as progress:
        path = echosweep.train(data, out, config=options, progress=progress)
    if leads():
        follow = command_line("sample", path, "--out", "STORE", "--num", 1000)
        print(f"{path}: trained. Next: {follow}")


@takes(EmaOptions)
def ema(run: Path, /, *, out: Path, options: EmaOptions) -> None:
    """Make the average of a run's weights of any length, after training with --posthoc-ema.

    Parameters
    ----------
    run
        Run folder, trained with --posthoc-ema.
    out
        Weights to write, NAME.safetensors, with NAME.json beside them: a model for `sample`.
    """
    from echosweep.commands.ema import ema as average

    with bar("read averages", "files") as progress:
        path = average(run, options.length, out, at_kimg=options.at_kimg, progress=progress)
    follow = command_line("sample", path, "--out", "STORE")
    print(f"{path}: average of length {options.length:g}. Next: {follow}")


@takes(SampleOptions)
def sample(model: Path, /, *, out: Path, options: SampleOptions) -> None:
    """Draw images from a trained model into a frame store. Interrupted, the same command continues.

    Parameters
    ----------
    model
        Run folder, or a snapshot's .safetensors file in it.
    out
        Frame store to make.
    """
    prepare_process()
    with bar("sample", "images") as progress:
        store = echosweep.sample(model, out, config=options, progress=progress)
    if store:
        follow = command_line("evaluate", store.path, "REFERENCE_STORE")
        print(f"{store.path}: {len(store)} images. Next: {follow}")
