"""Names that may be patients' stay out of everything that is written or printed."""

import csv
import json
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from echosweep.config import PrepareConfig
from echosweep.data import prepare as module
from echosweep.data.prepare import prepare
from echosweep.data.pseudonyms import Hashes
from echosweep.data.source import Listing
from echosweep.data.tree import scan
from echosweep.errors import EchoSweepError, UsageError

NAME = "MUSTERMANN_ERIKA"


@pytest.fixture
def source(tmp_path: Path, videos: SimpleNamespace) -> Path:
    root = tmp_path / f"{NAME}_19600101"
    for number in range(6):
        path = root / f"{NAME}{number // 2}" / f"{NAME}_{number}.avi"
        videos.write(path, videos.textured(6, seed=number), "mjpeg", "yuvj420p")
    (root / f"{NAME}9.avi").write_bytes(b"garbage")
    (root / f"{NAME}.xlsx").touch()
    rows = [f"{NAME}{n // 2}/{NAME}_{n}.avi,{NAME},19600101,A4C" for n in range(6)]
    (root / "videos.csv").write_text("\n".join(["file,patient_name,dob,view", *rows]))
    (root / f"letter.{NAME} of today").touch()
    return root


def written(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.glob("*.json"))


def test_no_name_is_written_when_asked_for(source: Path, tmp_path: Path) -> None:
    options = {"anonymous": True, "patient_from": "folder", "max_excluded": 0.5}
    store = prepare(source, tmp_path / "store", size=16, workers=1, **options)
    for secret in ("MUSTERMANN", "mustermann", "19600101"):
        assert secret not in written(store.path)
    assert len(store.videos) == 6
    assert len({video.patient for video in store.videos}) == 3
    assert {video.labels["view"] for video in store.videos} == {"A4C"}
    assert len({video.labels["folder"] for video in store.videos}) == 3
    again = prepare(source, tmp_path / "again", size=16, workers=1, **options)
    assert [video.name for video in again.videos] == [video.name for video in store.videos]
    assert "MUSTERMANN" not in json.dumps(module.dry_run(source, PrepareConfig(**options)))


def test_names_are_kept_where_nobody_asks(source: Path, tmp_path: Path) -> None:
    store = prepare(source, tmp_path / "store", size=16, workers=1, max_excluded=0.5)
    assert {video.name for video in store.videos} == {
        f"{NAME}{n // 2}/{NAME}_{n}.avi" for n in range(6)
    }


def test_messages_name_no_file_either(source: Path, tmp_path: Path) -> None:
    with pytest.raises(EchoSweepError) as caught:
        prepare(source, tmp_path / "store", size=16, workers=1, anonymous=True, max_excluded=0)
    assert "1 of 7 videos cannot be used" in str(caught.value)
    assert "MUSTERMANN" not in str(caught.value).replace(str(tmp_path), "")
    with pytest.raises(UsageError) as fit:
        prepare(source, tmp_path / "store", anonymous=True, patient_regex="(ERIKA0)")
    assert "MUSTERMANN" not in str(fit.value)


def test_reasons_name_no_frame(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(4):
        folder = tmp_path / "in" / f"v{number}"
        folder.mkdir(parents=True)
        Image.new("L", (16, 16), 40 * number).save(folder / f"{NAME}_1.png")
    (tmp_path / "in" / "v3" / f"{NAME}_2.png").write_bytes(b"garbage")
    options = {"anonymous": True, "folders": "video", "every": 1, "max_excluded": 0.5}
    store = prepare(tmp_path / "in", tmp_path / "s", size=16, workers=1, **options)
    assert len(store.manifest["excluded"]) == 1
    assert "MUSTERMANN" not in written(store.path)


def test_the_key_says_which_hash_is_which_file_to_its_owner_alone(
    source: Path, tmp_path: Path
) -> None:
    key = tmp_path / "key.csv"
    options = {"anonymous": True, "patient_from": "folder", "max_excluded": 0.5}
    store = prepare(source, tmp_path / "store", size=16, workers=1, name_key=key, **options)
    rows = list(csv.DictReader(key.read_text().splitlines()))
    assert len(rows) == 7
    files = {row["name"]: row["file"] for row in rows}
    assert {files[video.name] for video in store.videos} == {
        f"{NAME}{n // 2}/{NAME}_{n}.avi" for n in range(6)
    }
    assert {row["file_patient"] for row in rows} == {"", f"{NAME}0", f"{NAME}1", f"{NAME}2"}
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="needs --anonymous"):
        prepare(source, tmp_path / "other", name_key=key)


def test_who_lacks_the_files_cannot_try_names_out(source: Path, tmp_path: Path) -> None:
    """One more file beside them changes every hash."""
    options = {"anonymous": True, "max_excluded": 0.5, "size": 16, "workers": 1}
    one = prepare(source, tmp_path / "one", **options)
    shutil.copy(source / f"{NAME}9.avi", source / "more.avi")
    other = prepare(source, tmp_path / "other", **options)
    assert not {video.name for video in one.videos} & {video.name for video in other.videos}


def test_a_patient_in_two_splits_is_refused_without_a_name(source: Path, tmp_path: Path) -> None:
    rows = [f"{NAME}0/{NAME}_{n}.avi,{split}" for n, split in enumerate(("train", "test"))]
    (source / "videos.csv").write_text("\n".join(["file,split", *rows]))
    with pytest.raises(UsageError, match="keep a patient in one split") as caught:
        prepare(source, tmp_path / "s", anonymous=True, patient_from="folder")
    assert "MUSTERMANN" not in str(caught.value)


def test_a_file_called_like_a_word_leaves_sentences_alone(tmp_path: Path) -> None:
    for name in ("truncated.avi", "erika.avi", "ERIKA_1.avi"):
        (tmp_path / name).touch()
    hashes = Hashes(scan(tmp_path), Listing([], ""))
    assert hashes.scrub("truncated: 3 of 6 frames") == "truncated: 3 of 6 frames"
    for text in ("in 'erika'", "see erika.avi", "at erika/1", "x/erika", "no ERIKA_1 there"):
        assert "erika" not in hashes.scrub(text).lower()
