"""The EchoNet data sets: which layout is found, what splits and labels its lists give."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from echosweep.config import PrepareConfig
from echosweep.data import echonet, folder
from echosweep.data.echonet_lists import parse_folds
from echosweep.data.prepare import prepare
from echosweep.data.source import MISSING, Broken, Clip, Listing
from echosweep.data.tree import scan
from echosweep.errors import UsageError

COLUMNS = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"


def listed(root: Path, **options: str) -> Listing:
    return echonet.clips(scan(root), PrepareConfig.model_validate(options))


def found(root: Path, **options: str) -> dict[str, Clip]:
    return {clip.name: clip for clip in listed(root, **options).clips}


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


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


def bare_folder(root: Path, rows: Sequence[str], header: str = "FileName,EF,ESV,EDV,Split") -> Path:
    """A list whose videos are empty files, as listing opens none."""
    touch(root, *(f"Videos/{row.split(',')[0]}.avi" for row in rows))
    write(root / "FileList.csv", header, *rows)
    return root


# --- EchoNet-Dynamic ------------------------------------------------------------------------


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


def test_a_listing_says_what_it_read(tmp_path: Path, videos: SimpleNamespace) -> None:
    source = echonet_folder(tmp_path, videos)
    touch(source, "Videos/0X9.avi")
    listing = listed(source)
    assert listing.layout == "EchoNet-Dynamic: FileList.csv"
    assert [table.name for table in listing.tables] == ["FileList.csv", "VolumeTracings.csv"]
    assert listing.unlisted == ["Videos/0X9.avi"]
    assert [clip.split_by for clip in listing.clips] == [*["FileList.csv"] * 3, ""]
    assert [clip.frames for clip in listing.clips] == [12, 12, 12, 0]
    assert listing.clips[3].path == source / "Videos" / "0X4"


def test_without_tracings_there_are_no_phases(tmp_path: Path, videos: SimpleNamespace) -> None:
    source = echonet_folder(tmp_path, videos)
    (source / "VolumeTracings.csv").unlink()
    assert all("ED_frame" not in clip.labels for clip in listed(source).clips)


def test_a_missing_column_is_named(tmp_path: Path, videos: SimpleNamespace) -> None:
    source = echonet_folder(tmp_path, videos, COLUMNS.replace("EF", "Ejection"))
    with pytest.raises(UsageError, match="no column EF; it has: FileName, Ejection, ESV, EDV"):
        listed(source)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "VAL",
            "TRIAN",
            "FileList.csv row 3, column Split: 'TRIAN' is not one of train, val, test",
        ),
        ("0X2.avi,55.5", "0X2.avi,good", "FileList.csv row 3, column EF: 'good' is no number"),
        (
            "0X2.avi,55.5,40",
            "0X2,1,-inf",
            "FileList.csv row 3, column ESV: '-inf' is no finite number",
        ),
        (
            "0X3,55.5,40,90,16,16,50,12,TEST",
            "0X2,55.5,40,90,16,16,50,12,TEST",
            "FileList.csv row 4, column Split: 'TEST' differs from 'VAL' in row 3, "
            "of the same video",
        ),
        ("12,VAL", "VAL", "FileList.csv row 3: ends before column Split"),
        ("12,VAL", "12,VAL,VAL", "FileList.csv row 3: has 10 cells for 9 columns"),
        ("0X2.avi,", "0X2.avi,,", "FileList.csv row 3: has 10 cells for 9 columns"),
        ("VAL", "3", "FileList.csv row 3, column Split: '3' is not one of train, val, test"),
    ],
)
def test_a_wrong_row_costs_its_own_video(
    tmp_path: Path, videos: SimpleNamespace, old: str, new: str, fault: str
) -> None:
    table = echonet_folder(tmp_path, videos) / "FileList.csv"
    before = found(tmp_path)
    text = table.read_text()
    assert text.count(old) == 1
    table.write_text(text.replace(old, new))
    after = found(tmp_path)
    assert after.pop("0X2").fault == fault
    assert after == {name: before[name] for name in after}
    assert "0X1" in after
    assert "0X4" in after


@pytest.mark.parametrize("word", ["nan", "N/A", "", "-", "none"])
def test_a_value_that_is_missing_is_no_label(
    tmp_path: Path, videos: SimpleNamespace, word: str
) -> None:
    table = echonet_folder(tmp_path, videos) / "FileList.csv"
    table.write_text(table.read_text().replace("0X2.avi,55.5,40", f"0X2.avi,{word},40"))
    clip = found(tmp_path)["0X2"]
    assert (clip.fault, clip.split, clip.labels) == ("", "val", {"ESV": 40.0, "EDV": 90.0})


def test_rows_that_agree_are_one_video(tmp_path: Path) -> None:
    rows = ["a,50,1,2,TRAIN", "b,60,1,2,TEST"]
    bare_folder(tmp_path, rows)
    write(tmp_path / "FileList.csv", "FileName,EF,ESV,EDV,Split", *rows, "a.avi,50.0,1,2,training")
    listing = listed(tmp_path)
    assert [(clip.name, clip.split) for clip in listing.clips] == [("a", "train"), ("b", "test")]
    assert "1 videos have several rows in FileList.csv" in listing.notes[0]


def test_a_video_without_a_split_is_said(tmp_path: Path) -> None:
    listing = listed(bare_folder(tmp_path, ["a,50,1,2,", "b,60,1,2,TEST"]))
    assert [clip.split for clip in listing.clips] == [None, "test"]
    assert listing.notes == ["1 videos have no Split in FileList.csv: it is drawn"]


@pytest.mark.parametrize("frame", ["nan", "inf", "x", "7x", ""])
def test_a_tracing_that_cannot_be_read_gives_no_phases(
    tmp_path: Path, videos: SimpleNamespace, frame: str
) -> None:
    table = echonet_folder(tmp_path, videos) / "VolumeTracings.csv"
    other = table.read_text().replace("0X1", "0X2").split("\n", 1)[1]
    table.write_text(table.read_text().replace(",7\n", f",{frame}\n") + other)
    listing = listed(tmp_path)
    clips = {clip.name: clip for clip in listing.clips}
    assert "ED_frame" not in clips["0X1"].labels
    assert (clips["0X2"].labels["ED_frame"], clips["0X2"].labels["ES_frame"]) == (7, 3)
    assert listing.notes[0].startswith("VolumeTracings.csv row 2, column Frame:")
    assert "and 1 rows more" in listing.notes[0]


def test_a_tracing_that_lost_its_axis_names_no_phase(
    tmp_path: Path, videos: SimpleNamespace
) -> None:
    # The disc alone would make the larger ventricle the smaller one.
    table = echonet_folder(tmp_path, videos) / "VolumeTracings.csv"
    table.write_text(table.read_text().replace("0X1.avi,8,0,8,15,7", "0X1.avi,8,?,8,15,7"))
    assert "ED_frame" not in found(tmp_path)["0X1"].labels


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "FileName,Frame\n0X1,3\n", "PK\3\4"])
def test_tracings_that_are_no_table_stop_nothing(
    tmp_path: Path, videos: SimpleNamespace, text: str
) -> None:
    (echonet_folder(tmp_path, videos) / "VolumeTracings.csv").write_text(text)
    listing = listed(tmp_path)
    assert len(listing.clips) == 4
    assert [table.name for table in listing.tables] == ["FileList.csv"]
    assert listing.notes[0].endswith("it is not used")


@pytest.mark.parametrize(
    ("list_name", "file_name"),
    [
        *(("FileList.csv", "Videos/a.AVI"), ("filelist.CSV", "videos/a.avi")),
        *(
            ("FileList.csv", "a.avi"),
            ("FileList.csv", "avi/a.avi"),
            ("FileList.csv", "Videos/a.mp4"),
        ),
        ("FileList.csv", "Videos/part1/a.avi"),
    ],
)
def test_files_are_found_as_they_are_named(tmp_path: Path, list_name: str, file_name: str) -> None:
    touch(tmp_path, file_name)
    for listed_as in ("a", "a.avi", file_name, "/home/x/a.avi", "A.Avi"):
        write(tmp_path / list_name, "FileName,EF,Split", f"{listed_as},50,TEST")
        (clip,) = listed(tmp_path).clips
        assert (clip.path, clip.split, clip.fault) == (tmp_path / file_name, "test", "")
        assert clip.name == "a"


def test_a_name_outside_the_folder_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "secret.avi", "in/Videos/a.avi")
    rows = ["../secret.avi,50,TEST", f"{tmp_path}/secret.avi,50,TEST", "../../secret,50,TEST"]
    write(tmp_path / "in" / "FileList.csv", "FileName,EF,Split", *rows, "a,50,TEST")
    *outside, inside = listed(tmp_path / "in").clips
    assert [clip.fault for clip in outside] == [MISSING] * 3
    assert all(tmp_path / "in" in clip.path.parents for clip in outside)
    assert not inside.fault


def test_videos_of_one_name_keep_their_endings(tmp_path: Path) -> None:
    touch(tmp_path, "Videos/a.avi", "Videos/a.mp4")
    write(
        tmp_path / "FileList.csv", "FileName,EF,Split", "a.avi,1,TEST", "a.mp4,2,VAL", "a,3,TRAIN"
    )
    assert [(clip.name, clip.split, clip.fault) for clip in listed(tmp_path).clips] == [
        ("a.avi", "test", ""),
        ("a.mp4", "val", ""),
        ("a", None, "may be any of several files: 'a.avi', 'a.mp4'"),
    ]


def test_a_list_without_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "FileList.csv").write_text(COLUMNS + "\n")
    with pytest.raises(UsageError, match=r"FileList\.csv and Videos/"):
        listed(tmp_path)


def test_an_empty_folder_of_videos_has_none_of_the_list(tmp_path: Path) -> None:
    (tmp_path / "Videos").mkdir()
    write(tmp_path / "FileList.csv", "FileName,EF,Split", "a,1,TEST")
    (clip,) = listed(tmp_path).clips
    assert (clip.fault, clip.path) == (MISSING, tmp_path / "Videos" / "a")


# --- where the list is ----------------------------------------------------------------------

ROWS = ["a,50,1,2,TRAIN", "b,60,1,2,TEST"]


def test_a_list_one_folder_below_is_used_and_named(tmp_path: Path) -> None:
    bare_folder(tmp_path / "in" / "EchoNet-Dynamic", ROWS)
    listing = listed(tmp_path / "in")
    assert listing.layout == "EchoNet-Dynamic: FileList.csv in in/EchoNet-Dynamic"
    assert [(clip.name, clip.split) for clip in listing.clips] == [("a", "train"), ("b", "test")]
    hidden = echonet.clips(scan(tmp_path / "in"), PrepareConfig(anonymous=True))
    assert hidden.layout == "EchoNet-Dynamic: FileList.csv in a folder below"
    store_of = echonet.parent_of_videos(tmp_path / "in" / "EchoNet-Dynamic" / "Videos")
    assert store_of == (tmp_path / "in" / "EchoNet-Dynamic").resolve()
    assert echonet.parent_of_videos(tmp_path / "in") is None
    assert echonet.parent_of_videos(tmp_path / "in" / "EchoNet-Dynamic") is None


def test_several_lists_and_videos_beside_them_are_asked_about(tmp_path: Path) -> None:
    bare_folder(tmp_path / "one", ROWS)
    touch(tmp_path, "extra/c.avi")
    with pytest.raises(UsageError, match=r"1 videos outside, as extra/c\.avi: give \S+/one, or"):
        listed(tmp_path)
    bare_folder(tmp_path / "two", ROWS)
    with pytest.raises(
        UsageError, match=r"holds 2 data sets, with a list each: give one of \S+/one, \S+/two"
    ):
        listed(tmp_path)
    assert echonet.count(scan(tmp_path)) == 2
    assert len(folder.clips(scan(tmp_path), PrepareConfig()).clips) == 5


def test_without_names_no_error_has_one(tmp_path: Path) -> None:
    def refused(root: Path) -> str:
        with pytest.raises(UsageError) as error:
            echonet.clips(scan(root), PrepareConfig(anonymous=True))
        assert not {"Moser", "Berta", "Kraus", "Ejection"} & set(
            re.findall(r"\w+", f"{error.value}")
        )
        return str(error.value)

    root = touch(tmp_path / "Moser", "Kraus/c.avi")
    assert "the source is not an EchoNet folder" in refused(root)
    bare_folder(root / "Berta", ROWS)
    assert "a list of videos in folders below, and 1 videos outside: give" in refused(root)
    bare_folder(root / "Lang", ROWS)
    assert refused(root) == "the source holds 2 data sets, with a list each: give one of them"
    write(tmp_path / "2" / "Moser" / "FileList.csv", "FileName,EF,Split", "Kraus,1,TEST")
    assert refused(tmp_path / "2" / "Moser").startswith("the folder of the list is not an EchoNet")
    bare_folder(tmp_path / "3" / "Moser", ROWS, "FileName,Ejection,ESV,EDV,Kraus")
    assert refused(tmp_path / "3" / "Moser") == (
        "FileList.csv has no column Split, EF; needed: FileName, Split, EF"
    )
    bare_folder(tmp_path / "4" / "Moser", ROWS)
    write(tmp_path / "4" / "Moser" / "VolumeTracings.csv", "FileName,Frame,Kraus", "a,1,2")
    (note,) = echonet.clips(scan(tmp_path / "4" / "Moser"), PrepareConfig(anonymous=True)).notes
    assert note == "VolumeTracings.csv has no outlines; it is not used"


@pytest.mark.parametrize("promised", ["1000", "1e3"])
def test_the_table_that_promises_more_frames_is_named(
    tmp_path: Path, videos: SimpleNamespace, promised: str
) -> None:
    table = echonet_folder(tmp_path, videos) / "FileList.csv"
    table.write_text(table.read_text().replace("50,12,VAL", f"50,{promised},VAL"))
    clips = found(tmp_path)
    assert len(list(echonet.decode(clips["0X1"], 1, 1))) == 12
    with pytest.raises(
        Broken, match=r"^truncated: 12 of the 1000 frames that FileList\.csv promises$"
    ):
        list(echonet.decode(clips["0X2"], 1, 1))


# --- EchoNet-Pediatric ----------------------------------------------------------------------

PEDIATRIC = "FileName,EF,Sex,Age,Weight,Height,Split"


def pediatric(root: Path, folds: Sequence[object] = range(10)) -> Path:
    rows = [f"v{number},60.5,F,3,12.5,90,{fold}" for number, fold in enumerate(folds)]
    return bare_folder(root, rows, PEDIATRIC)


def test_folds_are_splits(tmp_path: Path) -> None:
    listing = listed(pediatric(tmp_path / "A4C"))
    assert listing.layout == "EchoNet-Pediatric: FileList.csv"
    assert [clip.split for clip in listing.clips] == ["train"] * 8 + ["val", "test"]
    assert listing.clips[0].labels == {
        **{"EF": 60.5, "Age": 3.0, "Weight": 12.5, "Height": 90.0, "Sex": "F"},
    }
    assert "train/val/test are 0-7/8/9" in listing.notes[0]
    other = listed(tmp_path / "A4C", folds="2-9/0/1")
    assert [clip.split for clip in other.clips] == ["val", "test"] + ["train"] * 8


def test_folds_may_be_words_or_wrong(tmp_path: Path) -> None:
    listing = listed(pediatric(tmp_path, [0, 1, "8.0", "TEST", "x", 77, "", 9]))
    assert [clip.split for clip in listing.clips] == [
        *("train", "train", "val", "test", None, None, None, "test"),
    ]
    assert listing.clips[4].fault == (
        "FileList.csv row 6, column Split: 'x' is not one of train, val, test"
    )
    assert listing.clips[5].fault == (
        "FileList.csv row 7, column Split: '77' is a fold in no group of --folds"
    )
    words = pediatric(tmp_path / "words", ["TRAIN", "valid", "test"])
    assert [clip.split for clip in listed(words).clips] == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("0-7", "--folds 0-7: write three groups for train, val, test, as 0-7/8/9"),
        ("0-7/8", "three groups"),
        ("0-7//9", "'' is no fold and no range"),
        ("0-7/eight/9", "'eight' is no fold and no range"),
        ("0-8/8/9", "fold 8 is in train and val"),
        ("7-0/8/9", "'7-0' holds no fold"),
        ("0-6/8/9", "fold 7 is in no group"),
        ("0-7/8/9-99999999999", "no range"),
        ("0-7/8/-9", "no range"),
        ("0-7/8/9-", "no range"),
    ],
)
def test_folds_that_are_not_three_groups_are_refused(
    tmp_path: Path, folds: str, message: str
) -> None:
    with pytest.raises(UsageError) as error:
        listed(pediatric(tmp_path), folds=folds)
    assert message in str(error.value)
    assert str(error.value).startswith(f"--folds {folds}: ")
    assert "\n" not in str(error.value)


def test_groups_of_folds_are_lists_and_ranges() -> None:
    assert parse_folds(" 0, 2-3 /1/ 4") == {
        **{0: "train", 2: "train", 3: "train"},
        **{1: "val", 4: "test"},
    }


def test_both_views_are_one_data_set(tmp_path: Path) -> None:
    pediatric(tmp_path / "A4C", [0, 8, 9])
    pediatric(tmp_path / "PSAX", [0, 9])
    touch(tmp_path, "PSAX/Videos/extra.avi")
    listing = listed(tmp_path)
    assert [(clip.name, clip.split, clip.labels["view"]) for clip in listing.clips] == [
        *(("A4C/v0", "train", "A4C"), ("A4C/v1", "val", "A4C"), ("A4C/v2", "test", "A4C")),
        *(("PSAX/v0", "train", "PSAX"), ("PSAX/v1", "test", "PSAX")),
    ]
    assert {clip.patient for clip in listing.clips} == {None}
    assert listing.unlisted == ["PSAX/Videos/extra.avi"]
    assert "2 names are in both views (1 of them in two splits)" in listing.notes[-1]
    assert len(listing.tables) == 2


def test_a_phase_by_points_is_told_by_its_area(tmp_path: Path) -> None:
    pediatric(tmp_path, [0, 8, 9])
    square = [(0, 0), (0, 1), (1, 1), (1, 0)]
    lines = ["FileName,X,Y,Frame"]
    for name, frame, side in (("v0", 5, 4), ("v0", 9, 7), ("v1", 3, 5)):
        lines += [f"{name}.avi,{10 + side * x},{20 + side * y},{frame}" for x, y in square]
    lines += [f"v1.avi,{x},{y},No Systolic" for x, y in square]
    lines += ["v2.avi,1,2,3", "absent.avi,1,2,3"]
    write(tmp_path / "VolumeTracings.csv", *lines)
    listing = listed(tmp_path)
    phases = [[clip.labels.get(f"{p}_frame") for p in ("ED", "ES")] for clip in listing.clips]
    assert phases == [[9, 5], [None, None], [None, None]]
    assert "'No Systolic' is no number, and 3 rows more" in listing.notes[-1]


# --- EchoNet-LVH and -Synthetic -------------------------------------------------------------

LVH = "HashedFileName,Calc,CalcValue,Frame,X1,X2,Y1,Y2,Frames,FPS,Width,Height,split"


def lvh(root: Path, *rows: str) -> Path:
    write(root / "MeasurementsList.csv", LVH, *rows)
    return touch(root, "Batch1/0A.avi", "Batch2/0B.avi", "Batch4/0C.avi", "Batch4/0D.avi")


def measured(name: str, calc: str, value: object, frame: int, split: str) -> str:
    return f"{name},{calc},{value},{frame},1,2,3,4,60,50,1024,768,{split}"


def test_measurements_of_a_video_are_its_labels(tmp_path: Path) -> None:
    rows = [
        measured("0A", "LVIDd", 4.0, 3, "train"),
        measured("0B", "IVSd", 1.1, 9, "val"),
        measured("0A", "LVIDd", 5.0, 8, "train"),
        measured("0A", "LVPWd", 0.9, 8, "train"),
        measured("0C", "LVIDs", "", 4, "test"),
    ]
    listing = listed(lvh(tmp_path, *rows))
    assert listing.layout == "EchoNet-LVH: MeasurementsList.csv"
    assert [(clip.name, clip.split, clip.labels) for clip in listing.clips] == [
        ("0A", "train", {"LVIDd": 4.5, "LVPWd": 0.9, "LVIDd_frame": 3, "LVPWd_frame": 8}),
        ("0B", "val", {"IVSd": 1.1, "IVSd_frame": 9}),
        ("0C", "test", {}),
    ]
    assert listing.clips[1].path == tmp_path / "Batch2" / "0B.avi"
    assert listing.unlisted == ["Batch4/0D.avi"]
    assert not listing.notes


def test_measurements_that_contradict_cost_their_video(tmp_path: Path) -> None:
    rows = [
        measured("0A", "LVIDd", 4.0, 3, "train"),
        measured("0A", "IVSd", 1.0, 3, "test"),
        measured("0B", "IVSd", "wide", 9, "val"),
        measured("0C", "IVSd", 1.5, 9, "val"),
        measured("0E", "IVSd", 1.5, 9, "val"),
    ]
    assert [(clip.name, clip.split, clip.fault) for clip in listed(lvh(tmp_path, *rows)).clips] == [
        (
            *("0A", None),
            "MeasurementsList.csv row 3, column split: 'test' differs from 'train' in row 2, "
            "of the same video",
        ),
        ("0B", None, "MeasurementsList.csv row 4, column CalcValue: 'wide' is no number"),
        ("0C", "val", ""),
        ("0E", None, MISSING),
    ]


# --- which kind -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda root: bare_folder(root, ROWS),
        lambda root: bare_folder(root / "below", ROWS),
        pediatric,
        lambda root: (pediatric(root / "A4C"), pediatric(root / "PSAX")),
        lambda root: lvh(root, measured("0A", "LVIDd", 4, 3, "train")),
    ],
)
def test_a_list_goes_before_bare_videos(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path)
    tree = scan(tmp_path)
    assert echonet.count(tree) > 0
    assert "folder" in echonet.BEFORE
    bare = folder.clips(tree, PrepareConfig()).clips
    assert len(bare) == folder.count(tree)
    assert not any(clip.fault for clip in bare)


# --- folders that failed before -------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "splits"),
    [
        ("09-echonet-pediatric/A4C", "train train train val test"),
        ("10-echonet-parent-folder/in", "train train train val test"),
        ("11-filelist-variants/AVI", "train train train val test"),
        ("11-filelist-variants/nan", "train train train val test"),
        ("11-filelist-variants/semicolon", "train train train val test"),
        ("11-filelist-variants/spaces", "train train train val test"),
        ("11-filelist-variants/traceword", "train train train val test"),
        ("11-filelist-variants/valid", "train val test train val"),
        ("18-train-val-test-folders-and-lvh/lvh", "train train val test"),
    ],
)
def test_lists_as_they_exist(shared_data: Path, case: str, splits: str) -> None:
    path = shared_data.parent / "cases" / case
    if not path.is_dir():
        pytest.skip(f"no {path}")
    clips = listed(path).clips
    assert [clip.split for clip in clips] == splits.split()
    assert not any(clip.fault for clip in clips)


def test_a_large_list_is_read_at_once(tmp_path: Path) -> None:
    number = 2000 if os.environ.get("CI") else 5000
    rows = [f"0X{row:08X},50,1,2,{('TRAIN', 'VAL', 'TEST')[row % 3]}" for row in range(number)]
    bare_folder(tmp_path, rows)
    assert {clip.split for clip in listed(tmp_path).clips} == {"train", "val", "test"}
