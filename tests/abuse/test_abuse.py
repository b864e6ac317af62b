"""The quick form of every row of `make abuse`, each in a second or a few."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .rows import LONG_ONLY, ROWS

ROOT = Path(__file__).parents[2]
NAMES = [name for name in ROWS if name not in LONG_ONLY]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """One process that does all rows, one after the other: it imports everything once."""
    work = tmp_path_factory.mktemp("abuse")
    words = ["-m", "tests.abuse", str(work / "table.md"), "--quick", "--work", str(work)]
    words += ["--rows", ",".join(NAMES)]
    with (work / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=said, stderr=said, text=True, env=os.environ
        )
        yield work, process
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", NAMES)
def test_it_holds(name: str, rows: tuple[Path, subprocess.Popen[str]]) -> None:
    work, process = rows
    result = work / f"{name}.json"
    while not result.exists() and process.poll() is None:
        time.sleep(0.02)
    assert result.exists(), (work / "said.txt").read_text()
    found = json.loads(result.read_bytes())
    assert found["done"]
    assert not found["faults"], "\n".join(found["faults"])
