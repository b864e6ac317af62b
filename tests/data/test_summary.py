"""What the end of `prepare` says: every file counted once, every decision with its reason."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echosweep.data.prepare import dry_run, prepare
from echosweep.errors import UsageError
from echosweep.reporting.preparation import text


@pytest.fixture
def source(tmp_path: Path, videos: SimpleNamespace) -> Path:
    root = tmp_path / "in"
    for number in range(8):
        name = f"{'sub/' if number > 5 else ''}v{number}.mkv"
        videos.write(root / name, videos.textured(6, seed=number))
    return root


def summary_of(source: Path, tmp_path: Path, **options: Any) -> dict[str, Any]:
    store = prepare(source, tmp_path / "store", size=16, workers=1, **options)
    return dict(store.manifest["summary"])


def test_images_videos_and_patients_are_counted_by_split(source: Path, tmp_path: Path) -> None:
    store = prepare(source, tmp_path / "s", size=16, workers=1, patient_regex=r"v(\d)\.mkv")
    splits = store.manifest["summary"]["splits"]
    images = Counter(store.splits.tolist())
    videos = Counter(video.split for video in store.videos)
    assert splits == {
        split: {"images": images[split], "videos": videos[split], "patients": videos[split]}
        for split in ("train", "val", "test")
    }
    summary = store.manifest["summary"]
    assert summary["patients_from"] == {"--patient-regex": 8}
    assert summary["splits_from"] == {"drawn with seed 0": 8}
    assert summary["labels"] == {"folder": 2}
    assert summary["warnings"] == []


def test_files_that_are_not_read_are_counted_by_ending_and_reason(
    source: Path, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png", "notes.txt", "table.xlsx", "more.csv", ".hidden"):
        (source / name).touch()
    (source / "gone.avi").symlink_to(tmp_path / "nowhere")
    summary = summary_of(source, tmp_path, kind="folder")
    rows = {row["ending"]: (row["files"], row["example"]) for row in summary["not_read"]}
    assert rows == {
        ".png": (2, "a.png"),
        ".txt": (1, "notes.txt"),
        ".xlsx": (1, "table.xlsx"),
        ".csv": (1, "more.csv"),
        ".avi": (1, "gone.avi"),
    }
    reasons = {row["ending"]: row["reason"] for row in summary["not_read"]}
    assert "--kind images" in reasons[".png"]
    assert "table" in reasons[".csv"]
    assert summary["hidden"] == 1


def test_links_are_counted(source: Path, tmp_path: Path) -> None:
    (source / "linked").symlink_to(source / "sub")
    summary = summary_of(source, tmp_path)
    assert summary["links"] == {"followed": 0, "already_read": 1}


def test_rows_and_files_that_do_not_meet_are_counted(source: Path, tmp_path: Path) -> None:
    (source / "videos.csv").write_text("file,view\nv0.mkv,A4C\ngone.mkv,A4C\n")
    summary = summary_of(source, tmp_path, max_excluded=0.5)
    assert summary["rows_without_file"] == 1
    assert summary["files_without_row"]["files"] == 7
    assert summary["excluded"] == {"videos": 1, "reasons": {"listed but missing": 1}}
    assert summary["labels"] == {"view": 1, "folder": 2}
    assert summary["tables"] == ["videos.csv"]


def test_one_patient_for_all_and_empty_splits_are_warned_of(source: Path, tmp_path: Path) -> None:
    (source / "videos.csv").write_text(
        "file,patient\n" + "".join(f"{'sub/' if n > 5 else ''}v{n}.mkv,anon\n" for n in range(8))
    )
    summary = summary_of(source, tmp_path)
    one, empty = summary["warnings"]
    assert "one patient" in one
    assert "--patient-from folder" in one
    assert "val or test" in empty
    assert summary["splits"]["train"]["patients"] == 1


def test_a_video_that_follows_its_patient_is_said_to(source: Path, tmp_path: Path) -> None:
    rows = [f"v{n}.mkv,p{n // 2},{'test' if n == 0 else ''}\n" for n in range(6)]
    (source / "videos.csv").write_text("file,patient,split\n" + "".join(rows))
    summary = summary_of(source, tmp_path)
    assert sum(summary["splits_from"].values()) == 8
    assert summary["splits_from"]["drawn with seed 0"] == 6
    assert summary["splits_from"]["the split of the patient's other videos"] == 1


def test_split_folders_without_patients_and_telling_labels_are_warned_of(
    source: Path, tmp_path: Path
) -> None:
    for number in range(8):
        (source / ("train" if number % 2 else "test")).mkdir(exist_ok=True)
        old = source / f"{'sub/' if number > 5 else ''}v{number}.mkv"
        old.rename(source / ("train" if number % 2 else "test") / old.name)
    rows = "".join(f"{'train' if n % 2 else 'test'}/v{n}.mkv,Mia\n" for n in range(8))
    (source / "videos.csv").write_text("file,NameOfPatient\n" + rows)
    warnings = summary_of(source, tmp_path)["warnings"]
    assert any("assumed to be a patient" in warning for warning in warnings)
    assert any("NameOfPatient" in warning for warning in warnings)


def test_splits_of_the_source_are_kept_or_drawn_anew(source: Path, tmp_path: Path) -> None:
    rows = [f"v{n}.mkv,test\n" for n in range(6)]
    (source / "videos.csv").write_text("file,split\n" + "".join(rows))
    kept = prepare(source, tmp_path / "kept", size=16, workers=1)
    assert Counter(video.split for video in kept.videos)["test"] >= 6
    drawn = prepare(source, tmp_path / "drawn", size=16, workers=1, redraw_splits=True)
    assert Counter(video.split for video in drawn.videos)["train"] == 6
    assert drawn.manifest["summary"]["splits_from"] == {"drawn with seed 0": 8}


def test_folders_of_splits_are_kept(source: Path, tmp_path: Path) -> None:
    for number, folder in ((0, "valid"), (1, "test"), (2, "train")):
        (source / folder).mkdir()
        (source / f"v{number}.mkv").rename(source / folder / f"v{number}.mkv")
    store = prepare(source, tmp_path / "s", size=16, workers=1)
    split = {Path(video.name).name: video.split for video in store.videos}
    assert (split["v0.mkv"], split["v1.mkv"], split["v2.mkv"]) == ("val", "test", "train")
    assert store.manifest["summary"]["splits_from"] == {
        "the folders train, val, test": 3,
        "drawn with seed 0": 5,
    }


def test_a_dry_run_decides_the_same_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    (source / "note.txt").touch()
    said = dry_run(source, patient_from="video", size=16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    done = summary_of(source, tmp_path, patient_from="video")
    for split in done["splits"].values():
        split["images"] = None
    assert "nothing was decoded" in said["notes"].pop()
    assert said == json.loads(json.dumps(done))


def test_a_dry_run_says_what_the_run_would_refuse(source: Path, tmp_path: Path) -> None:
    rows = "".join(f"gone{n}.mkv\n" for n in range(9))
    (source / "videos.csv").write_text("file\n" + rows)
    assert any("would stop" in warning for warning in dry_run(source)["warnings"])
    with pytest.raises(ValueError, match="9 of 17 videos cannot be used"):
        prepare(source, tmp_path / "s", workers=1)


def test_outputs_within_the_source_are_not_read(source: Path) -> None:
    options = {"size": 16, "workers": 1, "anonymous": True}
    one = prepare(source, source / "st", preview=source / "look", **options)
    two = prepare(source, source / "st2", **options)
    assert [video.name for video in one.videos] == [video.name for video in two.videos]
    assert two.manifest["summary"]["own_folders"] == 2


def test_a_split_s_folder_is_no_part_of_a_patient(source: Path, tmp_path: Path) -> None:
    for number, split in ((0, "train"), (1, "test")):
        (source / split / "pat0").mkdir(parents=True)
        (source / f"v{number}.mkv").rename(source / split / "pat0" / f"v{number}.mkv")
    with pytest.raises(UsageError, match="keep a patient in one split"):
        prepare(source, tmp_path / "s", patient_from="folder")


def test_wrong_options_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="deidentify: only DICOM"):
        prepare(source, tmp_path / "s", deidentify=True)
    with pytest.raises(UsageError, match="'dopler' is not one of doppler, mmode"):
        prepare(source, tmp_path / "s", keep="dopler")
    with pytest.raises(UsageError, match="patient_from = 'folders'"):
        prepare(source, tmp_path / "s", patient_from="folders")


def test_most_broken_is_no_case_for_leaving_out(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    for number in range(4):
        (root / f"{number}.avi").write_bytes(b"garbage")
    with pytest.raises(ValueError, match="of 4 videos cannot be used") as caught:
        prepare(root, tmp_path / "s", workers=1)
    assert "give --max-excluded" not in str(caught.value)


def test_contact_sheets_show_what_is_kept(tmp_path: Path) -> None:
    """The kept square of each picture is as bright as the file; what is beside it is dark."""
    np.save(tmp_path / "a.npy", np.full((3, 40, 80), 200, np.uint8))
    prepare(tmp_path / "a.npy", tmp_path / "s", size=16, workers=1, preview=tmp_path / "look")
    (sheet,) = (tmp_path / "look").glob("*.png")
    pixels = np.asarray(Image.open(sheet).convert("L"), int)[18:]
    assert pixels.shape == (320, 3 * 320)
    tile = pixels[:158, :316]  # 80x40 pixels, as large as a tile allows
    assert tile[79, 158] == 200
    assert tile[79, 20] == tile[79, 300] == 200 // 3
    assert sheet.stat().st_mode & 0o077 == 0


def test_the_table_says_all_of_it(source: Path, tmp_path: Path) -> None:
    (source / "note.txt").touch()
    (source / "v1.mkv").write_bytes(b"")
    summary = summary_of(source, tmp_path, max_excluded=0.5)
    lines = text(summary, width=80)
    assert all(len(line) <= 80 for line in lines.split("\n"))
    for word in ("kind folder", "drawn with seed 0", "empty file", ".txt", "--patient-regex"):
        assert word in " ".join(lines.split())
    table = [line.split() for line in lines.split("\n")[:4]]
    assert table[0] == ["train", "val", "test", "all"]
    assert table[2][0] == "videos"
    assert sum(map(int, table[2][1:4])) == int(table[2][4]) == 7
