"""From videos to frame stores: phantom, prepare."""

from pathlib import Path

import echosweep
from echosweep.cli.options import AsJson, DryRun, print_json, takes
from echosweep.config import PhantomOptions, PrepareOptions
from echosweep.errors import UsageError
from echosweep.progress import bar
from echosweep.runs import command_line


@takes(PhantomOptions)
def phantom(out: Path, /, *, options: PhantomOptions) -> None:
    """Make a synthetic data set in EchoNet-Dynamic's layout: beating hearts, with known EF.

    Parameters
    ----------
    out
        Folder to make.
    """
    with bar("phantom", "frames") as progress:
        path = echosweep.phantom(out, config=options, progress=progress)
    follow = command_line("prepare", path, "--out", "STORE")
    print(f"{path}: {options.videos} videos of {options.frames} frames. Next: {follow}")


@takes(PrepareOptions)
def prepare(
    source: Path,
    /,
    *,
    out: Path | None = None,
    options: PrepareOptions,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Turn videos into a frame store, and say what was decided about them.

    Interrupted, the same command continues.

    Parameters
    ----------
    source
        Folder (EchoNet, CAMUS, videos, DICOM, images), DICOM file or .npy array.
    out
        Frame store to make.
    """
    from echosweep.reporting.preparation import text

    if dry_run:
        from echosweep.data.prepare import dry_run as decide

        summary = decide(source, config=options)
        print_json(summary) if as_json else print(text(summary))
        return
    if out is None:
        raise UsageError("give --out STORE, or --dry-run")
    with bar("prepare", "frames") as progress:
        store = echosweep.prepare(source, out, config=options, progress=progress)
    summary = store.manifest["summary"]
    if as_json:
        print_json(summary)
        return
    print(
        f"{store.path}: {len(store)} images of {len(store.videos)} videos, "
        f"fingerprint {store.fingerprint}"
    )
    print(text(summary, store.manifest["excluded"]))
    if options.preview:
        print(
            f"Look at the contact sheets in {options.preview} before you train: they show first "
            "frames."
        )
    if options.name_key:
        print(
            f"Which hash is which file is in {options.name_key}: keep it private, apart from the "
            "store."
        )
    if all(split["videos"] for split in summary["splits"].values()):
        train = command_line("train", "--data", store.path, "--out", "RUN", "--budget-hours", 1)
        print(f"Next: {train} --dry-run")
