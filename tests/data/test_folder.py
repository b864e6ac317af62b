"""A folder of videos: its table, its subfolders, and what neither of them says."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from echosweep.config import PrepareConfig
from echosweep.data import folder
from echosweep.data.prepare import prepare
from echosweep.data.source import MISSING, Clip, Listing
from echosweep.data.store import FrameStore
from echosweep.data.tree import scan
from echosweep.errors import UsageError


def listed(root: Path) -> Listing:
    return folder.clips(scan(root), PrepareConfig())


def found(root: Path) -> dict[str, Clip]:
    return {clip.name: clip for clip in listed(root).clips}


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


# --- the table ------------------------------------------------------------------------------


def test_a_table_gives_patients_splits_and_labels(tmp_path: Path, videos: SimpleNamespace) -> None:
    for name in ("a.mkv", "b.mkv", "sub/deep/c.mkv"):
        videos.write(tmp_path / name, videos.textured(2, seed=len(name)))
    (tmp_path / "videos.csv").write_text(
        "file,patient,split,view,EF\na.mkv,p1,TEST,A4C,61\nsub/deep/c.mkv,p1,,,\n", "utf-8-sig"
    )
    listing = listed(tmp_path)
    a, b, c = listing.clips
    assert (a.patient, a.split, a.labels) == ("p1", "test", {"view": "A4C", "EF": 61.0})
    assert (a.patient_by, a.split_by) == ("videos.csv", "videos.csv")
    assert (b.patient, b.split, b.labels) == (None, None, {})
    assert (b.patient_by, b.split_by) == ("", "")
    assert (c.patient, c.split, c.labels) == ("p1", None, {"folder": "sub/deep"})
    assert listing.layout == "video files with videos.csv"
    assert listing.tables == [tmp_path / "videos.csv"]
    assert listing.unlisted == ["b.mkv"]
    assert not listing.notes
    store = prepare(tmp_path, tmp_path.parent / f"{tmp_path.name}-store", size=8, workers=1)
    splits = {video.name: video.split for video in store.videos}
    assert splits["a.mkv"] == splits["sub/deep/c.mkv"] == "test"


@pytest.mark.parametrize("name", ["videos.csv", "Labels.CSV", "metadata.csv"])
@pytest.mark.parametrize("column", ["file", "File", "file_name", "FILENAME"])
def test_tables_and_columns_of_other_names_are_read(tmp_path: Path, name: str, column: str) -> None:
    touch(tmp_path, "a.avi", "b.avi")
    (tmp_path / name).write_text(f"Patient;{column};SPLIT;EF\np;A.AVI;Validation;55,5\n")
    a, b = listed(tmp_path).clips
    assert (a.patient, a.split, a.labels) == ("p", "val", {"EF": 55.5})
    assert b.labels == {}


def test_the_first_table_counts_and_metadata_may_be_about_other_things(tmp_path: Path) -> None:
    touch(tmp_path, "a.avi")
    (tmp_path / "metadata.csv").write_text("scanner,year\nX,2020\n")
    listing = listed(tmp_path)
    assert listing.tables == []
    assert "metadata.csv has no column file" in listing.notes[0]
    assert listing.notes[0].endswith("it is not used")
    (tmp_path / "videos.csv").write_text("file,EF\na.avi,1\n")
    assert listed(tmp_path).tables == [tmp_path / "videos.csv"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,patient\na.mkv,p\n", "no column file; it has: name, patient"),
        ("", "no column file; it has: nothing; needed: file or file_name"),
        ("PK\3\4", "is no CSV file but one of Excel"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, table: str, message: str) -> None:
    touch(tmp_path, "a.mkv")
    (tmp_path / "videos.csv").write_text(table)
    with pytest.raises(UsageError, match=message):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("a.mkv,p,trian,1", "column split: 'trian' is not one of train, val, test"),
        ("a.mkv,p,TEST,inf", "column EF: 'inf' is no finite number"),
        ("a.mkv,p,TEST,1,2", "row 2: has 5 cells for 4 columns"),
        ('a.mkv,"p,TEST,1', "row 2: a quote in it does not end"),
        (
            "A.MKV,p,VAL,1\na.mkv,p,TEST,1",
            "row 3, column split: 'TEST' differs from 'VAL' in row 2",
        ),
        ("a.mkv,p,VAL,1\na.mkv,q,VAL,1", "row 3, column patient: 'q' differs from 'p' in row 2"),
    ],
)
def test_a_wrong_row_costs_its_own_video(tmp_path: Path, row: str, fault: str) -> None:
    touch(tmp_path, "a.mkv", "b.mkv", "c.mkv")
    (tmp_path / "videos.csv").write_text(f"file,patient,split,EF\n{row}\nb.mkv,q,TEST,2\n")
    a, b, c = listed(tmp_path).clips
    assert fault in a.fault
    assert a.path == tmp_path / "a.mkv"
    assert (b.patient, b.split, b.labels, b.fault) == ("q", "test", {"EF": 2.0}, "")
    assert not c.fault


def test_a_word_among_numbers_is_kept_and_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.mkv", "b.mkv", "c.mkv")
    (tmp_path / "videos.csv").write_text("file,EF\na.mkv,1\nb.mkv,good\nc.mkv,2\n")
    listing = listed(tmp_path)
    assert [clip.labels for clip in listing.clips] == [{"EF": 1.0}, {"EF": "good"}, {"EF": 2.0}]
    assert "videos.csv row 3, column EF: 'good' is a word among numbers" in listing.notes[0]


def test_a_number_with_a_point_is_the_same_patient(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}.avi" for name in "abcd"))
    (tmp_path / "videos.csv").write_text("file,patient\na.avi,7\nb.avi,7.0\nc.avi,007\nd.avi,\n")
    assert [clip.patient for clip in listed(tmp_path).clips] == ["7", "7", "007", None]


@pytest.mark.parametrize(
    "column", ["patient_id", "PatientID", "Patient ID", "subject", "subject_id", "SubjectID"]
)
def test_a_column_of_patients_may_have_other_names(tmp_path: Path, column: str) -> None:
    touch(tmp_path, "a.avi", "b.avi")
    (tmp_path / "videos.csv").write_text(f"file,{column},EF\na.avi,p1,1\nb.avi,7.0,2\n")
    listing = listed(tmp_path)
    assert [clip.patient for clip in listing.clips] == ["p1", "7"]
    assert [clip.labels for clip in listing.clips] == [{"EF": 1.0}, {"EF": 2.0}]
    assert listing.notes == [
        f"videos.csv: its column {column} is read as the patient; rename it if it is none"
    ]


def test_a_column_called_patient_goes_before_others(tmp_path: Path) -> None:
    touch(tmp_path, "a.avi")
    (tmp_path / "videos.csv").write_text("file,subject,Patient,site\na.avi,s1,p1,x\n")
    listing = listed(tmp_path)
    (clip,) = listing.clips
    assert (clip.patient, clip.labels) == ("p1", {"subject": "s1", "site": "x"})
    assert not listing.notes


def test_identifiers_and_hashes_stay_text(tmp_path: Path) -> None:
    touch(tmp_path, "a.avi", "b.avi", "c.avi")
    (tmp_path / "videos.csv").write_text(
        "file,id,hash\na.avi,008,12e45678\nb.avi,113,ab12cd34\nc.avi,114,cd12ab34\n"
    )
    listing = listed(tmp_path)
    assert [clip.fault for clip in listing.clips] == ["", "", ""]
    assert [clip.labels for clip in listing.clips] == [
        {"id": "008", "hash": "12e45678"},
        {"id": "113", "hash": "ab12cd34"},
        {"id": "114", "hash": "cd12ab34"},
    ]
    assert listing.notes == [
        "videos.csv row 2, column id: '008' has leading zeros: the column is kept as text"
    ]


def test_without_names_no_path_and_no_header_is_said(tmp_path: Path) -> None:
    root = touch(tmp_path / "Lang_Berta", "Doe0.avi")
    hidden = PrepareConfig(anonymous=True)
    (root / "metadata.csv").write_text("Doe0.avi,Kraus0\n")
    (note,) = folder.clips(scan(root), hidden).notes
    assert note.startswith("metadata.csv has no column file; needed")
    (root / "videos.csv").write_text("Doe0.avi,Kraus0\n")
    with pytest.raises(UsageError) as error:
        folder.clips(scan(root), hidden)
    assert str(error.value) == "videos.csv has no column file; needed: file or file_name"
    (root / "videos.csv").write_text("file,Kraus0\nDoe0.avi,1\nx,2\ny,Kraus\n")
    assert folder.clips(scan(root), hidden).notes[-1] == (
        "videos.csv row 4, column 2: '...' is a word among numbers; so it is kept, in 1 rows"
    )


def test_rows_without_file_and_names_spelled_otherwise_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "p1/a.avi", "p2/b.avi", "c.avi")
    names = ["p1\\A.avi", "./p2/b", "absent.avi", "../c.avi", "/data/x/c.avi"]
    (tmp_path / "videos.csv").write_text(
        "file,patient\n" + "".join(f"{name},{number}\n" for number, name in enumerate(names))
    )
    listing = listed(tmp_path)
    clips = {clip.name: clip for clip in listing.clips}
    assert {name for name, clip in clips.items() if clip.fault == MISSING} == {
        *("absent.avi", "../c.avi")
    }
    patients = {name: clip.patient for name, clip in clips.items() if not clip.fault}
    assert patients == {"p1/a.avi": "0", "p2/b.avi": "1", "c.avi": "4"}
    assert all(clip.path.is_relative_to(tmp_path) for clip in listing.clips)
    assert "1 names in videos.csv are written otherwise than their files" in listing.notes[0]


def test_without_names_no_cell_is_quoted(tmp_path: Path) -> None:
    touch(tmp_path, "train/ann.avi", "test/bob.avi", "test/bob.mp4", "test/yve.avi")
    (tmp_path / "videos.csv").write_text(
        "file,patient,split,EF\ntrain/ANN.avi,Ann O'Hara,test,1\ntrain/ann.avi,Zoe,test,2\n"
        "test/bob,Bob,test,3\ntest/joe.avi,Joe,test,good\ntest/yve.AVI,Yve,train,4\n"
    )
    listing = folder.clips(scan(tmp_path), PrepareConfig(anonymous=True))
    faults = [clip.fault for clip in listing.clips if clip.fault]
    assert len(faults) == 3
    assert len(listing.notes) == 3
    for text in (*faults, *listing.notes):
        assert not any(name in text.lower() for name in ("ann", "zoe", "bob", "joe", "yve", "hara"))


# --- folders --------------------------------------------------------------------------------


def test_folders_named_after_splits_are_splits(tmp_path: Path) -> None:
    names = ["train/v0.avi", "train/p/v1.avi", "Validation/v0.avi", "TEST/p/v1.avi"]
    clips = found(touch(tmp_path, *names))
    assert [clips[name].split for name in names] == ["train", "train", "val", "test"]
    assert {clip.split_by for clip in clips.values()} == {"the folders train, val, test"}
    assert [dict(clips[name].labels) for name in names] == [
        *({}, {"folder": "p"}, {}, {"folder": "p"}),
    ]


def test_the_table_goes_before_the_folders_and_that_is_said(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.avi", "train/b.avi", "test/c.avi")
    (tmp_path / "labels.csv").write_text("file,split\ntrain/a.avi,test\ntrain/b.avi,\n")
    listing = listed(tmp_path)
    assert [(clip.name, clip.split, clip.split_by) for clip in listing.clips] == [
        ("test/c.avi", "test", folder.SPLIT_FOLDERS),
        ("train/a.avi", "test", "labels.csv"),
        ("train/b.avi", "train", folder.SPLIT_FOLDERS),
    ]
    assert listing.notes == [
        "1 videos lie in the folder of another split than the table gives, as 'train/a.avi': "
        "the split of the table is taken"
    ]


def test_splits_of_folders_reach_the_store(tmp_path: Path, videos: SimpleNamespace) -> None:
    for number, split in enumerate(("train", "val", "test")):
        path = tmp_path / "in" / split / "v.mkv"
        videos.write(path, videos.textured(3, seed=number))
    store = prepare(tmp_path / "in", tmp_path / "store", size=8, workers=1)
    assert {video.name: video.split for video in store.videos} == {
        **{"train/v.mkv": "train", "val/v.mkv": "val", "test/v.mkv": "test"},
    }


def test_videos_of_splits_as_they_exist(shared_data: Path) -> None:
    path = shared_data.parent / "cases" / "18-train-val-test-folders-and-lvh" / "split"
    if not path.is_dir():
        pytest.skip(f"no {path}")
    assert {name.split("/")[0]: clip.split for name, clip in found(path).items()} == {
        **{"train": "train", "val": "val", "test": "test"},
    }


def test_patients_and_gaps_in_labels_as_they_exist(shared_data: Path) -> None:
    path = shared_data.parent / "cases" / "30-label-message-contradicts" / "in"
    if not path.is_dir():
        pytest.skip(f"no {path}")
    clips = found(path)
    assert clips["p0/clip.avi"].labels == {"folder": "p0"}
    assert clips["p1/clip.avi"].labels == {"folder": "p1", "sex": "M"}
    assert clips["p3/clip2.avi"].patient == "P3"


# --- names ----------------------------------------------------------------------------------


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
    missing, kept = listed(tmp_path / "in").clips
    assert (missing.name, missing.fault) == ("b.mkv", MISSING)
    assert (kept.name, kept.fault) == (name, "")
    store = prepare(tmp_path / "in", tmp_path / "store", size=8, max_excluded=0.5, workers=1)
    assert [video.name for video in FrameStore.open(store.path).videos] == [name]


def test_one_file_is_a_source_and_hidden_files_are_not(
    tmp_path: Path, videos: SimpleNamespace
) -> None:
    path = videos.write(tmp_path / "a.mkv", videos.numbered(2))
    videos.write(tmp_path / ".trash" / "b.mkv", videos.numbered(2))
    assert list(found(path)) == ["a.mkv"]
    assert list(found(tmp_path)) == ["a.mkv"]
