import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep import runs
from echosweep.errors import UsageError

JSON = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())


@given(st.dictionaries(st.text(), JSON))
def test_signature_does_not_depend_on_the_order_of_keys(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert runs.signature(turned) == runs.signature(value)


def test_signature_tells_values_apart() -> None:
    assert runs.signature({"a": 1}) != runs.signature({"a": "1"})


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    runs.write_text(path, "old")

    def fail(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        runs.atomic_write(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_jsonl_passes_over_a_cut_last_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert runs.read_jsonl(path) == [{"a": 1}, {"a": 2}]
    assert runs.read_jsonl(tmp_path / "absent") == []


def test_lock_refuses_a_second_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    lines = ["from pathlib import Path", "from echosweep import runs"]
    lines += [f"with runs.locked(Path({str(tmp_path)!r})): pass"]
    command = [sys.executable, "-c", "\n".join(lines)]
    with runs.locked(tmp_path):
        second = subprocess.run(command, capture_output=True, text=True)
    assert "in use by another EchoSweep process" in second.stderr
    assert subprocess.run(command).returncode == 0


def test_locked_folder_raises_in_the_same_process(tmp_path: Path) -> None:
    with runs.locked(tmp_path), pytest.raises(UsageError, match="in use"), runs.locked(tmp_path):
        pass


def test_stop_signal_asks_first_and_stops_second() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with runs.StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_environment_is_json_and_names_the_versions() -> None:
    value = json.loads(json.dumps(runs.environment()))
    assert value["packages"]["echosweep"]
    assert value["python"].count(".") == 2
