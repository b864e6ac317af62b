"""The command line as a user meets it: in a process of its own, where that makes a difference."""

import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from echosweep import cli
from echosweep.commands.doctor import Finding, print_table


def echosweep(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "echosweep", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_help_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; sys.argv = ['echosweep', '--help']\n"
        "from echosweep.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'av', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "command",
    [
        *("phantom", "prepare", "train", "sample", "discriminate", "choose-epoch"),
        *("evaluate", "floor", "copies", "shift", "utility", "doctor"),
        *("ema", "report", "export"),
    ],
)
def test_every_option_is_explained(command: str) -> None:
    done = echosweep(command, "--help", COLUMNS="200")
    assert done.returncode == 0
    lines = [line.strip("│* ") for line in done.stdout.splitlines() if line.startswith("│")]
    options = [line for line in lines if line.startswith("--")]
    assert options
    assert [line for line in options if "  " not in line] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["trian"], 2, "trian"),
        (["train", "--data", "x", "--out", "y", "--netwrk", "adm"], 2, "--network"),
        (["train", "--data", "x", "--out", "y"], 2, "give --total-kimg or --budget-hours"),
        (["train", "--data", "x", "--out", "y", "--total-kimg", "1"], 2, "there is no x"),
        (["prepare", "nowhere", "--out", "y"], 2, "nowhere"),
        (["prepare", ".", "--out", "y", "--size", "big"], 2, "size = 'big': write 64, or"),
        (["prepare", ".", "--out", "y", "--splits", "1,2"], 2, "write three shares"),
        (["prepare", ".", "--out", "y", "--size", "8x8x8"], 2, "size = '8x8x8': write 64, or"),
        (["phantom", "/proc/x"], 2, "/proc/x cannot be written"),
        (["train", "--data", "x", "--out", "y", "--num-blocks", "0"], 2, "num_blocks = 0: must"),
        (["sample", "nowhere", "--out", "y"], 2, "echosweep train"),
        (["sample", "a", "--out", "y", "--num", "ten"], 2, '"ten" is not a whole number'),
        (["train", "--data", "x", "--out", "y", "--lr", "low"], 2, '"low" is not a number'),
        (["evaluate", "a", "b", "--features", "random"], 2, "there is no a"),
        (["evaluate", "a", "b"], 2, "--features efficientnet-lite0"),
        (["evaluate", "a", "b", "--metrics", "fid"], 2, "(frechet, kid, "),
        (["evaluate", "a", "b", "--features", "dinov2"], 2, "no DINOv2 weights"),
        (
            ["floor", "a", "--features", "random", "--by", "patient"],
            2,
            "by.0 = 'patient': must be 'frame' or 'video'",
        ),
        (["floor", "a", "--features", "random", "--plot", "/proc/x/p.png"], 2, "p.png cannot be"),
        (
            ["floor", "a", "--features", "random", "--repeats", "0"],
            2,
            "repeats = 0: must be",
        ),
        (["copies", "a", "b", "--features", "random"], 2, "there is no a"),
        (["copies", "a", "b", "--features", "random,dinov2"], 2, "compared by one"),
        (["copies", "a", "b", "--features", "random", "--drop", "."], 2, ". exists already"),
    ],
)
def test_a_wrong_call_gets_one_line_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ECHOSWEEP_INCEPTION", "ECHOSWEEP_DINOV2"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ECHOSWEEP_CACHE", str(tmp_path.parent))
    assert cli._run(arguments) == code
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert written.startswith("error: ")
    assert message in written
    assert not list(tmp_path.iterdir())


def test_a_wrong_call_ends_the_process_with_its_code(tmp_path: Path) -> None:
    done = echosweep("sample", tmp_path / "nowhere", "--out", tmp_path / "y")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError("9 GB"), 1, "out of memory (9 GB); make"),
        (
            RuntimeError("CUDA out of memory.\nTried"),
            1,
            "out of memory (CUDA out of memory.); make",
        ),
        (KeyError("x"), 1, "KeyError: 'x'; a fault of EchoSweep"),
        (OSError(errno.ENOSPC, "No space", "a"), 1, "'a'; free some space and run"),
        (KeyboardInterrupt(), 130, "run the same command again"),
    ],
)
def test_what_nothing_foresaw_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert cli._run([]) == code
    written = capsys.readouterr().err
    assert message in written
    assert written.count("\n") == 1


@pytest.mark.parametrize("redirection", ["| true", ">&-", "2>&-"])
def test_a_closed_stream_is_no_error(tmp_path: Path, redirection: str) -> None:
    call = f"phantom {tmp_path / 'out'} --videos 1 --frames 1 --size 32"
    command = f"set -o pipefail; {sys.executable} -m echosweep {call} {redirection}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if not line.startswith("phantom: ")] == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = echosweep("--debug", "sample", tmp_path / "nowhere", "--out", tmp_path / "y")
    assert "Traceback" in done.stderr


def test_the_way_from_videos_to_a_distance(tmp_path: Path) -> None:
    videos, store, run = tmp_path / "videos", tmp_path / "store", tmp_path / "run"
    made = tmp_path / "made"
    small = "--network ddpmpp-tiny --model-channels 8 --batch 8 --warmup-kimg 0 --grid-images 4"
    for arguments in (
        ["phantom", videos, "--videos", 6, "--frames", 8, "--size", 64, "--workers", 1],
        ["prepare", videos, "--out", store, "--size", 16, "--every", 2, "--workers", 1],
        ["train", "--data", store, "--out", run, "--total-kimg", 0.064, *small.split()],
        ["sample", run, "--out", made, "--num", 8, "--steps", 3],
    ):
        done = echosweep(*arguments)
        assert done.returncode == 0, done.stderr
    done = echosweep(
        "evaluate", made, store, "--features", "random", ECHOSWEEP_CACHE=str(tmp_path / "cache")
    )
    result = json.loads(done.stdout)
    assert result["n_generated"] == 8
    assert result["n_reference"] == 24
    assert result["metrics"]["random-64"]["rfd"] > 0
    assert "details" not in result
    assert "fid" not in result["metrics"]


def test_train_reads_its_own_config_file(
    small_store: Path, small_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "again"
    done = echosweep(
        *("train", "--data", small_store, "--out", run, "--config", small_run / "config.yaml"),
        *("--total-kimg", 0.008, "--grid-images", 0),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "model.json").read_text())["nimg"] == 8


def test_dry_run_prints_what_training_would_cost(small_store: Path, tmp_path: Path) -> None:
    done = echosweep(
        *("train", "--data", small_store, "--out", tmp_path / "run", "--network", "ddpmpp-tiny"),
        *("--total-kimg", 1, "--batch", 2, "--dry-run"),
    )
    assert json.loads(done.stdout)["estimate"]["parameters"] > 500_000
    assert not (tmp_path / "run").exists()


def test_the_next_command_can_be_pasted(tmp_path: Path) -> None:
    """Also where a folder's name has a space, a quote or a dollar."""
    out = tmp_path / "it's $HOME's videos"
    done = echosweep("phantom", out, "--videos", 1, "--frames", 1, "--size", 32)
    words = shlex.split(done.stdout.partition("Next: ")[2])
    assert words == ["echosweep", "prepare", str(out), "--out", "STORE"]
    done = echosweep("train", "--data", out / "x", "--out", "run", "--total-kimg", 1)
    assert shlex.split(done.stderr.split("`")[1]) == [
        *("echosweep", "prepare", "SOURCE", "--out", str(out / "x")),
    ]


def test_doctor_cuts_no_name_that_is_to_be_copied(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    address = "https://example.org/" + "a" * 80 + "/[weights].pt"
    found = [Finding("weights", "note", "[none] " + "b" * 60, f"Download {address}")]
    print_table(found)
    written = capsys.readouterr().out
    assert f"weights: Download {address}\n" in written
    assert "…" not in written
    assert written.count("b") == 60
    assert "[none]" in written


def test_doctor_prints_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOSWEEP_CACHE", str(tmp_path))
    done = echosweep("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert found["PyTorch"]["state"] == "ok"
    assert all(finding["fix"] for finding in found.values() if finding["state"] != "ok")
