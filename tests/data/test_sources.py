"""Each source: what it lists, what it labels, and what it says of a wrong layout."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from echosweep.data import echonet, folder
from echosweep.data.prepare import prepare
from echosweep.data.store import FrameStore
from echosweep.errors import UsageError

COLUMNS = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"


def echonet_folder(root: Path, videos: SimpleNamespace, header: str = COLUMNS) -> Path:
    """Four videos by EchoNet's layout, one named with .avi, one listed but missing."""
    names = ["0X1", "0X2.avi", "0X3", "0X4"]
    splits = ["TRAIN", "VAL", "TEST", "TRAIN"]
    for name in names[:3]:
        path = root / "Videos" / f"{name.removesuffix('.avi')}.avi"
        videos.write(path, videos.numbered(12), "mjpeg", "yuvj420p")
    rows = [f"{n},55.5,40,90,16,16,50,12,{s}" for n, s in zip(names, splits, strict=True)]
    (root / "FileList.csv").write_text("\n".join([header, *rows]) + "\n")
    traced = ["FileName,X1,Y1,X2,Y2,Frame"]
    for frame, width in ((7, 10), (3, 6)):
        traced += [
            f"0X1.avi,8,0,8,15,{frame}",
            f"0X1.avi,{8 - width / 2},5,{8 + width / 2},5,{frame}",
        ]
    (root / "VolumeTracings.csv").write_text("\n".join(traced) + "\n")
    return root


# --- echonet --------------------------------------------------------------------------------


def test_echonet_keeps_its_splits_and_labels(tmp_path: Path, videos: SimpleNamespace) -> None:
    source = echonet_folder(tmp_path / "EchoNet-Dynamic", videos)
    store = prepare(source, tmp_path / "store", size=16, every=4, max_excluded=0.3, workers=1)
    assert store.manifest["source"]["kind"] == "echonet"
    assert store.manifest["source"]["name"] == "EchoNet-Dynamic"
    assert [(v.name, v.split) for v in store.videos] == [
        *(("0X1", "train"), ("0X2", "val"), ("0X3", "test")),
    ]
    assert store.videos[1].labels == {"EF": 55.5, "ESV": 40.0, "EDV": 90.0}
    # Frame 7 has the longer disc, so it is the end of diastole.
    assert store.videos[0].labels == store.videos[1].labels | {"ED_frame": 7, "ES_frame": 3}
    assert store.manifest["excluded"] == {"0X4": "listed but missing"}
    assert np.rint(store.images[:3].mean(axis=(1, 2)) / 8).tolist() == [0, 4, 8]


def test_echonet_without_tracings_has_no_phases(tmp_path: Path, videos: SimpleNamespace) -> None:
    source = echonet_folder(tmp_path, videos)
    (source / "VolumeTracings.csv").unlink()
    assert all("ED_frame" not in clip.labels for clip in echonet.clips(source))


def test_echonet_names_a_missing_column(tmp_path: Path, videos: SimpleNamespace) -> None:
    source = echonet_folder(tmp_path, videos, COLUMNS.replace("EF", "Ejection"))
    with pytest.raises(UsageError, match="no column EF; it has: FileName, Ejection, ESV, EDV"):
        echonet.clips(source)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("VAL", "DEV", "split 'DEV'"),
        ("0X3,", "0X1,", "lists 0X1 twice"),
        ("55.5", "good", r"FileList\.csv has 'good' where a number should be"),
        ("55.5", "nan", r"FileList\.csv has 'nan' where a number should be"),
    ],
)
def test_echonet_refuses_a_wrong_row(
    tmp_path: Path, videos: SimpleNamespace, old: str, new: str, message: str
) -> None:
    table = echonet_folder(tmp_path, videos) / "FileList.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(UsageError, match=message):
        echonet.clips(tmp_path)


@pytest.mark.parametrize("frame", ["nan", "inf", "x"])
def test_echonet_refuses_a_wrong_tracing(
    tmp_path: Path, videos: SimpleNamespace, frame: str
) -> None:
    table = echonet_folder(tmp_path, videos) / "VolumeTracings.csv"
    table.write_text(table.read_text().replace(",7\n", f",{frame}\n"))
    with pytest.raises(UsageError, match=f"has '{frame}' where a number should be"):
        echonet.clips(tmp_path)


def test_echonet_needs_its_videos_folder(tmp_path: Path) -> None:
    (tmp_path / "FileList.csv").write_text(COLUMNS + "\n")
    with pytest.raises(UsageError, match=r"FileList\.csv and Videos/"):
        echonet.clips(tmp_path)


# --- folder ---------------------------------------------------------------------------------


def test_a_table_gives_patients_splits_and_labels(tmp_path: Path, videos: SimpleNamespace) -> None:
    for name in ("a.mkv", "b.mkv", "sub/deep/c.mkv"):
        videos.write(tmp_path / name, videos.numbered(2))
    (tmp_path / "videos.csv").write_text(
        "file,patient,split,view,EF\na.mkv,p1,TEST,A4C,61\nsub/deep/c.mkv,p1,,,\n", "utf-8-sig"
    )
    a, b, c = folder.clips(tmp_path)
    assert (a.patient, a.split, a.labels) == ("p1", "test", {"view": "A4C", "EF": 61.0})
    assert (b.patient, b.split, b.labels) == (None, None, {})
    assert (c.patient, c.split, c.labels) == ("p1", None, {"folder": "sub/deep"})
    store = prepare(tmp_path, tmp_path / "store", size=8, workers=1)
    assert [video.split for video in store.videos] == ["test", "train", "test"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,patient\na.mkv,p\n", "no column file; it has: name, patient"),
        ("file,split\na.mkv,dev\n", "split 'dev' in .*videos.csv is not one of train, val, test"),
        ("file\na.mkv\na.mkv\n", "lists 'a.mkv' twice"),
        ("", "no column file; it has: nothing"),
    ],
)
def test_a_wrong_table_is_refused(
    tmp_path: Path, videos: SimpleNamespace, table: str, message: str
) -> None:
    videos.write(tmp_path / "a.mkv", videos.numbered(2))
    (tmp_path / "videos.csv").write_text(table)
    with pytest.raises(UsageError, match=message):
        folder.clips(tmp_path)


def test_a_table_that_is_no_text_is_refused(tmp_path: Path, videos: SimpleNamespace) -> None:
    videos.write(tmp_path / "a.mkv", videos.numbered(2))
    (tmp_path / "videos.csv").write_bytes(b"file\n\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a CSV file in UTF-8"):
        folder.clips(tmp_path)


def test_names_that_are_not_utf8_and_words_that_are_no_numbers_are_kept(
    tmp_path: Path, videos: SimpleNamespace
) -> None:
    name = os.fsdecode(b"\xff.mkv")
    videos.write(tmp_path / "in" / "a.mkv", videos.numbered(2))
    try:
        (tmp_path / "in" / "a.mkv").rename(tmp_path / "in" / name)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    (tmp_path / "in" / "videos.csv").write_text("file,EF\nb.mkv,nan\n")
    (clip, _) = folder.clips(tmp_path / "in")
    assert clip.labels == {"EF": "nan"}
    store = prepare(tmp_path / "in", tmp_path / "store", size=8, max_excluded=0.5, workers=1)
    assert [video.name for video in FrameStore.open(store.path).videos] == [name]


def test_one_file_is_a_source_and_hidden_files_are_not(
    tmp_path: Path, videos: SimpleNamespace
) -> None:
    path = videos.write(tmp_path / "a.mkv", videos.numbered(2))
    videos.write(tmp_path / ".trash" / "b.mkv", videos.numbered(2))
    assert [clip.name for clip in folder.clips(path)] == ["a.mkv"]
    assert [clip.name for clip in folder.clips(tmp_path)] == ["a.mkv"]


# --- auto -----------------------------------------------------------------------------------


def save(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (16, 16), level).save(path)


def test_nothing_to_prepare_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"nothing to prepare.*FileList.*avi.*DICOM.*png.*npy"):
        prepare(tmp_path / "in", tmp_path / "store")
    with pytest.raises(UsageError, match="nothing to prepare; looked for images"):
        prepare(tmp_path / "in", tmp_path / "store", kind="images")
    with pytest.raises(UsageError, match=r"there is no .*absent"):
        prepare(tmp_path / "absent", tmp_path / "store")


def test_an_ambiguous_folder_asks_for_the_kind(tmp_path: Path, videos: SimpleNamespace) -> None:
    videos.write(tmp_path / "in" / "a.mkv", videos.numbered(2))
    save(tmp_path / "in" / "b.png", 9)
    with pytest.raises(UsageError, match="--kind folder or --kind images"):
        prepare(tmp_path / "in", tmp_path / "store")
    store = prepare(tmp_path / "in", tmp_path / "store", kind="folder", size=8, workers=1)
    assert [video.name for video in store.videos] == ["a.mkv"]
