"""Names of others: shown as they are, and no part of a path but its last."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep import streams
from echosweep.errors import EchoSweepError
from echosweep.text import below, cell, is_name, printable

# A colour, the title of a window, C1's CSI, an end of a line, marks of direction, a lone surrogate.
HOSTILE = "a\x1b[31mb\x1b]0;c\x07\x9b2Jd\ne\rf\u202eg\u2066h\u2028i\udcffj[bold]k"


@given(st.text())
def test_what_is_shown_controls_nothing_and_is_read_back(text: str) -> None:
    shown = printable(text)
    kinds = {unicodedata.category(char) for char in shown}
    assert not any(kind[0] == "C" or kind in ("Zl", "Zp") for kind in kinds)
    if "\\" not in text:
        assert json.loads('"' + shown.replace('"', '\\"') + '"') == text
    assert printable(shown) == shown


@given(st.text() | st.floats(allow_nan=False) | st.integers())
def test_no_cell_is_a_formula_and_numbers_stay(value: str | float) -> None:
    text = io.StringIO()
    csv.writer(text).writerow([cell(value), "end"])
    ((read, _),) = csv.reader(io.StringIO(text.getvalue()))
    if isinstance(value, str):
        first = read.lstrip(" ")[:1]
        assert first not in ("=", "@", "\t", "\r")
        assert first not in ("+", "-") or float(read) == float(value)
    else:
        assert float(read) == value


@pytest.mark.parametrize("name", ["adm-tiny", "paper-112", "a b", "0.5", "A_1", "x" * 64])
def test_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".a", "a/b", "../a", "/a", "a\\b", " a", "a ", "a\n", "-a", "é", "x" * 65, 3],
)
def test_what_is_no_name(name: object) -> None:
    assert not is_name(name)


def test_a_record_leads_nowhere_else(tmp_path: Path) -> None:
    home = tmp_path / "study"
    home.mkdir()
    (tmp_path / "secret").mkdir()
    (home / "link").symlink_to(tmp_path)
    assert below(home, "images/a", "it") == home / "images" / "a"
    for name in (
        "../secret",
        "images/../../secret",
        str(tmp_path),
        "link/secret",
        "",
        ".",
        3,
        "\0",
    ):
        with pytest.raises(EchoSweepError, match=r"^it names .*leads out of"):
            below(home, name, "it")


def _printed() -> None:
    """Print a hostile name on each way to a terminal."""
    streams.prepare()
    print(HOSTILE)
    out = streams.console()
    rows = streams.table("name", title=HOSTILE)
    rows.add_row(HOSTILE)
    out.print(rows)
    out.print(HOSTILE)
    from echosweep.progress import bar

    with bar(HOSTILE, "images") as progress:
        progress(1, 1)
        print(HOSTILE, file=sys.stderr)
    from echosweep.cli import _fail

    _fail(HOSTILE, 1)


@pytest.mark.parametrize("terminal", [True, False])
def test_no_way_to_a_terminal_lets_a_name_control_it(terminal: bool) -> None:
    """rich's own colours and bars are meant, and nothing else of what is written."""
    reads, writes = pty.openpty() if terminal else os.pipe()
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_text as t"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; t._printed()"],
        stdout=writes,
        stderr=writes,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )
    os.close(writes)
    written = b""
    while part := _read(reads):
        written += part
    os.close(reads)
    text = written.decode()
    assert process.wait() == 0, text
    assert text.count("[bold]k") >= (7 if terminal else 5)
    for control in ("\x1b[31m", "\x1b]0;", "\x9b", "\u202e", "\u2066", "\u2028", "\x07"):
        assert control not in text
    assert terminal or "\x1b" not in text


def _read(reads: int) -> bytes:
    try:
        return os.read(reads, 1 << 16)
    except OSError:  # the terminal is closed
        return b""
