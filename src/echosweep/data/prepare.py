"""Prepare a source of videos into a frame store: one frame in k, small, split by video.

Decoder processes work ahead within a bounded window and their results are written in the order of
the source. Invariant: the images are the same bytes for any number of workers, and after any number
of interruptions; no patient (no video, where patients are unknown) is in two splits.
"""

import contextlib
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from echosweep import machine, runs
from echosweep.data import SOURCES
from echosweep.data.decoding import Task, decoded
from echosweep.data.pixels import FILTERS, FITS, MIN_SIDE
from echosweep.data.source import Clip
from echosweep.data.splits import name_patients, split_clips
from echosweep.data.store import FrameStore, Preparation, Video, image_shape, partial_path
from echosweep.data.writer import StoreWriter
from echosweep.errors import EchoSweepError, UsageError
from echosweep.progress import Progress, silent

_MAX_SIDE = 1024
_CLIPS_BETWEEN_SPACE_CHECKS = 20


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    size: int | tuple[int, int] = 64,
    every: int = 5,
    kind: str = "auto",
    fit: str = "crop",
    filter: str = "lanczos",
    channels: int = 1,
    max_excluded: float = 0.05,
    splits: tuple[float, float, float] = (0.75, 0.125, 0.125),
    seed: int = 0,
    patient_regex: str | None = None,
    workers: int | None = None,
    progress: Progress = silent,
) -> FrameStore:
    """Turn the videos in `source` into the frame store `out` and return it.

    size: pixels, one number or (height, width). every: keep frames 0, every, 2 every, ... kind: a
    key of SOURCES or "auto". fit: "crop" or "letterbox". channels: 1 grey, 3 colour. max_excluded:
    the share of broken videos that is borne. splits: shares of train, val, test, where the source
    does not say; drawn with `seed`. patient_regex: its group 1, searched in a video's name, is the
    patient, where the source names none. workers: decoder processes, by default one a core.

    An interrupted call continues when it is made again. Raises UsageError for a wrong argument
    before any work; EchoSweepError for too many broken videos or a full disk.
    """
    source, out = Path(source), Path(out)
    preparation = _preparation(size, channels, fit, filter)
    _check_numbers(every, max_excluded, splits, workers)
    kind = _kind(source, kind)
    listed = SOURCES[kind].clips(source)
    if not listed:
        raise UsageError(f"{source} lists no video; is it the folder that you mean?")
    clips = split_clips(name_patients(listed, patient_regex), splits, seed)
    facts = {
        **{"kind": kind, "name": source.resolve().name, "every": every, "seed": seed},
        **{"splits": list(splits), "videos": len(clips)},
        "notes": dict(Counter(clip.note for clip in clips if clip.note)),
    }
    task = facts | {"preparation": asdict(preparation), "clips": _names_and_splits(clips)}
    _check_excluded(out, clips, {}, max_excluded)
    with _disk_full_explained(out), StoreWriter(out, preparation, task) as writer:
        _write(writer, clips, Task(kind, every, preparation), max_excluded, workers, progress)
        return writer.finish(source=facts)


def _write(
    writer: StoreWriter,
    clips: Sequence[Clip],
    task: Task,
    max_excluded: float,
    workers: int | None,
    progress: Progress,
) -> None:
    """Decode the clips that the journal has not, and append them in order."""
    todo = clips[len(writer.journal) :]
    workers = min(workers or machine.cores(), max(1, len(todo)))
    _check_excluded(writer.out, clips, writer.excluded, max_excluded)
    progress(len(writer.journal), len(clips), writer.count)
    with contextlib.closing(decoded(task, todo, workers)) as results:
        for number, clip in enumerate(todo):
            if number % _CLIPS_BETWEEN_SPACE_CHECKS == 0:
                _check_space(writer, todo[number:], task.every)
            result = next(results)
            if result.fault:
                writer.exclude(clip.name, result.fault)
                _check_excluded(writer.out, clips, writer.excluded, max_excluded)
            else:
                writer.append(_video(clip), result.images, result.numbers)
            progress(len(writer.journal), len(clips), writer.count)


def _preparation(size: int | tuple[int, int], channels: int, fit: str, filter: str) -> Preparation:
    height, width = (size, size) if isinstance(size, int) else size
    for side in (height, width):
        if not MIN_SIDE <= side <= _MAX_SIDE:
            raise UsageError(f"size {side} is not in {MIN_SIDE} to {_MAX_SIDE} pixels; try 64")
    _check_choice("channels", channels, (1, 3))
    _check_choice("fit", fit, FITS)
    _check_choice("filter", filter, FILTERS)
    return Preparation((height, width), channels, fit, filter)


def _check_numbers(
    every: int, max_excluded: float, splits: Sequence[float], workers: int | None
) -> None:
    if every < 1:
        raise UsageError(f"every {every} is not 1 or more: 5 keeps one frame in five")
    if not 0 <= max_excluded <= 1:
        raise UsageError(f"max-excluded {max_excluded} is not a share from 0 to 1")
    if len(splits) != 3 or min(splits) < 0 or not math.isclose(sum(splits), 1, abs_tol=1e-6):
        raise UsageError(
            f"splits {tuple(splits)} are not three shares (train, val, test) that sum to 1; "
            "try 0.75 0.125 0.125"
        )
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers} is not 1 or more; leave it out for one a core")


def _check_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} {value!r} is not one of {', '.join(map(str, allowed))}")


def _kind(source: Path, kind: str) -> str:
    """Return the kind of `source`: what was asked for, or the only one that it can be."""
    _check_choice("kind", kind, ("auto", *SOURCES))
    if not source.exists():
        raise UsageError(f"there is no {source}; give a folder or file with videos")
    asked = SOURCES if kind == "auto" else {kind: SOURCES[kind]}
    found = {name: number for name, each in asked.items() if (number := each.count(source))}
    if not found:
        looked_for = "; ".join(each.LOOKS_FOR for each in asked.values())
        raise UsageError(f"{source} has nothing to prepare; looked for {looked_for}")
    if len(found) > 1:
        files = ", ".join(f"{name} ({number} found)" for name, number in found.items())
        options = " or ".join(f"--kind {name}" for name in found)
        raise UsageError(f"{source} can be read as {files}; choose with {options}")
    return next(iter(found))


def _names_and_splits(clips: Sequence[Clip]) -> str:
    """Return a signature of what is to be written: a resumed run must want the same."""
    return runs.signature([asdict(_video(clip)) for clip in clips])


def _video(clip: Clip) -> Video:
    assert clip.split is not None
    return Video(clip.name, clip.split, clip.patient, dict(clip.labels))


def _check_excluded(
    out: Path, clips: Sequence[Clip], excluded: Mapping[str, str], max_excluded: float
) -> None:
    """Raise EchoSweepError once it is certain that too many clips are broken."""
    reasons = {clip.name: clip.fault for clip in clips if clip.fault} | dict(excluded)
    if len(reasons) <= max_excluded * len(clips):
        return
    paths, partial = {clip.name: clip.path for clip in clips}, partial_path(out)
    mend = (
        f"Mend or remove them{f', delete {partial}' if partial.exists() else ''} and prepare again"
    )
    enough = min(1.0, math.ceil(20 * len(reasons) / len(clips)) / 20)
    first = "; ".join(f"{paths[name]}: {reason}" for name, reason in list(reasons.items())[:3])
    raise EchoSweepError(
        f"{len(reasons)} of {len(clips)} videos cannot be used, more than the share "
        f"{max_excluded:g} that --max-excluded allows ({first}). {mend}; or allow more with "
        f"--max-excluded {enough:g} to continue without them"
    )


def _check_space(writer: StoreWriter, todo: Sequence[Clip], every: int) -> None:
    """Raise EchoSweepError if the images to come will not fit on the disk.

    A clip whose source does not say how many frames it has counts as the mean of those written.
    """
    known = [math.ceil(clip.frames / every) for clip in todo if clip.frames]
    mean = writer.count / max(1, len(writer.journal))
    images = sum(known) + mean * (len(todo) - len(known))
    needed = images * math.prod(image_shape(writer.preparation))
    free = shutil.disk_usage(writer.partial).free
    if needed > free:
        raise EchoSweepError(
            f"{writer.out} needs about {needed / 1e6:,.0f} MB more, its disk has {free / 1e6:,.0f} "
            "MB free; free some and run this again (it continues), or choose another --out"
        )


@contextlib.contextmanager
def _disk_full_explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in runs.NO_SPACE:
            raise
        raise EchoSweepError(
            f"the disk of {out} is full, or a quota is used up ({error.strerror}); free some "
            "space and run this again: it continues where it stopped"
        ) from error
