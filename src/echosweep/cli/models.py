"""From frame stores to images: train, sample."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from echosweep.cli.options import Sample, Train, print_json, read_config
from echosweep.config import SampleConfig, TrainConfig
from echosweep.progress import bar, leads
from echosweep.runs import command_line


def train(
    *,
    data: Path,
    out: Path,
    config: Path | None = None,
    options: Train = {},  # noqa: B006
    device: str | None = None,
    tensorboard: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a denoiser on a frame store. Interrupted, the same command continues.

    Parameters
    ----------
    data
        Frame store to train on.
    out
        Run folder: weights, log, sample grids, checkpoints.
    config
        YAML file with any of the options below, as RUN/config.yaml; options given here win.
    device
        cpu, cuda, cuda:1, ...; default: a GPU where there is one.
    tensorboard
        Also write TensorBoard logs (extra: tb).
    dry_run
        Print the settings, the network's size and what a step costs here, then stop.
    """
    from echosweep.commands.train import plan
    from echosweep.commands.train import train as run
    from echosweep.compute import prepare_process

    prepare_process()
    settings = read_config(TrainConfig, config, options)
    if dry_run:
        print_json(plan(data, config=settings, device=device))
        return
    with bar("train", "images") as progress:
        path = run(
            data, out, config=settings, device=device, tensorboard=tensorboard, progress=progress
        )
    if leads():
        follow = command_line("sample", path, "--out", "STORE", "--num", 1000)
        print(f"{path}: trained. Next: {follow}")


def sample(
    model: Path,
    /,
    *,
    out: Path,
    num: Annotated[int, Parameter(name=["--num", "-n"])] = 50_000,
    seed: int = 0,
    config: Path | None = None,
    options: Sample = {},  # noqa: B006
    batch: int = 64,
    grid: Path | None = None,
    device: str | None = None,
) -> None:
    """Draw images from a trained model into a frame store. Interrupted, the same command continues.

    Parameters
    ----------
    model
        Run folder, or a snapshot's .safetensors file in it.
    out
        Frame store to make.
    num
        Number of images.
    seed
        Image i has seed SEED + i, and depends on that alone.
    config
        YAML file with any of the options below; options given here win.
    batch
        Images at a time; changes no image.
    grid
        PNG of the first images; an older PNG there is replaced, any other file is refused.
    device
        cpu, cuda, ...; default: a GPU where there is one.
    """
    from echosweep.commands.sample import sample as run
    from echosweep.compute import prepare_process

    prepare_process()
    settings = read_config(SampleConfig, config, options)
    with bar("sample", "images") as progress:
        store = run(
            model,
            out,
            num=num,
            seed=seed,
            config=settings,
            batch=batch,
            grid=grid,
            device=device,
            progress=progress,
        )
    if store:
        follow = command_line("evaluate", store.path, "REFERENCE_STORE")
        print(f"{store.path}: {len(store)} images. Next: {follow}")
