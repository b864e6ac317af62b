"""What a record keeps of a command line: its numbers and choices, no name of anybody."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from echosweep import runs
from echosweep.vocabulary import nameless

LINES = """
prepare videos --out doe_john -> prepare <path> --out <path>
report DoeJohn -> report <path>
export study -oDoe --out=Doe -n 5 -> export study <path> --out=<path> -n 5
train --network adm-tiny --lr 1e-3 -> train --network adm-tiny --lr 1e-3
prepare a.avi --size 64x64 --splits .8,.1,.1 -> prepare <path> --size 64x64 --splits .8,.1,.1
evaluate a b --features random,inception -> evaluate <path> <path> --features random,inception
study run demo --storage sql://me:pw@host/x -> study run demo --storage <path>
utility x --label Jane -> utility <path> --label <path>
"""


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_names_are_hidden_and_numbers_and_choices_stay(line: str) -> None:
    given, kept = line.split(" -> ")
    words = nameless(["/home/doe/bin/echosweep", *given.split()])
    assert words == ["echosweep", *kept.split()]


def test_a_script_of_ones_own_keeps_its_words_to_itself() -> None:
    code = "from echosweep.environment import environment; print(environment()['command'])"
    done = subprocess.run(
        [sys.executable, "-c", code, "doe", "--who", "jane"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "['-c', '<path>', '--who', '<path>']"


def test_a_cache_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ECHOSWEEP_CACHE", raising=False)
    made = runs.cache_folder(None)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    assert stat.S_IMODE(runs.cache_folder(shared).stat().st_mode) == 0o755
