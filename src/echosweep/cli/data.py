"""From videos to frame stores: phantom, prepare."""

from pathlib import Path

from echosweep.cli.options import parse_numbers, parse_size
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
    out: Path,
    size: str = "64",
    every: int = 5,
    kind: str = "auto",
    fit: str = "crop",
    filter: str = "lanczos",
    channels: int = 1,
    max_excluded: float = 0.05,
    splits: str = "0.75,0.125,0.125",
    patient_regex: str | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Turn videos into a frame store. Interrupted, the same command continues.

    Parameters
    ----------
    source
        Folder (EchoNet-Dynamic, videos, DICOM, images), DICOM file or .npy array.
    out
        Frame store to make.
    size
        Pixels: 64, or HEIGHTxWIDTH as 112x112.
    every
        Take one frame in this many.
    kind
        Kind of source: auto, or one of those listed in docs/data.md.
    fit
        crop: the centred square; letterbox: everything, with black bars.
    filter
        Antialiased resize filter: lanczos, bicubic, bilinear or box.
    channels
        1: grey; 3: colour.
    max_excluded
        Stop if more than this share of the videos cannot be used.
    splits
        Shares of train, val and test, where the source has no splits of its own.
    patient_regex
        Folder of videos: group 1 of this, found in a video's path, is its patient.
    seed
        Seed of the splits.
    workers
        Decoder processes; default: every core.
    """
    from echosweep.data.prepare import prepare as run

    with bar("prepare", "frames") as progress:
        store = run(
            source,
            out,
            size=parse_size(size),
            every=every,
            kind=kind,
            fit=fit,
            filter=filter,
            channels=channels,
            max_excluded=max_excluded,
            splits=parse_numbers(splits, 3),
            patient_regex=patient_regex,
            seed=seed,
            workers=workers,
            progress=progress,
        )
    print(
        f"{store.path}: {len(store)} images of {len(store.videos)} videos, "
        f"fingerprint {store.fingerprint}"
    )
    for name, reason in store.manifest["excluded"].items():
        print(f"  left out {name}: {reason}")
