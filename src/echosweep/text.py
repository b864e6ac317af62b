r"""Names of others on their way out: to a terminal, a log, a spreadsheet, a path.

Videos, folders, labels, classes and the records of another lab's study are named by whoever made
them. Invariant: a name is shown as it is or by escapes that JSON and Python read back (\u001b); it
moves no cursor, ends no line, is no formula, and no part of a path but its last.
"""

import re
import unicodedata
from pathlib import Path
from typing import Any

from echosweep.errors import EchoSweepError

NAME_RULE = "1 to 64 of A-Z a-z 0-9 . _ - and spaces, a letter or digit first and no space last"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._ -]{0,62}[A-Za-z0-9._-])?")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def printable(text: str, keep: str = "") -> str:
    r"""Return text with what controls a terminal, or how other text is shown, as \u escapes.

    These are control and format characters (ESC, C1, marks of direction), ends of lines, lone
    surrogates, and what Unicode has not assigned.

    Args:
        text: What is to be shown.
        keep: Characters that stay all the same.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or _is_shown(c) else _escaped(c) for c in text)


def _is_shown(char: str) -> bool:
    kind = unicodedata.category(char)
    return kind[0] != "C" and kind not in ("Zl", "Zp")


def _escaped(char: str) -> str:
    halves = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{halves[i : i + 2].hex()}" for i in range(0, len(halves), 2))


def cell(value: Any) -> Any:
    """Return a value as a cell of CSV that no spreadsheet takes for a formula.

    A text that begins like one gets an apostrophe in front, which spreadsheets do not show; a
    number stays one, also as text.
    """
    if not isinstance(value, str) or _NUMBER.fullmatch(value):
        return value
    return printable(f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value)


def is_name(name: Any) -> bool:
    """Say whether a name may be part of a path, see NAME_RULE."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def below(folder: Path, name: Any, record: str) -> Path:
    """Return the path `name` below a folder, as a record has it.

    Args:
        folder: Where the path begins.
        name: Its parts below the folder.
        record: What says so, for the error.

    Raises:
        EchoSweepError: It leads out of the folder, as by `..`, from the root, or over a link.
    """
    if isinstance(name, str) and name and "\0" not in name:
        path, home = folder / name, folder.resolve()
        if home in path.resolve().parents:
            return path
    raise EchoSweepError(
        f"{record} names {name!r}, which leads out of {folder}: it was not written by EchoSweep"
    )


def size(count: float) -> str:
    """Return a number of bytes as people read it: 820 bytes, 24 kB, 1.5 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"
