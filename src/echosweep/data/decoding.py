"""Decode clips in several processes and return them in order.

At most two clips a process are on their way, so memory is bounded and a slow reader slows the
decoders. Invariant: result i belongs to clip i, and a broken clip is a result with a fault, also
where it ends the process that decodes it.
"""

import contextlib
import hashlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep import runs
from echosweep.data import SOURCES
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.pixels import TOGETHER, small_images
from echosweep.data.source import Broken, Clip, Frame
from echosweep.data.store import Preparation, image_shape
from echosweep.errors import EchoSweepError

_AHEAD = 2  # clips on their way a process


class Task(NamedTuple):
    """What to do with every clip: the kind of its source, one frame in how many, which pixels."""

    kind: str
    every: int
    preparation: Preparation
    limits: Limits = LIMITS


class Decoded(NamedTuple):
    """The kept frames of a clip.

    Attributes:
        numbers: The number of each in the clip.
        images: (n, H, W[, 3]) uint8.
        fault: Why there is none; "" where there are some.
        content: The hash of what the clip was read from, as `Video.content`.
    """

    numbers: list[int]
    images: NDArray[np.uint8]
    fault: str = ""
    content: str = ""


def decoded(task: Task, clips: Sequence[Clip], workers: int) -> Generator[Decoded]:
    """Yield the result of each clip, in order.

    A library can end its process on a damaged file. Then the next clip is decoded in a process of
    its own, where such an end is the fault of that clip alone, and the others go on.

    Args:
        task: What to do with each.
        clips: What to decode.
        workers: How many processes decode; 1 decodes in this one, which such a file ends.

    Raises:
        EchoSweepError: No process can be started.
    """
    if workers == 1:
        yield from (decode_clip(task, clip) for clip in clips)
        return
    done = 0
    while done < len(clips):
        try:
            with _pool(workers) as pool:
                for result in _in_order(pool, task, clips[done:], _AHEAD * workers):
                    done += 1
                    yield result
        except BrokenProcessPool:
            yield _alone(task, clips[done])
            done += 1


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads half-way
    pool = ProcessPoolExecutor(workers, context, initializer=begin_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _alone(task: Task, clip: Clip) -> Decoded:
    """Return the result of a clip from a process of its own, whose end is the clip's fault."""
    with _pool(1) as pool:
        try:
            with sparing_workers():
                pool.submit(int).result()
        except BrokenProcessPool:
            raise EchoSweepError(
                "decoder processes end at once: out of memory, killed, or started from a script "
                'without an `if __name__ == "__main__":` guard; run this again to continue '
                "(--workers 1 decodes in this process)"
            ) from None
        try:
            return pool.submit(decode_clip, task, clip).result()
        except BrokenProcessPool:
            return _none(task, "its decoder crashed: the file is damaged, or memory ran out")


def _none(task: Task, fault: str) -> Decoded:
    return Decoded([], np.empty((0, *image_shape(task.preparation)), np.uint8), fault)


def decode_clip(task: Task, clip: Clip) -> Decoded:
    """Return the kept frames of `clip` as small images, or the reason why it cannot be used."""
    try:
        if clip.fault:
            raise Broken(clip.fault)
        if clip.path.is_file() and clip.path.stat().st_size == 0:
            raise Broken("empty file (0 bytes)")
        return _decode(task, clip)
    except AssertionError:
        raise
    except Exception as error:  # decoders raise anything on garbage: it must stop this clip only
        return _none(task, _reason(error))


def _decode(task: Task, clip: Clip) -> Decoded:
    numbers, images = [], []
    source, channels = SOURCES[task.kind], task.preparation.channels
    frames = _within(source.decode(clip, task.every, channels, task.limits), task.limits)
    while group := list(itertools.islice(frames, TOGETHER)):
        numbers += [frame.number for frame in group]
        images.append(small_images(group, task.preparation))
    if not images:
        raise Broken("no frames")
    content = getattr(source, "content", file_content)(clip)
    return Decoded(numbers, np.concatenate(images), content=content)


def file_content(clip: Clip) -> str:
    """Return the hash of the bytes of a clip's files: 16 hex digits, whatever their names.

    A kind that keeps several clips in one file has a function `content` of its own.
    """
    digest = hashlib.sha256()
    for path in clip.parts or (clip.path,):
        digest.update(bytes.fromhex(runs.sha256_file(path)))
    return digest.hexdigest()[:16]


def _within(frames: Iterator[Frame], limits: Limits) -> Iterator[Frame]:
    """Yield `frames`; raise Broken at one beyond the limits, or not of the size of the first."""
    size: tuple[int, int] | None = None
    for frame in frames:
        size = size or frame.image.size
        limits.check_frames(frame.number + 1)
        limits.check_size(*frame.image.size)
        if frame.image.size != size:
            raise Broken(f"frame {frame.number} is {frame.image.size}, those before {size}")
        yield frame


def _reason(error: Exception) -> str:
    """Return one line without the paths that some libraries put into their messages."""
    if isinstance(error, Broken):
        return str(error)
    text = getattr(error, "strerror", None) or str(error).split("\n")[0]
    return f"cannot be decoded: {type(error).__name__}: {text[:200]}"


def _in_order(
    pool: ProcessPoolExecutor, task: Task, clips: Sequence[Clip], window: int
) -> Iterator[Decoded]:
    waiting: deque[Future[Decoded]] = deque()
    for clip in clips:
        with sparing_workers():
            waiting.append(pool.submit(decode_clip, task, clip))
        if len(waiting) == window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextlib.contextmanager
def sparing_workers() -> Iterator[None]:
    """Block Ctrl-C: the processes that start within inherit that, this one gets it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker() -> None:
    """End this process with its parent, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
