"""Prepare: the same bytes however the work was cut up, and a reason for all that is left out."""

import errno
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echosweep import runs
from echosweep.config import PrepareConfig
from echosweep.data import SOURCES
from echosweep.data.clip_frames import DecodeTask, decode_clip
from echosweep.data.decoding import sparing_workers
from echosweep.data.patients import tell_patients
from echosweep.data.prepare import prepare
from echosweep.data.source import Clip
from echosweep.data.splits import assign_splits, own_splits, split_clips
from echosweep.data.store import SPLITS, FrameStore, Preparation
from echosweep.data.tree import scan
from echosweep.data.writer import StoreWriter
from echosweep.errors import EchoSweepError, UsageError
from echosweep.folders import partial_path

SHARES = (0.75, 0.125, 0.125)
SOURCE_OF = {
    **{f"x.{suffix}": "folder" for suffix in ("avi", "mp4", "gif", "mpg", "mkv", "wmv")},
    **{"x.dcm": "dicom", "x.png": "images", "x.tif": "images", "x.jpg": "images"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, videos: SimpleNamespace) -> Path:
    """Eight lossless videos of 11 to 18 frames, two of them in a subfolder."""
    root = tmp_path_factory.mktemp("source")
    for number in range(8):
        name = f"{'sub/' if number > 5 else ''}v{number}.mkv"
        videos.write(root / name, videos.textured(11 + number, seed=number))
    return root


def hashes(store: FrameStore) -> list[str]:
    return [runs.sha256_file(store.path / n) for n in ("images.npy", "index.npy", "videos.json")]


def stop_after(clips: int) -> Any:
    def progress(done: int, total: int, units: float | None = None) -> None:
        if done == clips:
            raise KeyboardInterrupt

    return progress


def test_every_keeps_one_frame_in_k_of_each_video(folder: Path, tmp_path: Path) -> None:
    store = prepare(folder, tmp_path / "store", size=24, every=5, workers=1)
    assert [video.name for video in store.videos] == [
        *(f"sub/v{number}.mkv" for number in (6, 7)),
        *(f"v{number}.mkv" for number in range(6)),
    ]
    assert store.videos[0].labels == {"folder": "sub"}
    kept = [row["frame"] for row in store.index if row["video"] == 0]
    assert kept == [0, 5, 10, 15]
    assert store.manifest["source"]["every"] == 5
    assert store.manifest["source"]["name"] == folder.name


def test_the_number_of_workers_changes_no_byte(folder: Path, tmp_path: Path) -> None:
    one = prepare(folder, tmp_path / "one", size=16, workers=1)
    three = prepare(folder, tmp_path / "three", size=16, workers=3)
    assert hashes(one) == hashes(three)


def test_a_source_that_lists_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in" / "Videos").mkdir(parents=True)
    (tmp_path / "in" / "Videos" / "a.avi").touch()
    (tmp_path / "in" / "FileList.csv").write_text("FileName,EF,ESV,EDV,Split\n")
    with pytest.raises(UsageError, match="lists no video"):
        prepare(tmp_path / "in", tmp_path / "store", patient_regex="(x)")


@pytest.mark.parametrize("clips", [0, 1, 5])
def test_ctrl_c_leaves_what_the_next_run_continues(
    folder: Path, tmp_path: Path, clips: int
) -> None:
    whole = prepare(folder, tmp_path / "whole", size=16, workers=1)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "cut", size=16, workers=1, progress=stop_after(clips))
    assert not (tmp_path / "cut").exists()
    journal = runs.read_jsonl(partial_path(tmp_path / "cut") / "journal.jsonl")
    assert len(journal) == clips
    assert hashes(prepare(folder, tmp_path / "cut", size=16, workers=1)) == hashes(whole)


def test_a_killed_run_continues_and_its_workers_end(folder: Path, tmp_path: Path) -> None:
    whole = prepare(folder, tmp_path / "whole", size=16, workers=1)
    code = (
        "import os, sys, time\n"
        "from echosweep.data.prepare import prepare\n"
        "def wait(done, total, units=None):\n"
        "    print(done, flush=True)\n"
        "    time.sleep(60 if done == 3 else 0)\n"
        "if __name__ == '__main__':\n"
        "    prepare(sys.argv[1], sys.argv[2], size=16, workers=2, progress=wait)\n"
    )
    (tmp_path / "run.py").write_text(code)
    out = tmp_path / "cut"
    command = [sys.executable, str(tmp_path / "run.py"), str(folder), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout is not None
        assert [line.strip() for line in itertools.islice(process.stdout, 4)] == [*"0123"]
        process.kill()
    deadline = time.monotonic() + 20
    while _group_lives(process.pid):
        assert time.monotonic() < deadline, "decoder processes outlive the run"
        time.sleep(0.1)
    assert hashes(prepare(folder, out, size=16, workers=1)) == hashes(whole)


def test_a_clip_that_ends_or_holds_its_decoder_is_left_out_alone(
    folder: Path, tmp_path: Path
) -> None:
    """As libraries do on some damaged files: the process is gone, or computes on in C code."""
    code = (
        "import os, re, sys\n"
        "from echosweep.data import decoding, folder\n"
        "from echosweep.data.prepare import prepare\n"
        "whole, decoding._COMPUTING = folder.decode, 1\n"
        "def decode(clip, every, channels, limits):\n"
        "    if clip.name == 'v1.mkv':\n"
        "        os._exit(134)\n"
        "    if clip.name == 'v4.mkv':\n"
        "        re.match('(a+)+$', 'a' * 60 + 'b')\n"
        "    return whole(clip, every, channels)\n"
        "folder.decode = decode\n"
        "if __name__ == '__main__':\n"
        "    prepare(sys.argv[1], sys.argv[2], size=16, workers=1, "
        "max_excluded=0.5, preview=sys.argv[2] + '-look')\n"
    )
    (tmp_path / "run.py").write_text(code)
    call = [sys.executable, *map(str, (tmp_path / "run.py", folder, tmp_path / "s"))]
    subprocess.run(call, check=True, timeout=120)
    store = FrameStore.open(tmp_path / "s")
    excluded = store.manifest["excluded"]
    assert list(excluded) == ["v1.mkv", "v4.mkv"]
    assert "crashed" in excluded["v1.mkv"]
    assert "computed for" in excluded["v4.mkv"]
    assert len([*(tmp_path / "s-look").glob("*.png")]) == 1
    whole = prepare(folder, tmp_path / "whole", size=16, workers=1)
    kept = [v.name for v in whole.videos if v.name not in excluded]
    assert [video.name for video in store.videos] == kept


def test_a_script_without_a_guard_is_told_so(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from echosweep.data.prepare import prepare\n"
        "prepare(sys.argv[1], sys.argv[2], size=16, workers=2)\n"
    )
    (tmp_path / "run.py").write_text(code)
    call = [sys.executable, str(tmp_path / "run.py"), str(folder), str(tmp_path / "s")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "guard" in done.stderr


def test_processes_that_start_leave_ctrl_c_to_their_parent() -> None:
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    started: list[str] = []

    def start() -> None:
        with sparing_workers():
            signal.raise_signal(signal.SIGINT)
            started.append(subprocess.check_output([sys.executable, "-c", code], text=True))
        time.sleep(1)  # the signal that waited is handled here, if not before

    # Another library's handler may have been left in this process by an earlier test.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert started == ["True\n"]


def test_too_many_missing_videos_are_known_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "videos.csv").write_text("file\na.mkv\n")
    (tmp_path / "in" / "b.mkv").write_bytes(b"garbage")
    with pytest.raises(
        EchoSweepError, match=r"a.mkv: listed but missing\)\. Mend or remove them and p"
    ):
        prepare(tmp_path / "in", tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def _group_lives(group: int) -> bool:
    """Say whether a process of the group runs; a zombie that nobody has buried does not."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = status.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state != "Z":
            return True
    return False


def test_other_settings_do_not_continue_a_partial_store(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "s", size=16, workers=1, progress=stop_after(2))
    with pytest.raises(UsageError, match=r"other settings \(every\)"):
        prepare(folder, tmp_path / "s", size=16, every=3, workers=1)


def test_a_finished_store_is_returned_unless_the_source_has_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(folder, tmp_path / "in")
    made = prepare(root, tmp_path / "s", size=16, workers=1)
    again = prepare(root, tmp_path / "s", size=16, workers=1)
    assert again.manifest == made.manifest
    assert "s is finished already" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"exists already, made with .* \(preparation\)"):
        prepare(root, tmp_path / "s", size=24, workers=1)
    video = min(path for path in root.rglob("*") if path.is_file())
    with video.open("ab") as file:
        file.write(b"more")
    with pytest.raises(UsageError, match=r"exists already, made with .* \(clips\)"):
        prepare(root, tmp_path / "s", size=16, workers=1)


@pytest.mark.parametrize("out", ["/", ".", "..", ""])
def test_a_place_that_has_no_name_is_refused(folder: Path, out: str) -> None:
    with pytest.raises(UsageError, match="already"):
        prepare(folder, out, size=16, workers=1)


# --- what is left out -----------------------------------------------------------------------


@pytest.fixture
def broken(folder: Path, tmp_path: Path, videos: SimpleNamespace) -> Path:
    """The eight videos and six that are each broken in another way."""
    root = shutil.copytree(folder, tmp_path / "broken")
    (root / "empty.avi").touch()
    (root / "text.mp4").write_text("this is no video\n" * 100)
    truncated = videos.write(root / "truncated.avi", videos.textured(40), "mjpeg", "yuvj420p")
    truncated.write_bytes(truncated.read_bytes()[:9000])
    videos.write(root / "tiny.mkv", videos.textured(5, 6, 40))
    (root / "nothing.gif").write_bytes(b"GIF89a")
    (root / "videos.csv").write_text("file\nmissing.avi\n")
    return root


def test_broken_videos_are_listed_with_their_reason(broken: Path, tmp_path: Path) -> None:
    store = prepare(broken, tmp_path / "store", size=16, max_excluded=0.5, workers=1)
    reasons = store.manifest["excluded"]
    assert sorted(reasons) == [
        *("empty.avi", "missing.avi", "nothing.gif", "text.mp4", "tiny.mkv", "truncated.avi"),
    ]
    assert reasons["empty.avi"] == "empty file (0 bytes)"
    assert reasons["missing.avi"] == "listed but missing"
    assert reasons["tiny.mkv"] == "frames of 40x6 pixels; at least 8 a side are needed"
    assert "truncated" in reasons["truncated.avi"]
    assert "cannot be read" in reasons["text.mp4"]
    assert len(store.videos) == 8
    assert str(tmp_path) not in json.dumps(reasons)


def test_too_many_broken_videos_stop_the_run_as_soon_as_that_is_certain(
    broken: Path, tmp_path: Path
) -> None:
    done: list[int] = []
    with pytest.raises(EchoSweepError) as caught:
        prepare(
            *(broken, tmp_path / "store"),
            size=16,
            max_excluded=0.2,
            workers=1,
            progress=lambda now, total, units=None: done.append(now),
        )
    # 2.8 of 14 are borne; ten are tried before that is judged, so that advice fits.
    assert max(done) == 9
    assert "6 of 14 videos cannot be used" in str(caught.value)
    assert "empty.avi: empty file (0 bytes)" in str(caught.value)
    # Most of those that were tried are broken: to go on without them is no advice.
    assert "--max-excluded 0." not in str(caught.value)
    assert not (tmp_path / "store").exists()
    store = prepare(broken, tmp_path / "store", size=16, max_excluded=0.5, workers=1)
    assert len(store.manifest["excluded"]) == 6


def test_the_share_that_is_offered_is_enough(folder: Path, tmp_path: Path) -> None:
    root = shutil.copytree(folder, tmp_path / "in")
    for name in ("sub/v6.mkv", "v5.mkv"):  # the first that is tried, and the last
        (root / name).write_bytes(b"garbage")
    with pytest.raises(EchoSweepError, match="give --max-excluded 0") as caught:
        prepare(root, tmp_path / "s", size=16, max_excluded=0.1, workers=1)
    offered = float(str(caught.value).split("--max-excluded ")[2].split()[0])
    store = prepare(root, tmp_path / "t", size=16, max_excluded=offered, workers=1)
    assert len(store.videos) == 6


def test_frames_that_change_size_are_excluded(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "in" / "a").mkdir(parents=True)
    Image.new("L", (20, 20)).save(tmp_path / "in" / "a" / "1.png")
    Image.new("L", (20, 24)).save(tmp_path / "in" / "a" / "2.png")
    Image.new("L", (20, 24)).save(tmp_path / "in" / "b.png")
    store = prepare(
        *(tmp_path / "in", tmp_path / "store"),
        size=16,
        every=1,
        max_excluded=0.5,
        folders="video",
        workers=1,
    )
    assert store.manifest["excluded"] == {"a": "frame 1 is (20, 24), those before (20, 20)"}


@settings(max_examples=40, deadline=None)
@given(
    garbage=st.binary(min_size=1, max_size=400),
    mark=st.sampled_from(
        [b"", b"RIFF\x00\x00\x00\x00AVI LIST", b"GIF89a\x10\x00\x10\x00", b"\x89PNG"]
    ),
    name=st.sampled_from(sorted(SOURCE_OF)),
)
def test_garbage_is_excluded_and_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, mark: bytes, name: str
) -> None:
    root = tmp_path_factory.mktemp("garbage")
    (root / name).write_bytes(mark + garbage)
    task = DecodeTask(SOURCE_OF[name], 5, Preparation((8, 8)))
    listing = SOURCES[task.kind].clips(scan(root), PrepareConfig())
    if not listing.clips:
        assert set(listing.unread) == set(scan(root).files)
        return
    (clip,) = listing.clips
    result = decode_clip(task, clip)
    assert result.images.shape == (len(result.numbers), 8, 8)
    assert bool(result.fault) == (result.numbers == [])


# --- the disk -------------------------------------------------------------------------------


def test_a_full_disk_is_explained_and_the_next_run_continues(folder: Path, tmp_path: Path) -> None:
    """A limit on file sizes gives the error that a full disk or a quota gives."""
    whole = prepare(folder, tmp_path / "whole", size=64, workers=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
        with pytest.raises(EchoSweepError, match=r"disk of .* is full.*it continues"):
            prepare(folder, tmp_path / "store", size=64, workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert hashes(prepare(folder, tmp_path / "store", size=64, workers=1)) == hashes(whole)


def test_what_cannot_fit_is_refused_before_the_start(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    videos = free // 1024**2 // 50 + 2
    array = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.uint8, (videos, 50, 8, 8))
    del array  # sparse: nothing was written
    with pytest.raises(EchoSweepError, match=r"needs about .* of disk space in .* free; free some"):
        prepare(tmp_path / "a.npy", tmp_path / "store", size=1024, every=1, workers=1)


# --- splits ---------------------------------------------------------------------------------


@given(
    groups=st.sets(st.text(max_size=4), max_size=40),
    fractions=st.sampled_from([SHARES, (0.8, 0.1, 0.1), (0.98, 0.01, 0.01), (0.1, 0.1, 0.8)]),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_splits_depend_on_the_set_of_groups_alone(
    groups: set[str], fractions: tuple[float, float, float], seed: int, data: st.DataObject
) -> None:
    drawn = assign_splits(sorted(groups), fractions, seed)
    assert drawn == assign_splits(data.draw(st.permutations(sorted(groups))), fractions, seed)
    assert set(drawn) == groups
    counts = [list(drawn.values()).count(split) for split in SPLITS]
    if len(groups) >= 3:
        assert min(counts) >= 1
    for count, share in zip(counts, fractions, strict=True):
        assert abs(count - share * len(groups)) < 3


def test_a_share_of_zero_stays_empty_and_the_seed_matters() -> None:
    groups = [f"p{number}" for number in range(40)]
    drawn = assign_splits(groups, (0.5, 0.5, 0), 0)
    assert list(drawn.values()).count("train") == list(drawn.values()).count("val") == 20
    assert drawn != assign_splits(groups, (0.5, 0.5, 0), 1)
    assert assign_splits(["only"], SHARES, 0) == {"only": "train"}


@given(
    st.lists(
        st.tuples(st.sampled_from([None, *"abcdefgh"]), st.sampled_from([None, None, *SPLITS])),
        max_size=30,
    ),
    st.integers(0, 3),
)
def test_no_patient_is_in_two_splits(rows: list[tuple[str | None, str | None]], seed: int) -> None:
    clips = [
        Clip(f"v{i}", Path(f"v{i}"), split=split, patient=patient)
        for i, (patient, split) in enumerate(rows)
    ]
    options = PrepareConfig(seed=seed)
    given = {(clip.patient, clip.split) for clip in clips if clip.patient and clip.split}
    if len({patient for patient, _ in given}) < len(given):
        with pytest.raises(UsageError, match="keep a patient in one split"):
            own_splits(clips, options)
        clips = own_splits(clips, PrepareConfig(seed=seed, redraw_splits=True))
        assert not any(clip.split for clip in clips)
    splits = [placed.split for placed in split_clips(own_splits(clips, options), options)]
    pairs = {(clip.patient, split) for clip, split in zip(clips, splits, strict=True)}
    known = [patient for patient, _ in pairs if patient]
    assert len(set(known)) == len(known)
    assert all(new == (old.split or new) for old, new in zip(clips, splits, strict=True))
    assert set(splits) <= set(SPLITS)


@given(
    st.lists(st.sampled_from([None, *"abcdefghij"]), min_size=2, max_size=20),
    st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=12),
    st.integers(0, 3),
)
def test_linked_videos_and_their_patients_are_in_one_split(
    patients: list[str | None], links: list[tuple[int, int]], seed: int
) -> None:
    clips = [Clip(f"v{i}", Path(f"v{i}"), patient=patient) for i, patient in enumerate(patients)]
    links = [(a % len(clips), b % len(clips)) for a, b in links]
    splits = [placed.split for placed in split_clips(clips, PrepareConfig(seed=seed), links)]
    assert all(splits[a] == splits[b] for a, b in links)
    by_patient = {p: s for p, s in zip(patients, splits, strict=True) if p}
    assert all(by_patient.get(p, s) == s for p, s in zip(patients, splits, strict=True))
    if not any(a != b for a, b in links):
        alone = split_clips(clips, PrepareConfig(seed=seed))
        assert splits == [placed.split for placed in alone]


def test_a_published_split_is_kept_where_linked_videos_contradict_it() -> None:
    clips = [
        Clip("a", Path("a"), split="train"),
        Clip("b", Path("b"), split="test"),
        Clip("c", Path("c")),
    ]
    one, two, three = split_clips(clips, PrepareConfig(), [(0, 1), (1, 2)])
    assert (one.split, two.split) == ("train", "test")
    assert three == ("train", "the split of an equal video")


def test_patients_are_read_from_names() -> None:
    names = ("pat1/a.avi", "pat1/b.avi", "other.avi")
    clips = [Clip(name, Path(name), patient="tag", patient_by="PatientID") for name in names]
    pattern = {"patient_regex": r"(pat\d+)/"}
    with pytest.raises(UsageError, match=r"does not fit 1 of 3 videos, as .other\.avi"):
        tell_patients(clips, PrepareConfig(**pattern), secret=False)
    with pytest.raises(UsageError, match="does not fit 1 of 3 videos;"):
        tell_patients(clips, PrepareConfig(**pattern), secret=True)
    named = tell_patients(clips, PrepareConfig(**pattern, allow_unmatched=True), secret=False)
    assert [clip.patient for clip in named] == ["pat1", "pat1", "tag"]
    for wrong, message in (("(", "not a pattern"), ("pat", "no group"), ("(x)y", "fits no")):
        with pytest.raises(UsageError, match=message):
            tell_patients(clips, PrepareConfig(patient_regex=wrong, allow_unmatched=True), False)


def test_a_patient_has_one_spelling() -> None:
    names = ("Pat1_a", "pat1_b", "PAT1 _c", "pat2_d")
    clips = [Clip(name, Path(name)) for name in names]
    told = tell_patients(clips, PrepareConfig(patient_regex="(?i)(pat.*)_"), secret=False)
    assert [clip.patient for clip in told] == ["Pat1", "Pat1", "Pat1", "pat2"]


def test_patients_are_told_by_study_folder_or_not_at_all() -> None:
    clips = [
        Clip("a/1.dcm", Path("1"), patient="ANON", study="s1"),
        Clip("a/2.dcm", Path("2"), patient="ANON", study="s2"),
        Clip("b/3.dcm", Path("3"), patient="ANON"),
    ]

    def told(manner: str) -> list[str | None]:
        options = PrepareConfig(patient_from=manner)
        return [clip.patient for clip in tell_patients(clips, options, secret=False)]

    assert told("auto") == ["ANON"] * 3
    assert told("study") == ["s1", "s2", None]
    assert told("folder") == ["a", "a", "b"]
    assert told("video") == [None] * 3
    with pytest.raises(UsageError, match="all files are in one folder"):
        tell_patients([Clip("1.avi", Path("1"))], PrepareConfig(patient_from="folder"), False)


def test_patients_of_the_real_clips_stay_together(shared_data: Path) -> None:
    options = PrepareConfig(patient_regex=r"(pat\d)", allow_unmatched=True)
    listing = SOURCES["folder"].clips(scan(shared_data / "clips"), options)
    clips = tell_patients(listing.clips, options, secret=False)
    splits = [placed.split for placed in split_clips(clips, options)]
    pairs = {(c.patient, split) for c, split in zip(clips, splits, strict=True) if c.patient}
    assert len(clips) == 36
    assert sorted(patient for patient, _ in pairs if patient) == ["pat1", "pat2", "pat3"]


def test_real_clips_are_whole(shared_data: Path, tmp_path: Path) -> None:
    store = prepare(shared_data / "clips" / "linear", tmp_path / "store", every=10)
    listed = json.loads((shared_data / "clips" / "manifest.json").read_text())
    frames = {row["path"].removeprefix("linear/"): row["frames"] for row in listed}
    assert store.manifest["excluded"] == {}
    for number, video in enumerate(store.videos):
        kept = store.index["frame"][store.index["video"] == number]
        assert kept.tolist() == list(range(0, frames[video.name], 10))


# --- wrong arguments ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("size", 7, "a side of 7 is not in 8 to 1024"),
        ("size", (64, 2000), "a side of 2000 is not in 8 to 1024"),
        ("every", 0, "every = 0"),
        ("fit", "stretch", "fit = 'stretch'.*'crop' or 'letterbox'"),
        ("filter", "nearest", "filter = 'nearest'.*'lanczos'"),
        ("channels", 2, "channels = 2.* 1 or 3"),
        ("kind", "video", "kind 'video' is not known.*auto, echonet"),
        ("max_excluded", 1.5, "max_excluded = 1.5: must be 1 or less"),
        ("splits", (0.5, 0.5, 0.5), "three shares"),
        ("splits", (1.5, -0.5, 0.0), "three shares"),
        ("workers", 0, "workers = 0: must be above 0"),
        ("patient_regex", "(", "not a pattern"),
    ],
)
def test_wrong_arguments_leave_nothing_behind(
    folder: Path, tmp_path: Path, argument: str, value: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        prepare(folder, tmp_path / "store", **{argument: value})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_store_is_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mine").touch()
    with pytest.raises(UsageError, match="exists already"):
        prepare(folder, tmp_path / "store")
    (tmp_path / "store" / "mine").unlink()
    assert len(prepare(folder, tmp_path / "store", size=16, workers=1).videos) == 8


def test_errors_of_the_disk_other_than_space_are_not_dressed_up(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(StoreWriter, "append", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        prepare(folder, tmp_path / "store", workers=1)
