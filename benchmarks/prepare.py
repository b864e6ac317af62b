"""`prepare` beside what a lab writes first: cv2.VideoCapture, cv2.resize, np.save.

    taskset -c 0 python benchmarks/prepare.py

prints how its time grows; `bench.py prepare` compares. Videos: real ultrasound (h264, MPEG-2), and
phantoms of EchoNet-Dynamic's codec and size. Invariant: all sides read the same files and keep the
same frames. Our filter has more taps (Lanczos) than theirs (INTER_AREA), unless it is "box filter".
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

import peers
from echosweep.data import video
from echosweep.data.phantom import phantom
from echosweep.data.prepare import prepare
from echosweep.data.tree import scan
from pairs import Options, Row, Work, faster, medians, pairs, turns

DATA = Path(os.environ.get("ECHOSWEEP_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
CV2 = ("opencv-python-headless==5.0.0.93",)
EVERY, SIZE, FRAMES, MADE = 5, 64, 160, 16
BAR, TWO_WORKERS_BAR = 2.0, 1.8


class Videos(NamedTuple):
    """A source for `prepare`, and its files."""

    name: str
    source: Path
    paths: list[Path]


def rows(options: Options) -> list[Row]:
    """Return the rows of phantoms and, where there are any, of real clips."""
    peers.add(options.peers / "cv2", CV2, {})
    with tempfile.TemporaryDirectory() as folder:
        found = compare(phantoms(Path(folder), 32 if options.quick else 128), options)
        if len(os.sched_getaffinity(0)) > 1 and not options.quick:
            found.append(two_workers(phantoms(Path(folder), 1024), options))
    if (DATA / "clips").is_dir():
        clips = scan(DATA / "clips").ending(video.SUFFIXES)
        found += compare(Videos("real clips (h264, MPEG-2)", DATA / "clips", clips), options)
    return found


def phantoms(folder: Path, count: int) -> Videos:
    """Return `count` videos in `folder`: copies of MADE phantoms of FRAMES frames."""
    made = sorted((phantom(folder / "phantom", videos=MADE, frames=FRAMES) / "Videos").iterdir())
    source = folder / f"{count}"
    source.mkdir()
    paths = [Path(shutil.copy(made[i % MADE], source / f"{i}.avi")) for i in range(count)]
    return Videos("phantoms (MJPEG, 112 px)", source, paths)


def compare(videos: Videos, options: Options) -> list[Row]:
    """Return the rows of `videos`: two ways with cv2, and the bare decoder."""
    theirs = peers.version(CV2)
    works: dict[str, Work] = {
        "Lanczos": partial(ours, videos),
        "box filter": partial(ours, videos, filter="box"),
        f"{theirs}, all frames in memory": partial(load, videos, True, options.threads),
        f"{theirs}, kept frames only": partial(load, videos, False, options.threads),
        "PyAV, no more than decoding": partial(decode, videos),
    }
    frames = decode(videos)
    times = turns(list(works.values()), options.pairs)
    names = [
        f"{name}, {frames / seconds:,.0f} frames/s"
        for name, seconds in zip(works, medians(times), strict=True)
    ]

    def row(ours: int, peer: int, bar: float | None = None) -> Row:
        ratios = faster([(took[ours], took[peer]) for took in times])
        return Row(f"prepare: {about(videos)}", names[ours], names[peer], ratios, bar=bar)

    return [row(0, 2, BAR), row(0, 3), row(1, 3), row(0, 4)]


def two_workers(videos: Videos, options: Options) -> Row:
    """Return the row of two workers on two cores against one, for enough videos to start them."""
    times = pairs(partial(ours, videos, workers=2), partial(ours, videos), options.pairs)
    two, one = (f"{seconds:.1f} s" for seconds in medians(times))
    return Row(
        what=f"prepare: {about(videos)}",
        ours=f"two workers, {two}",
        peer=f"one worker, {one}",
        ratios=faster(times),
        bar=TWO_WORKERS_BAR,
    )


def about(videos: Videos) -> str:
    return f"{len(videos.paths):,} {videos.name}, one frame in {EVERY} to {SIZE} px"


def ours(videos: Videos, **settings: Any) -> int:
    """Prepare `videos` and return how many images there are."""
    settings = {"size": SIZE, "every": EVERY, "workers": 1, **settings}
    with tempfile.TemporaryDirectory() as out:
        return len(prepare(videos.source, Path(out) / "store", **settings).index)


def load(videos: Videos, all_at_once: bool, threads: int) -> int:
    """Do the same with cv2 and return how many images there are.

    all_at_once: hold all frames of a video as RGB, as EchoNet-Dynamic's own loader does.
    """
    cv2 = import_module("cv2")
    cv2.setNumThreads(threads)
    images = []
    for path in videos.paths:
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
        frames: Iterable[NDArray[np.uint8]] = read(capture)
        to_grey = cv2.COLOR_BGR2GRAY
        if all_at_once:
            frames = [cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in frames]
            to_grey = cv2.COLOR_RGB2GRAY
        for number, frame in enumerate(frames):
            if number % EVERY == 0:
                grey = cv2.cvtColor(frame, to_grey)
                images.append(cv2.resize(grey, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
    with tempfile.TemporaryFile() as file:
        np.save(file, np.stack(images))
    return len(images)


def read(capture: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield all frames of a capture, BGR."""
    while True:
        good, frame = capture.read()
        if not good:
            return
        yield frame


def decode(videos: Videos) -> int:
    """Decode every frame, touch its luma, and return how many there were."""
    frames = 0
    for path in videos.paths:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "NONE"
            for frame in container.decode(video=0):
                frames += memoryview(frame.planes[0])[0] >= 0
    return frames


def main() -> None:
    sizes = (32, 64, 112, 128)
    with tempfile.TemporaryDirectory() as folder:
        sets = [phantoms(Path(folder), count) for count in (32, 64, 128, 256)]
        by_count = turns([partial(ours, videos) for videos in sets], 3)
        by_size = turns([partial(ours, sets[2], size=size) for size in sizes], 3)
    print(f"{sets[0].name} of {FRAMES} frames, one in {EVERY} kept, one worker, median of 3")
    for videos, seconds in zip(sets, medians(by_count), strict=True):
        print(f"{len(videos.paths)} videos to {SIZE} px: {seconds:.2f} s")
    for size, seconds in zip(sizes, medians(by_size), strict=True):
        print(f"{len(sets[2].paths)} videos to {size} px: {seconds:.2f} s")


if __name__ == "__main__":
    main()
