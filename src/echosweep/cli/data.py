"""From videos to frame stores: phantom, prepare."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from echosweep.cli.options import Prepare, print_json, read_config
from echosweep.config import PrepareConfig
from echosweep.errors import UsageError
from echosweep.progress import bar
from echosweep.runs import command_line


def phantom(
    out: Path,
    /,
    *,
    videos: int = 64,
    frames: int = 64,
    size: int = 112,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Make a synthetic data set in EchoNet-Dynamic's layout: beating hearts, with known EF.

    Parameters
    ----------
    out
        Folder to make.
    videos
        Number of videos.
    frames
        Frames per video.
    size
        Height and width in pixels.
    seed
        Video i is a function of the seed and i.
    workers
        Processes; default: every core.
    """
    from echosweep.data.phantom import phantom as make

    with bar("phantom", "frames") as progress:
        path = make(out, videos, frames, size, seed, workers, progress)
    follow = command_line("prepare", path, "--out", "STORE")
    print(f"{path}: {videos} videos of {frames} frames. Next: {follow}")


def prepare(
    source: Path,
    /,
    *,
    out: Path | None = None,
    config: Path | None = None,
    options: Prepare = {},  # noqa: B006
    workers: int | None = None,
    preview: Path | None = None,
    name_key: Path | None = None,
    dry_run: bool = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Turn videos into a frame store, and say what was decided about them.

    Interrupted, the same command continues.

    Parameters
    ----------
    source
        Folder (EchoNet, CAMUS, videos, DICOM, images), DICOM file or .npy array.
    out
        Frame store to make.
    config
        YAML file with any of the options below; options given here win.
    workers
        Decoder processes; default: every core.
    preview
        Folder for contact sheets of what is kept, one for each scanner model and screen layout.
    name_key
        With hashed names: file for a table of which hash is which file; keep it private.
    dry_run
        Say what would be decided, without decoding the videos, then stop.
    as_json
        Print the decisions as JSON instead of a table.
    """
    from echosweep.data import prepare as run
    from echosweep.reporting.preparation import text

    settings = read_config(PrepareConfig, config, options)
    if dry_run:
        summary = run.dry_run(source, settings, preview=preview)
        print_json(summary) if as_json else print(text(summary))
        return
    if out is None:
        raise UsageError("give --out STORE, or --dry-run")
    with bar("prepare", "frames") as progress:
        store = run.prepare(
            *(source, out),
            config=settings,
            workers=workers,
            preview=preview,
            name_key=name_key,
            progress=progress,
        )
    summary = store.manifest["summary"]
    if as_json:
        print_json(summary)
        return
    print(
        f"{store.path}: {len(store)} images of {len(store.videos)} videos, "
        f"fingerprint {store.fingerprint}"
    )
    print(text(summary, store.manifest["excluded"]))
    if preview:
        print(f"Look at the contact sheets in {preview} before you train: they show first frames.")
    if name_key:
        print(f"Which hash is which file is in {name_key}: keep it private, apart from the store.")
    if all(split["videos"] for split in summary["splits"].values()):
        train = command_line("train", "--data", store.path, "--out", "RUN", "--budget-hours", 1)
        print(f"Next: {train} --dry-run")
