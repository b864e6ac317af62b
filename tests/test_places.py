"""Users without a home, long temporary paths, names that are free."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from echosweep import phantom, places, prepare, runs, sample, train
from echosweep.data.store import FrameStore
from echosweep.errors import UsageError

STRANGER = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
STRANGER += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whom the machine does not know; returns the temporary directory."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    names = ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "ECHOSWEEP_CACHE", "MPLCONFIGDIR")
    for name in (*names, "TRITON_HOME"):  # set first, so that all are put back afterwards
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_the_cache_is_private_and_said(
    nobody: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs._note_once.cache_clear()
    folder = runs.cache_folder(None)
    assert folder.parent == nobody
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert str(folder) in capsys.readouterr().err
    assert runs.cache_folder(None) == folder
    assert capsys.readouterr().err == ""
    assert runs.cache_folder(nobody / "mine") == nobody / "mine"


def test_a_prepared_user_has_a_name_and_a_home(nobody: Path) -> None:
    places.prepare_user()
    assert os.environ["LOGNAME"]
    assert os.access(Path.home(), os.W_OK)
    assert runs.cache_folder(None) == places.private_folder()


def test_a_home_that_cannot_be_written_stays(nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/self")
    places.prepare_user()
    assert os.environ["HOME"] == "/proc/self"
    assert runs.cache_folder(None) == Path(os.environ["MPLCONFIGDIR"]).parent


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_cache_that_others_may_enter_is_refused(nobody: Path, mode: int) -> None:
    places.private_folder().chmod(mode)
    with pytest.raises(UsageError, match="ECHOSWEEP_CACHE"):
        runs.cache_folder(None)


def test_a_cache_behind_a_link_is_refused(nobody: Path) -> None:
    (nobody / "theirs").mkdir(mode=0o700)
    (nobody / f"echosweep-{os.getuid()}").symlink_to(nobody / "theirs")
    with pytest.raises(UsageError, match="ECHOSWEEP_CACHE"):
        runs.cache_folder(None)


def test_a_cache_that_was_named_is_used_or_refused(nobody: Path) -> None:
    (nobody / "file").touch()
    for name in (nobody / "file" / "x", "~/cache"):
        with pytest.raises(UsageError, match="cannot be written"):
            runs.cache_folder(name)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder of the stranger's that can be reached: pytest's own is closed to others."""
    place = Path(tempfile.mkdtemp(prefix="stranger-", dir="/tmp"))
    os.chown(place, 12345, 12345)
    yield place
    shutil.rmtree(place)


def test_commands_work_for_an_unknown_user(
    open_place: Path, small_run: Path, small_store: Path
) -> None:
    """As in a container that runs as any number: no name, no home, little that can be written."""
    python = [*STRANGER, sys.executable]
    if subprocess.run([*python, "-c", "import torch"], capture_output=True).returncode:
        pytest.skip("needs root and setpriv, to become a user whom the machine does not know")
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(places.__file__).parents[1])}
    drawn, plot = open_place / "made", open_place / "p.png"
    for call in (
        ["sample", small_run, "--out", drawn, "-n", 16, "--steps", 2],
        ["floor", small_store, "--features", "random", "--by", "frame", "--plot", plot],
    ):
        command = [*python, "-m", "echosweep", *map(str, call)]
        env = {**bare, "TMPDIR": str(open_place)}
        done = subprocess.run(command, env=env, cwd=open_place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "arning" not in done.stderr
        assert "Matplotlib" not in done.stderr
    kept = open_place / "echosweep-12345"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert str(kept) in done.stderr


def test_a_long_temporary_directory_ends_no_worker(tmp_path: Path) -> None:
    long = tmp_path / ("long" * 25)
    long.mkdir()
    call = ["phantom", tmp_path / "out", "--videos", 2, "--frames", 300, "--size", 32]
    done = subprocess.run(
        [sys.executable, "-m", "echosweep", *map(str, call), "--workers", "2"],
        env={**os.environ, "TMPDIR": str(long)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(long.iterdir()) == []


def test_where_no_temporary_directory_is_short_the_fix_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv("TMPDIR", raising=False)
    assert places.short_temporary(1) == str(tmp_path)
    with pytest.raises(UsageError, match="set TMPDIR"):
        places.short_temporary(107)


def test_an_empty_folder_is_a_place_for_every_command(
    tmp_path: Path, small_run: Path, small_store: Path, small_network: dict[str, Any]
) -> None:
    outs = {name: tmp_path / name for name in ("phantom", "store", "run", "made")}
    for out in outs.values():
        out.mkdir()
    phantom(outs["phantom"], videos=3, frames=2, size=32, workers=1)
    prepare(outs["phantom"], outs["store"], size=16, every=1, workers=1)
    train(small_store, outs["run"], total_kimg=0.008, grid_images=0, **small_network)
    sample(small_run, outs["made"], num=2, steps=2)
    assert len(FrameStore.open(outs["store"])) == 6
    assert len(FrameStore.open(outs["made"])) == 2
    assert (outs["run"] / "model.json").exists()
    for made in (outs["store"], outs["run"]):
        with pytest.raises(UsageError, match="--out"):
            sample(small_run, made, num=2)


def test_names_are_free_where_a_folder_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, full, file = tmp_path / "empty", tmp_path / "full", tmp_path / "full" / "file"
    empty.mkdir()
    full.mkdir()
    file.touch()
    (tmp_path / "link").symlink_to(empty)
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    assert places.is_free(empty)
    assert places.is_free(tmp_path / "new")
    for taken in (full, file, tmp_path / "link", tmp_path / "broken", Path("/proc")):
        assert not places.is_free(taken)
    monkeypatch.chdir(empty)
    assert not places.is_free(Path())
