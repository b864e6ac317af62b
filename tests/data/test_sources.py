"""Each source: what it lists, what it labels, and what it says of a wrong layout."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from echosweep.data.prepare import prepare
from echosweep.errors import UsageError

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
