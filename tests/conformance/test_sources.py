"""What every source must do; registering one is testing it. A new one adds its line to MAKERS."""

import contextlib
import json
import pickle
import random
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from echosweep import runs
from echosweep.config import PrepareConfig
from echosweep.data import SOURCES
from echosweep.data.clip_frames import DecodeTask, decode_clip
from echosweep.data.kinds import find
from echosweep.data.limits import LIMITS
from echosweep.data.plan import make_plan
from echosweep.data.prepare import prepare
from echosweep.data.source import Listing
from echosweep.data.store import Preparation, Video
from echosweep.data.tree import scan
from echosweep.errors import EchoSweepError, UsageError

FRAMES, VIDEOS = 7, 4


def pixels(video: int) -> np.ndarray:
    rng = np.random.default_rng(video)
    return rng.integers(0, 256, (FRAMES, 16, 20), dtype=np.uint8)


def make_images(root: Path) -> None:
    for video in range(VIDEOS):
        (root / f"v{video}").mkdir(parents=True)
        for number, frame in enumerate(pixels(video)):
            Image.fromarray(frame).save(root / f"v{video}" / f"{number}.png")


def make_array(root: Path) -> None:
    root.mkdir()
    np.save(root / "a.npy", np.stack([pixels(video) for video in range(VIDEOS)]))


def write_video(path: Path, frames: np.ndarray) -> None:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "gray"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        container.mux(stream.encode(None))


def make_folder(root: Path) -> None:
    for video in range(VIDEOS):
        write_video(root / f"v{video}.mkv", pixels(video))


def make_echonet(root: Path) -> None:
    rows = ["FileName,EF,ESV,EDV,NumberOfFrames,Split"]
    for video in range(VIDEOS):
        write_video(root / "Videos" / f"v{video}.avi", pixels(video))
        rows.append(f"v{video},50,30,60,{FRAMES},{('TRAIN', 'VAL', 'TEST', 'TRAIN')[video]}")
    (root / "FileList.csv").write_text("\n".join(rows))


def make_dicom(root: Path) -> None:
    pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")
    root.mkdir()
    for video in range(VIDEOS):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.SOPClassUID = pydicom.uid.UltrasoundMultiFrameImageStorage
        data.SOPInstanceUID, data.PatientID = f"1.2.{video}", f"patient {video}"
        data.NumberOfFrames, data.Rows, data.Columns = FRAMES, 16, 20
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelRepresentation = 7, 0
        data.PixelData = pixels(video).tobytes()
        data.save_as(root / f"v{video}.dcm", enforce_file_format=True)


def make_camus(root: Path) -> None:
    for video in range(VIDEOS):
        folder, stem = root / f"patient{video}", f"patient{video}_4CH_sequence"
        folder.mkdir(parents=True)
        fields = {
            **{"NDims": "3", "DimSize": f"20 16 {FRAMES}", "ElementType": "MET_UCHAR"},
            "ElementDataFile": f"{stem}.raw",
        }
        header = "".join(f"{name} = {value}\n" for name, value in fields.items())
        (folder / f"{stem}.mhd").write_text(header)
        (folder / f"{stem}.raw").write_bytes(pixels(video).tobytes())
        (folder / "Info_4CH.cfg").write_text(f"ED: 1\nES: 4\nNbFrame: {FRAMES}\nEF: 55\n")


MAKERS: dict[str, Callable[[Path], None]] = {
    "echonet": make_echonet,
    "folder": make_folder,
    "dicom": make_dicom,
    "images": make_images,
    "array": make_array,
    "camus": make_camus,
}


@pytest.fixture(params=SOURCES, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(kind: str, tmp_path: Path) -> Path:
    root = tmp_path / "in"
    MAKERS[kind](root)
    return root


def listed(kind: str, path: Path) -> Listing:
    return SOURCES[kind].clips(scan(path), PrepareConfig())


def test_it_is_the_kind_of_its_own_files(kind: str, made: Path) -> None:
    counted = {name for name, source in SOURCES.items() if source.count(scan(made))}
    assert counted == {kind, *getattr(SOURCES[kind], "BEFORE", ())}
    assert find(made, PrepareConfig()).kind == kind
    assert SOURCES[kind].LOOKS_FOR


def test_it_finds_nothing_in_an_empty_folder(kind: str, tmp_path: Path) -> None:
    assert SOURCES[kind].count(scan(tmp_path)) == 0


def test_listing_is_fixed_unique_and_plain(kind: str, made: Path) -> None:
    listing = listed(kind, made)
    assert listing == listed(kind, made)
    assert listing.layout
    clips = listing.clips
    assert len({clip.name for clip in clips}) == len(clips) == VIDEOS
    assert pickle.loads(pickle.dumps(clips)) == clips
    assert not any(Path(clip.name).is_absolute() or "\\" in clip.name for clip in clips)
    for clip in clips:
        assert clip.frames in (0, FRAMES)
        assert not clip.fault
        assert not clip.left_out
        assert all(part.is_file() for part in clip.parts)
        assert bool(clip.split) == bool(clip.split_by)
        assert bool(clip.patient) == bool(clip.patient_by)
        row = Video(clip.name, "train", clip.patient, dict(clip.labels))
        assert Video(**json.loads(json.dumps(row.__dict__))) == row


@pytest.mark.parametrize("every", [1, 3, 50])
def test_it_yields_the_right_frames_unchanged(kind: str, made: Path, every: int) -> None:
    expected = {pixels(video)[::every].tobytes() for video in range(VIDEOS)}
    found = set()
    for clip in listed(kind, made).clips:
        frames = list(SOURCES[kind].decode(clip, every, 1, LIMITS))
        assert [frame.number for frame in frames] == list(range(0, FRAMES, every))
        found.add(b"".join(frame.image.tobytes() for frame in frames))
    assert found == expected


def test_colour_is_what_grey_is_in_three_channels(kind: str, made: Path) -> None:
    clip = listed(kind, made).clips[0]
    grey = decode_clip(DecodeTask(kind, 2, Preparation((16, 16))), clip)
    colour = decode_clip(DecodeTask(kind, 2, Preparation((16, 16), channels=3)), clip)
    assert colour.images.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(colour.images, np.stack([grey.images] * 3, -1))


def test_each_clip_has_a_content_of_its_own(kind: str, made: Path) -> None:
    task = DecodeTask(kind, 2, Preparation((16, 16)))
    contents = {decode_clip(task, clip).content for clip in listed(kind, made).clips}
    assert len(contents) == VIDEOS
    assert all(contents)


def test_decoding_is_lazy(kind: str, made: Path) -> None:
    clip = listed(kind, made).clips[0]
    assert len(list(islice(SOURCES[kind].decode(clip, 1, 1), 2))) == 2


def test_a_file_that_vanishes_is_a_fault_not_a_crash(kind: str, made: Path) -> None:
    clip = listed(kind, made).clips[0]
    shutil.rmtree(made)
    result = decode_clip(DecodeTask(kind, 1, Preparation((16, 16))), clip)
    assert result.fault
    assert str(made) not in result.fault


def test_the_store_is_the_same_each_time(kind: str, made: Path, tmp_path: Path) -> None:
    one = prepare(made, tmp_path / "one", size=8, every=3, workers=1)
    two = prepare(made, tmp_path / "two", size=8, every=3, workers=1, kind=kind)
    for name in ("images.npy", "index.npy", "videos.json"):
        assert runs.sha256_file(one.path / name) == runs.sha256_file(two.path / name)
    assert {"train", "val", "test"} == {video.split for video in one.videos}
    assert one.fingerprint == Preparation((8, 8)).fingerprint
    assert str(tmp_path) not in json.dumps(one.manifest["source"])


def test_another_kind_of_folder_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    with pytest.raises(UsageError, match="nothing to prepare"):
        prepare(tmp_path / "in", tmp_path / "store", kind=kind)


# --- whatever is done to the files ------------------------------------------------------------


def cut(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * draw.random())])


def empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def flip_bytes(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(8):
        if data:
            data[draw.randrange(len(data))] = draw.randrange(256)
    path.write_bytes(data)


def rename(path: Path, draw: random.Random) -> None:
    path.rename(path.with_name(draw.choice(["A B", "ü", "-x", path.stem]) + path.suffix.upper()))


def copy(path: Path, draw: random.Random) -> None:
    shutil.copy(path, path.with_name(f"copy {draw.randrange(99)}{path.suffix}"))


def add_garbage(path: Path, draw: random.Random) -> None:
    path.with_name(f"new{draw.randrange(99)}{path.suffix}").write_bytes(draw.randbytes(300))


def add_other(path: Path, draw: random.Random) -> None:
    name = draw.choice(["notes.txt", "table.csv", "videos.csv", "metadata.csv", "._x", "noending"])
    path.with_name(name).write_text(
        draw.choice(["", "file\n", "file,split\nx,dev\n", "a;b\n1;2\n"])
    )


def delete(path: Path, draw: random.Random) -> None:
    path.unlink()


DAMAGES = (cut, empty, flip_bytes, rename, copy, add_garbage, add_other, delete)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """One undamaged source of each kind, made once."""
    root, made = tmp_path_factory.mktemp("whole"), set[str]()

    def source(kind: str) -> Path:
        if kind not in made:
            MAKERS[kind](root / kind)
            made.add(kind)
        return root / kind

    return source


@settings(max_examples=25, deadline=None)
@given(
    damages=st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=4),
    patient_from=st.sampled_from(["auto", "folder", "video"]),
    seed=st.integers(0, 2**32),
)
def test_every_file_is_in_the_store_or_is_accounted_for_and_no_patient_is_in_two_splits(
    kind: str,
    whole: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
    damages: list[Callable[[Path, random.Random], None]],
    patient_from: str,
    seed: int,
) -> None:
    draw, root = random.Random(seed), tmp_path_factory.mktemp("damaged")
    source = shutil.copytree(whole(kind), root / "in")
    for damage in damages:
        files = sorted(path for path in source.rglob("*") if path.is_file())
        if files:
            with contextlib.suppress(FileNotFoundError):
                damage(draw.choice(files), draw)
    options = {"every": 3, "size": 8, "kind": kind, "patient_from": patient_from}
    try:
        plan = make_plan(source, PrepareConfig(**options))
        store = prepare(source, root / "store", max_excluded=1, workers=1, **options)
    except EchoSweepError:
        return  # one line that says why; anything else is a fault of ours
    excluded, left_out = store.manifest["excluded"], store.manifest["left_out"]
    kept = {video.name for video in store.videos}
    assert kept | set(excluded) == {clip.name for clip in plan.clips}
    assert not kept & set(excluded)
    assert set(left_out) == set(plan.left_out)
    assert all([*excluded.values(), *left_out.values()])
    _check_every_file_is_counted_once(source, store.manifest["summary"], plan.found.listing)
    splits: dict[str, set[str]] = {}
    for video in store.videos:
        splits.setdefault(video.patient or video.name, set()).add(video.split)
    assert all(len(each) == 1 for each in splits.values())
    if kind == "echonet":  # a published split is the one that the table gives, or there is none
        published = dict(zip("0123", ("train", "val", "test", "train"), strict=True))
        listed = {clip.name: clip.split for clip in plan.clips if clip.name[-1] in published}
        assert all(split in (None, published[name[-1]]) for name, split in listed.items())
    shutil.rmtree(root)


def _check_every_file_is_counted_once(source: Path, summary: dict, listing: Listing) -> None:
    tree, used = scan(source), set(listing.tables)
    for clip in listing.clips:
        used.update(clip.parts or (clip.path,))
    not_read = sum(row["files"] for row in summary["not_read"])
    assert not_read + len(used & set(tree.files)) == len(tree.files) + len(tree.odd)
