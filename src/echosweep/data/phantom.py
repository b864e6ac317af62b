"""Phantom echocardiograms in EchoNet-Dynamic's layout: FileList, VolumeTracings, Videos/*.avi.

A beating four-chamber heart seen through a sector (`phantom_scene`), whose tracings are the drawn
border itself, so that ejection fractions are exact: a free, public data set to try everything on.
Invariant: video i is a function of (seed, i, frames, size) alone; the CSV files are written last,
so a folder that has them is complete. Not a patient, not for clinical use.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from echosweep import folders, locks, machine, places, runs
from echosweep import rng as seeds
from echosweep.config import PhantomOptions
from echosweep.data.decoding import begin_worker, sparing_workers
from echosweep.data.phantom_heart import Points, simpson
from echosweep.data.phantom_scene import Renderer, Scene
from echosweep.errors import EchoSweepError, UsageError
from echosweep.progress import Progress, silent

FILE_LIST = ["FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth"]
FILE_LIST += ["FPS", "NumberOfFrames", "Split"]
TRACINGS = ["FileName", "X1", "Y1", "X2", "Y2", "Frame"]
SPLITS = ("TRAIN", "VAL", "TEST")
_TABLES = ("FileList.csv", "VolumeTracings.csv")
_VERSION = 1  # of the pictures: a folder begun by another version is not continued
_QUALITY = 2  # MJPEG quantiser: 2 is the finest
_FEW_FRAMES = 512  # rendered here: worker processes would take longer to start


def phantom(
    out: str | Path,
    *,
    config: PhantomOptions | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Path:
    """Write phantom clips to the folder `out`; return it.

    Equal settings give the same bytes with any number of workers. An interrupted call is continued
    by calling again; finished videos are kept. A script that calls this with several workers needs
    `if __name__ == "__main__":`.

    Args:
        out: Folder to make.
        config: What to make.
        progress: Called after each video.
        options: Fields of PhantomOptions (videos, frames, size, seed, workers), on top of `config`.

    Raises:
        UsageError: For a wrong number, or where `out` holds something else.
    """
    out, wanted = Path(out), PhantomOptions.merge(config, options)
    videos, frames, size, seed = wanted.videos, wanted.frames, wanted.size, wanted.seed
    workers = wanted.workers or max(1, min(videos, machine.cores()))
    settings = {
        "format": "echosweep phantom",
        "version": _VERSION,
        "videos": videos,
        "frames": frames,
        "size": size,
        "seed": seed,
    }
    _check_folder(out, settings)
    if _is_finished(out, videos, seed):
        runs.note_finished(out)
        return out
    with locks.locked(out):
        runs.remove_temporaries(out, alone=True)
        runs.remove_temporaries(out / "Videos", alone=True)
        runs.write_json(out / "phantom.json", settings)
        jobs = [(out, seed, index, frames, size) for index in range(videos)]
        todo = [job for job in jobs if not _path(out, seed, job[2]).exists()]
        kept = videos - len(todo)
        for done in _run(todo, workers, frames):
            progress(kept + done, videos, (kept + done) * frames)
        _write_tables(out, videos, frames, size, seed)
    return out


def remove_phantom(out: Path) -> None:
    """Remove the phantom videos in `out`, if there are any, and nothing else."""
    if not (out / "phantom.json").exists():
        return
    made = runs.read_record(out / "phantom.json", f"remove {out}")
    videos = (_path(out, made["seed"], index) for index in range(made["videos"]))
    for path in (*videos, *(out / name for name in _TABLES)):
        path.unlink(missing_ok=True)
    folders.remove_files(out / "Videos", ())
    folders.remove_files(out, ("phantom.json",))


def video_name(seed: int, index: int) -> str:
    """Return the name of video `index`, like EchoNet-Dynamic's, without `.avi`."""
    return f"0X{seeds.derive('phantom name', seed, index):016X}"


def split_names(videos: int, seed: int) -> list[str]:
    """Return TRAIN, VAL or TEST for each video: 6/8, 1/8, 1/8, one of each from 3 videos on."""
    held_out = max(1, round(videos / 8)) if videos >= 3 else 0
    order = np.random.default_rng(seeds.derive("phantom split", seed)).permutation(videos)
    splits = np.full(videos, SPLITS[0], dtype="<U5")
    splits[order[:held_out]] = SPLITS[1]
    splits[order[held_out : 2 * held_out]] = SPLITS[2]
    return [str(split) for split in splits]


class Tracing(NamedTuple):
    """The border of the left ventricle in one frame: lines (21, 2, 2) as (line, end, xy) in px."""

    frame: int
    lines: Points
    volume_ml: float


def tracings(scene: Scene, frames: int) -> tuple[Tracing, Tracing]:
    """Return the tracings of the largest and the smallest left ventricle among the frames shown."""
    contraction = [scene.beat(frame).contraction for frame in range(frames)]
    first, second = int(np.argmin(contraction)), int(np.argmax(contraction))
    return _tracing(scene, first), _tracing(scene, second)


def _tracing(scene: Scene, frame: int) -> Tracing:
    lines = scene.to_image(scene.heart.chords(scene.beat(frame)))
    return Tracing(frame, lines, simpson(lines) * scene.sector.cm**3)


def encode_mjpeg(images: Iterable[NDArray[np.uint8]], size: int, fps: float) -> bytes:
    """Return an AVI file of grey full-range `images` (size, size), size even."""
    file = io.BytesIO()
    with av.open(file, "w", format="avi", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mjpeg", rate=Fraction(fps).limit_denominator(100))
        stream.width = stream.height = size
        stream.pix_fmt = "yuvj420p"
        stream.codec_context.qmin = stream.codec_context.qmax = _QUALITY
        stream.codec_context.thread_count = 1
        grey = np.full((size * 3 // 2, size), 128, np.uint8)  # luma above, neutral chroma below
        for image in images:
            grey[:size] = image
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="yuvj420p")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _check_folder(out: Path, settings: dict[str, Any]) -> None:
    """Raise UsageError unless `out` is absent, empty, or a phantom begun with these settings."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; give the name of a folder to make")
    note = out / "phantom.json"
    if (out / "Videos").is_symlink():
        raise UsageError(f"{out / 'Videos'} is a link; give the name of a new folder")
    if not note.is_file() or note.is_symlink():
        if out.is_dir() and not all(map(_is_begun, out.iterdir())):
            raise UsageError(f"{out} holds something else; give the name of a new folder")
        return
    try:
        found = runs.read_record(note, f"remove {out}, or give another folder")
        different = [key for key in settings if found.get(key) != settings[key]]
    except EchoSweepError as error:
        raise UsageError(str(error)) from None
    if different:
        was = ", ".join(f"{key} {found.get(key)} (now {settings[key]})" for key in different)
        raise UsageError(
            f"{out} was made with other settings: {was}; give the same again to continue, "
            "or another folder"
        )


def _is_begun(path: Path) -> bool:
    """Say whether that is all a call leaves which is killed before it has written phantom.json."""
    lock = path.name == locks.NAME and path.stat().st_size == 0
    return not path.is_symlink() and (lock or path.match(".phantom.json.*.tmp"))


def _is_finished(out: Path, videos: int, seed: int) -> bool:
    """Say whether all is there, and nothing that making it leaves behind."""
    made = {_path(out, seed, index) for index in range(videos)}
    made |= {out / name for name in (*_TABLES, "phantom.json")}
    left = [out / locks.NAME, *out.glob(".*.tmp"), *out.glob("Videos/.*.tmp")]
    return all(path.exists() for path in made) and not any(path.exists() for path in left)


def _path(out: Path, seed: int, index: int) -> Path:
    return out / "Videos" / f"{video_name(seed, index)}.avi"


Job = tuple[Path, int, int, int, int]


def _run(jobs: Sequence[Job], workers: int, frames: int) -> Iterator[int]:
    """Write the videos of `jobs`, yielding after each how many are written."""
    if workers == 1 or len(jobs) * frames <= _FEW_FRAMES:
        for done, job in enumerate(jobs, 1):
            _write_video(*job)
            yield done
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), places.fork_server(), begin_worker) as pool:
        with sparing_workers():
            futures = [pool.submit(_write_video, *job) for job in jobs]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                yield done
        finally:
            pool.shutdown(cancel_futures=True)


def _write_video(out: Path, seed: int, index: int, frames: int, size: int) -> None:
    scene = Scene.draw(seed, index, frames, size)
    render = Renderer(scene).frame
    data = encode_mjpeg(map(render, range(frames)), size, scene.fps)
    runs.atomic_write(_path(out, seed, index), lambda file: file.write(data))


def _write_tables(out: Path, videos: int, frames: int, size: int, seed: int) -> None:
    """Write VolumeTracings.csv, then FileList.csv.

    echonet's loader takes a video's first traced frame for the end of systole, its last for that of
    diastole.
    """
    files, lines = [], []
    for index, split in enumerate(split_names(videos, seed)):
        scene, name = Scene.draw(seed, index, frames, size), video_name(seed, index)
        traced = tracings(scene, frames)
        edv, esv = (tracing.volume_ml for tracing in traced)
        ef = 100 * (edv - esv) / edv
        numbers = [f"{value:.6f}" for value in (ef, esv, edv)]
        files.append([name, *numbers, size, size, f"{scene.fps:g}", frames, split])
        for tracing in {tracing.frame: tracing for tracing in reversed(traced)}.values():
            for line in tracing.lines.reshape(-1, 4):
                lines.append([f"{name}.avi", *(f"{value:.6f}" for value in line), tracing.frame])
    runs.write_text(out / "VolumeTracings.csv", _csv(TRACINGS, lines))
    runs.write_text(out / "FileList.csv", _csv(FILE_LIST, files))


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
