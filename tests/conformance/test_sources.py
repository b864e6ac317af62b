"""What every source must do; registering one is testing it. A new one adds its line to MAKERS."""

import json
import pickle
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echosweep import runs
from echosweep.config import PrepareConfig
from echosweep.data import SOURCES
from echosweep.data.decoding import Task, decode_clip
from echosweep.data.kinds import find
from echosweep.data.prepare import prepare
from echosweep.data.source import Listing
from echosweep.data.store import Preparation, Video
from echosweep.data.tree import scan
from echosweep.errors import UsageError

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


@pytest.fixture(params=SOURCES)
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
        frames = list(SOURCES[kind].decode(clip, every, 1))
        assert [frame.number for frame in frames] == list(range(0, FRAMES, every))
        found.add(b"".join(frame.image.tobytes() for frame in frames))
    assert found == expected


def test_colour_is_what_grey_is_in_three_channels(kind: str, made: Path) -> None:
    clip = listed(kind, made).clips[0]
    grey = decode_clip(Task(kind, 2, Preparation((16, 16))), clip)
    colour = decode_clip(Task(kind, 2, Preparation((16, 16), channels=3)), clip)
    assert colour.images.shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(colour.images, np.stack([grey.images] * 3, -1))


def test_each_clip_has_a_content_of_its_own(kind: str, made: Path) -> None:
    task = Task(kind, 2, Preparation((16, 16)))
    contents = {decode_clip(task, clip).content for clip in listed(kind, made).clips}
    assert len(contents) == VIDEOS
    assert all(contents)


def test_decoding_is_lazy(kind: str, made: Path) -> None:
    clip = listed(kind, made).clips[0]
    assert len(list(islice(SOURCES[kind].decode(clip, 1, 1), 2))) == 2


def test_a_file_that_vanishes_is_a_fault_not_a_crash(kind: str, made: Path) -> None:
    clip = listed(kind, made).clips[0]
    shutil.rmtree(made)
    result = decode_clip(Task(kind, 1, Preparation((16, 16))), clip)
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
