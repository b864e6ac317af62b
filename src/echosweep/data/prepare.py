"""Prepare a source of videos into a frame store: one frame in k, small, split by patient.

Decoder processes work ahead within a bounded window and their results are written in the order of
the source; splits are drawn last, when it is known which videos show the same. Invariant: the store
is the same bytes for any number of workers, and after any number of interruptions; no patient (no
video, where patients are unknown) is in two splits; what is listed is in the store or is excluded.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from echosweep import folders, machine, places, runs
from echosweep.config import PrepareConfig, PrepareOptions
from echosweep.data.clip_frames import Decoded, DecodeTask
from echosweep.data.decoding import decoded
from echosweep.data.duplicates import Twins, find_twins
from echosweep.data.limits import Limits
from echosweep.data.plan import PreparePlan, make_plan
from echosweep.data.preview import write_preview
from echosweep.data.source import Clip
from echosweep.data.splits import split_clips
from echosweep.data.store import FrameStore, Preparation, Video, image_shape
from echosweep.data.summary import Result, summarise
from echosweep.data.writer import StoreWriter, find_finished
from echosweep.errors import EchoSweepError, UsageError
from echosweep.progress import Progress, silent

_CLIPS_BETWEEN_SPACE_CHECKS = 20
_NOT_DECODED = (
    "nothing was decoded: damaged videos, and equal ones, show in the run only, and can change "
    "splits that are drawn"
)
_FEW = 10  # clips that are tried before too many count as broken: what then helps is known better


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    config: PrepareConfig | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> FrameStore:
    """Turn the videos in `source` into the frame store `out` and return it.

    An interrupted call continues when it is made again, and that of a finished store returns it.
    What was decided about videos, patients and splits is in its manifest under "summary".

    Args:
        source: A folder or a file with videos.
        out: The store to make.
        config: A `PrepareOptions`, or the `PrepareConfig`; `settings` go on top.
        progress: Called after each video.
        settings: Fields of `PrepareOptions`: size, every, kind, workers, preview, ...

    Raises:
        UsageError: An argument or the source is wrong; nothing was done.
        EchoSweepError: Too many videos are broken, or the disk is full.
    """
    options, out = PrepareOptions.merge(config, settings), Path(out)
    plan = make_plan(Path(source), options, options.name_key)
    _check_some(plan)
    _check_excluded(out, plan, {})
    facts = _facts(plan)
    preparation = Preparation(options.size, options.channels, options.fit, options.filter)
    task = facts | {"preparation": asdict(preparation), "clips": _signature(plan.clips)}
    finished = find_finished(out, task)
    if not finished:
        places.check_free(out)  # before pictures are written for nothing
    if options.preview:
        write_preview(plan, options.preview, options.workers)
    if finished:
        runs.note_finished(out)
        return finished
    with _disk_full_explained(out), StoreWriter(out, preparation, task) as writer:
        how = DecodeTask(facts["kind"], options.every, preparation, Limits.of(options))
        _write(writer, plan, how, options.workers, progress)
        return _finish(writer, plan, facts)


def dry_run(
    source: str | Path,
    config: PrepareConfig | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Return the summary of what `prepare` would do, without decoding every video.

    What only pixels show is not in it: damaged videos, equal ones, and what these do to splits.

    Args:
        source: A folder or a file with videos.
        config: A `PrepareOptions`, or the `PrepareConfig`; `settings` go on top.
        settings: Fields of `PrepareOptions`.

    Raises:
        UsageError: An argument or the source is wrong.
    """
    options = PrepareOptions.merge(config, settings)
    plan = make_plan(Path(source), options)
    if options.preview:
        write_preview(plan, options.preview)
    clips = [clip for clip in plan.clips if not clip.fault]
    faults = {clip.name: clip.fault for clip in plan.clips if clip.fault}
    summary = summarise(plan, Result(clips, split_clips(clips, options), excluded=faults))
    summary["notes"].append(_NOT_DECODED)
    try:
        _check_some(plan)
        _check_excluded(Path("STORE"), plan, {})
    except EchoSweepError as error:
        summary["warnings"].append(f"prepare would stop: {error}")
    return summary


def _facts(plan: PreparePlan) -> dict[str, Any]:
    options = plan.config
    return {
        **{"kind": plan.found.kind, "name": plan.name, "every": options.every},
        **{"seed": options.seed, "splits": list(options.splits), "videos": len(plan.clips)},
        "notes": dict(Counter(clip.note for clip in plan.clips if clip.note)),
    }


def _write(
    writer: StoreWriter,
    plan: PreparePlan,
    task: DecodeTask,
    workers: int | None,
    progress: Progress,
) -> None:
    """Decode the clips that the journal has not, and append them in order."""
    total = len(plan.clips)
    todo = plan.clips[len(writer.journal) :]
    workers = min(workers or machine.cores(), max(1, len(todo)))
    few = min(_FEW, total)
    if len(writer.journal) >= few:
        _check_excluded(writer.out, plan, writer.excluded, len(writer.journal))
    progress(len(writer.journal), total, writer.count)
    with contextlib.closing(decoded(task, todo, workers)) as results:
        for number, clip in enumerate(todo):
            if number % _CLIPS_BETWEEN_SPACE_CHECKS == 0:
                _check_space(writer, todo[number:], task.every)
            result = next(results)
            if result.fault:
                writer.exclude(clip.name, _fault(plan, clip, result.fault))
            else:
                writer.append(_video(clip, result), result.images, result.numbers)
            tried = len(writer.journal)
            if tried == few or (tried > few and result.fault):
                _check_excluded(writer.out, plan, writer.excluded, tried)
            progress(len(writer.journal), total, writer.count)


def _finish(writer: StoreWriter, plan: PreparePlan, facts: Mapping[str, Any]) -> FrameStore:
    """Draw the splits of what is there, and finish the store with the summary."""
    names = {row["name"]: row for row in writer.kept}
    clips = [clip for clip in plan.clips if clip.name in names]
    rows = [names[clip.name] for clip in clips]
    frames = [row["frames"] for row in rows]
    twins = Twins([], [])
    if writer.count:
        videos = [Video(row["name"], content=row["content"]) for row in rows]
        twins = find_twins(videos, frames, writer.images())
    placed = split_clips(clips, plan.config, [*twins.equal, *twins.near])
    result = Result(clips, placed, [len(each) for each in frames], writer.excluded, twins)
    summary = summarise(plan, result)
    splits = [split for split, _ in placed]
    return writer.finish(splits, source=dict(facts), summary=summary, left_out=dict(plan.left_out))


def _fault(plan: PreparePlan, clip: Clip, fault: str) -> str:
    return plan.hashes.scrub(fault, clip.words) if plan.hashes else fault


def _signature(clips: Sequence[Clip]) -> str:
    """Return a signature of what is to be written: a call that goes on must want the same."""
    sizes: dict[Path, int] = {}
    for file in {file for clip in clips for file in clip.parts or (clip.path,)}:
        with contextlib.suppress(OSError):  # it is gone since it was listed: decoding will say so
            sizes[file] = file.stat().st_size
    return runs.signature(
        [
            [clip.name, clip.split, clip.patient, dict(clip.labels)]
            + [sizes.get(file) for file in clip.parts or (clip.path,)]
            for clip in clips
        ]
    )


def _video(clip: Clip, result: Decoded) -> Video:
    return Video(clip.name, clip.split or "", clip.patient, dict(clip.labels), result.content)


def _check_some(plan: PreparePlan) -> None:
    if not plan.clips:
        reasons = "; ".join(dict.fromkeys(plan.left_out.values()))
        raise UsageError(f"all {len(plan.left_out)} videos are left out: {reasons}")


def _check_excluded(
    out: Path, plan: PreparePlan, excluded: Mapping[str, str], tried: int | None = None
) -> None:
    """Raise EchoSweepError once it is certain that too many clips are broken.

    Args:
        out: The store to be made.
        plan: What is prepared.
        excluded: The reason by name of each clip that decoding excluded.
        tried: How many clips were decoded; None: all were listed, none decoded.
    """
    clips, allowed = plan.clips, plan.config.max_excluded
    reasons = {clip.name: clip.fault for clip in clips if clip.fault} | dict(excluded)
    if len(reasons) <= allowed * len(clips) + 1e-9:
        return
    shown = {clip.name: clip.name if plan.hashes else str(clip.path) for clip in clips}
    partial = folders.partial_path(out)
    mend = (
        f"Mend or remove them{f', delete {partial}' if partial.exists() else ''} and prepare again"
    )
    first = "; ".join(f"{shown[name]}: {reason}" for name, reason in list(reasons.items())[:3])
    raise EchoSweepError(
        f"{len(reasons)} of {len(clips)} videos cannot be used, more than the share "
        f"{allowed:g} that --max-excluded allows ({first}). {mend}"
        f"{_how_to_allow(plan, len(reasons), len(clips) if tried is None else tried)}"
    )


def _how_to_allow(plan: PreparePlan, broken: int, tried: int) -> str:
    """Return the option that goes on without the broken clips, where that leaves most of them.

    It allows twice the share met so far. Where most of those tried are broken, the reading is
    wrong and not the files.
    """
    if 2 * broken > tried:
        notes = "".join(f" {note}." for note in plan.notes)
        return f".{notes} `echosweep prepare --help` says how else a source can be read"
    enough = min(0.5, math.ceil(40 * broken / tried) / 20)
    return (
        f"; or give --max-excluded {enough:g} to continue without them ({broken} of {tried} tried "
        "so far)"
    )


def _check_space(writer: StoreWriter, todo: Sequence[Clip], every: int) -> None:
    """Raise EchoSweepError if the images to come will not fit on the disk.

    A clip whose source does not say how many frames it has counts as the mean of those written.
    """
    known = [math.ceil(clip.frames / every) for clip in todo if clip.frames]
    mean = writer.count / max(1, len(writer.journal))
    images = sum(known) + mean * (len(todo) - len(known))
    needed = images * math.prod(image_shape(writer.preparation))
    places.check_room(
        writer.partial,
        needed,
        f"{writer.out} needs about",
        "choose another --out",
        EchoSweepError,
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
