"""Averages of a run's weights, after training: ema."""

from pathlib import Path

from echosweep.progress import bar
from echosweep.runs import command_line


def ema(run: Path, /, *, length: float, out: Path, at_kimg: float | None = None) -> None:
    """Make the average of a run's weights of any length, after training with --posthoc-ema.

    Parameters
    ----------
    run
        Run folder, trained with --posthoc-ema.
    length
        Length of the average as a share of the training so far (its standard deviation), to 0.25.
    out
        Weights to write, NAME.safetensors, with NAME.json beside them: a model for `sample`.
    at_kimg
        Average up to this point, one of those stored; default: the last one, the run's end.
    """
    from echosweep.commands.ema import ema as make

    with bar("read averages", "files") as progress:
        path = make(run, length, out, at_kimg=at_kimg, progress=progress)
    follow = command_line("sample", path, "--out", "STORE")
    print(f"{path}: average of length {length:g}. Next: {follow}")
