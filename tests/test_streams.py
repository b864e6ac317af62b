"""Who reads what a command says may go away; the work is done all the same, and its status true."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from echosweep import cli

PHANTOM = [sys.executable, "-m", "echosweep", "phantom"]
SMALL = ["--videos", "2", "--frames", "2", "--size", "32"]


def broken_pipe() -> int:
    """Return the end to write to of a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    return writes


@pytest.mark.parametrize("streams", [("stderr",), ("stdout",), ("stdout", "stderr")])
def test_lost_readers_end_no_work(tmp_path: Path, streams: tuple[str, ...]) -> None:
    pipe = broken_pipe()
    kept = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    done = subprocess.run(
        [*PHANTOM, tmp_path / "out", *SMALL], **kept | dict.fromkeys(streams, pipe)
    )
    os.close(pipe)
    assert done.returncode == 0
    assert len(list((tmp_path / "out" / "Videos").glob("*.avi"))) == 2
    assert (tmp_path / "out" / "FileList.csv").exists()


def test_a_closed_terminal_ends_no_work(tmp_path: Path) -> None:
    """The live bar draws in a thread of its own, and more than once."""
    outer, inner = pty.openpty()
    call = [*PHANTOM, tmp_path / "out", "--videos", "3", "--frames", "8", "--size", "32"]
    running = subprocess.Popen(call, stdout=inner, stderr=inner)
    os.close(inner)
    os.read(outer, 1)  # the bar has begun
    os.close(outer)
    assert running.wait(60) == 0
    assert (tmp_path / "out" / "FileList.csv").exists()


def test_a_failure_that_nobody_hears_keeps_its_status(tmp_path: Path) -> None:
    pipe = broken_pipe()
    call = [sys.executable, "-m", "echosweep", "prepare", tmp_path / "no", "--out", tmp_path / "x"]
    done = subprocess.run(call, stdout=pipe, stderr=pipe)
    os.close(pipe)
    assert done.returncode == 2


def test_a_broken_pipe_to_a_process_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "app", fail)
    assert cli._run([]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_results_that_find_no_room_are_a_failure(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*PHANTOM, tmp_path / "out", *SMALL], stdout=full, stderr=full)
    assert done.returncode == 1


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path, closed: tuple[int]) -> None:
    code = (
        "import os\n"
        f"for number in {closed}: os.close(number)\n"
        f"os.execv({sys.executable!r}, {[*PHANTOM, str(tmp_path / 'out'), *SMALL]!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, stdin=subprocess.PIPE)
    assert done.returncode == 0
    assert len(list((tmp_path / "out" / "Videos").glob("*.avi"))) == 2
    said = b"".join(path.read_bytes() for path in (tmp_path / "out").glob("*.csv"))
    assert b"phantom:" not in said
