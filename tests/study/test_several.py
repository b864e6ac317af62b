"""A command on several GPUs: its processes end together; test_artifacts.py has what they do."""

import sys
from pathlib import Path

import pytest

from echosweep.study import several


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files are modules of the processes that are started."""
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *filter(None, sys.path)]))
    return tmp_path


def test_where_one_fails_none_is_left_waiting(module: Path) -> None:
    (module / "fails.py").write_text(
        "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(3)\ntime.sleep(60)\n"
    )
    assert several.run(["fails"], 3) == 3
