import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep import locks, runs
from echosweep.errors import EchoSweepError, UsageError

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
    path.write_text('{"a": 1}\n[3]\n{"a": 2}\n{"a"')
    assert runs.read_jsonl(path) == [{"a": 1}, {"a": 2}]
    assert runs.read_jsonl(tmp_path / "absent") == []


def test_lock_refuses_a_second_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    lines = ["from pathlib import Path", "from echosweep import locks"]
    lines += [f"with locks.locked(Path({str(tmp_path)!r})): pass"]
    command = [sys.executable, "-c", "\n".join(lines)]
    with locks.locked(tmp_path):
        second = subprocess.run(command, capture_output=True, text=True)
    assert "in use by another EchoSweep process" in second.stderr
    assert subprocess.run(command).returncode == 0


def test_locked_folder_raises_in_the_same_process(tmp_path: Path) -> None:
    with locks.locked(tmp_path), pytest.raises(UsageError, match="in use"), locks.locked(tmp_path):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=f"{place} cannot be written"), locks.locked(place):
            pass
    for place in (tmp_path, tmp_path / "file" / "picture.png"):
        with pytest.raises(UsageError, match=f"{place} cannot be written"):
            runs.check_writable(place)
    with pytest.raises(UsageError, match="is too long; choose a shorter one"):
        runs.check_writable(tmp_path / f"{'x' * 240}.png")  # its temporary file would not fit
    runs.check_writable(tmp_path / "new" / "picture.png")
    assert (tmp_path / "new").is_dir()


def test_a_full_disk_is_reported_with_the_file(tmp_path: Path) -> None:
    def fail(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=f"No space.*{tmp_path / 'file'}"):
        runs.atomic_write(tmp_path / "file", fail)


@pytest.mark.parametrize("name", ["plain", "ä", "\udcff"])
def test_a_record_comes_back_and_no_changed_byte_is_missed(tmp_path: Path, name: str) -> None:
    """The last name is a file's whose bytes are not UTF-8."""
    path, value = tmp_path / "record.json", {"name": name, "number": 0.1, "list": [1, None]}
    runs.write_record(path, value)
    assert runs.read_record(path, "fix it") == value
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            read = runs.read_record(path, "fix it")  # a space has changed, or the signature's name
            assert {key: read[key] for key in value} == value
        except EchoSweepError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
            assert str(error).endswith("fix it")  # noqa: PT017


@pytest.mark.parametrize("text", ["", "[1]", "[" * 100_000, "\udcff"])
def test_what_is_no_record_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(EchoSweepError, match=r"record\.json is damaged .*; fix it"):
        runs.read_record(path, "fix it")


@pytest.mark.parametrize(
    "text", ['{"a": ' + "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\xff", "[1]", "3", '{"a": 1']
)
def test_a_record_of_any_content_is_read_or_damaged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(EchoSweepError, match=r"a\.json is damaged .*; mend it$") as refused:
        runs.read_record(path, "mend it")
    assert len(str(refused.value)) < 500
    path.write_bytes(text.encode("latin-1") + b'\n{"b": 2}\n')
    assert runs.read_jsonl(path) == [{"b": 2}]


def test_a_record_without_an_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("/dev/zero")
    with pytest.raises(EchoSweepError, match=r"a pipe or a device, not a file; mend it$"):
        runs.read_record(tmp_path / "a.json", "mend it")
    with (tmp_path / "b.json").open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(EchoSweepError, match=r"it has more than 64 MiB; mend it$"):
        runs.read_record(tmp_path / "b.json", "mend it")


def test_lines_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(EchoSweepError, match=f"{name} cannot be read: it is a "):
            runs.read_jsonl(tmp_path / name)
    assert runs.read_jsonl(tmp_path / "pipe" / "below") == []
