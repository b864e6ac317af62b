"""Whole sources as users brought them, through the command line: what is decided, by value."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from echosweep import cli
from echosweep.data.prepare import prepare
from echosweep.data.store import FrameStore
from echosweep.errors import UsageError

QUICK: dict[str, Any] = {"size": 32, "every": 1, "workers": 1}


@pytest.fixture
def cases(shared_data: Path) -> Path:
    path = shared_data.parent / "cases"
    if not path.is_dir():
        pytest.skip(f"no sources at {path}")
    return path


def test_no_name_of_a_dicom_file_or_folder_is_stored_or_said(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = next(path for path in cases.glob("04-*/MUSTERMANN*") if path.is_dir())
    monkeypatch.chdir(folder.parent)
    for number, source in enumerate((folder.name, str(next(folder.iterdir())))):
        words = ["prepare", source, "--out", str(tmp_path / f"s{number}"), "--every", "1"]
        monkeypatch.setattr("sys.argv", ["echosweep", *words])
        assert cli._run([*words, "--workers", "1"]) == 0
        said = capsys.readouterr()
        written = "".join(
            (tmp_path / f"s{number}" / name).read_text()
            for name in ("manifest.json", "videos.json")
        )
        assert "MUSTERMANN" not in written + said.out
        assert FrameStore.open(tmp_path / f"s{number}").videos


def test_a_pattern_that_fits_half_is_refused_until_it_is_mended(
    cases: Path, tmp_path: Path
) -> None:
    (source,) = cases.glob("17-*/in")
    with pytest.raises(UsageError, match="does not fit 6 of 12"):
        prepare(source, tmp_path / "half", patient_regex=r"(pat\d+)_", **QUICK)
    store = prepare(source, tmp_path / "all", patient_regex=r"(?i)(pat\d+)_", **QUICK)
    splits: dict[str, set[str]] = {}
    for video in store.videos:
        splits.setdefault(re.findall(r"\d+", video.name)[0], set()).add(video.split)
    assert len(splits) == len({video.patient for video in store.videos}) == 6
    assert all(len(each) == 1 for each in splits.values())


def test_one_identifier_for_all_patients_has_a_way_out(cases: Path, tmp_path: Path) -> None:
    (source,) = cases.glob("22-*/in")
    one = prepare(source, tmp_path / "one", **QUICK).manifest["summary"]
    assert [one["splits"][split]["videos"] for split in ("train", "val", "test")] == [6, 0, 0]
    (way,) = [w for w in one["warnings"] if "one patient" in w]
    offered = re.findall(r"--patient-from (\w+) \((\d+) studies\)", way)
    assert offered == [("study", "6")]
    store = prepare(source, tmp_path / "study", patient_from="study", **QUICK)
    assert len({video.patient for video in store.videos}) == 6
    assert {video.split for video in store.videos} == {"train", "val", "test"}


def test_equal_clips_under_many_names_are_in_one_split(cases: Path, tmp_path: Path) -> None:
    (source,) = cases.glob("32-*/in")
    store = prepare(source, tmp_path / "s", **QUICK)
    splits: dict[str, set[str]] = {}
    for video in store.videos:
        splits.setdefault(video.content, set()).add(video.split)
    assert Counter(video.content for video in store.videos).most_common()[0][1] == 6
    assert len(splits) == 2
    assert all(len(each) == 1 for each in splits.values())


def test_json_is_what_the_manifest_keeps(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = cases.glob("10-*/in")
    words = ["prepare", str(source), "--out", str(tmp_path / "s"), "--every", "1", "--json"]
    assert cli._run([*words, "--workers", "1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == FrameStore.open(tmp_path / "s").manifest["summary"]
    assert said["splits_from"] == {"FileList.csv": 5}
    assert {split: said["splits"][split]["videos"] for split in said["splits"]} == {
        "train": 3,
        "val": 1,
        "test": 1,
    }
