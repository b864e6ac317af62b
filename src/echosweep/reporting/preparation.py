"""What `prepare` decided, as a table for a terminal: what went in, what stayed out, what to do.

Reads a store's "summary" alone; needs no torch. Invariant: no name is shown that the summary does
not hold, so what was hashed stays hashed.
"""

import shutil
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from echosweep.text import printable

_TITLE = 10  # columns
_MOST_NAMED = 20
_NONE: Mapping[str, Any] = {"reasons": {}}
_MOST = 6  # reasons and notes of one kind that are shown; the manifest has all


def text(
    summary: Mapping[str, Any],
    broken: Mapping[str, str] | None = None,
    width: int | None = None,
) -> str:
    """Return the decisions as lines, those that need a look last and marked with "!".

    Args:
        summary: The "summary" of a store's manifest, or what a dry run returns.
        broken: The reason by name of each excluded video; the first of them are named.
        width: Columns; None: those of the terminal.
    """
    columns = max(60, min(100, width or shutil.get_terminal_size((100, 24)).columns))
    lines = _split_table(summary["splits"])
    for title, value in _rows(summary if broken is None else {**summary, "excluded": _NONE}):
        lines += _wrap(title, value, columns)
    for name, reason in list((broken or {}).items())[:_MOST_NAMED]:
        lines += _wrap("broken", f"{name}: {reason}", columns)
    if (more := len(broken or {}) - _MOST_NAMED) > 0:
        lines += _wrap("broken", f"... and {more} more, in manifest.json", columns)
    for warning in summary["warnings"]:
        lines += _wrap("! look", warning, columns)
    return "\n".join(lines)


def _rows(summary: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield (title, text) for each decision that there is something to say about."""
    yield "source", f"{summary['source']}: kind {summary['kind']} ({summary['why']})"
    yield "read as", summary["layout"]
    yield "patients", _counts(summary["patients_from"])
    yield "splits", _counts(summary["splits_from"])
    if summary["cropping"]:
        yield "cropping", _counts(summary["cropping"])
    if summary["labels"]:
        yield "labels", _counts(summary["labels"])
    if tables := summary["tables"]:
        yield "tables", ", ".join(tables[:_MOST])
    if missing := summary["rows_without_file"]:
        yield "tables", f"{_number(missing, 'row')} without a file"
    if unlisted := summary["files_without_row"]["files"]:
        example = _example(summary["files_without_row"]["examples"])
        yield "tables", f"{_number(unlisted, 'video')} without a row{example}"
    yield from _left_out(summary)
    links = summary["links"]
    if links["followed"] or links["already_read"]:
        yield (
            "links",
            (
                f"{links['followed']} linked folders followed, {links['already_read']} passed over "
                "as they had been read"
            ),
        )
    for pairs, word in (("equal_videos", "equal"), ("near_equal_videos", "nearly equal")):
        if found := summary[pairs]:
            example = f"as {found[0][0]} and {found[0][1]}"
            yield (
                "twins",
                (
                    f"{_number(len(found), 'pair')} of {word} videos ({example}): they "
                    f"join patients to {_number(summary['groups'], 'group')} where splits are drawn"
                ),
            )
    for note in summary["notes"][:_MOST]:
        yield "note", note


def _left_out(summary: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for title, key in (("broken", "excluded"), ("left out", "left_out")):
        for reason, number in list(summary[key]["reasons"].items())[:_MOST]:
            yield title, f"{number}: {reason}"
        if (more := len(summary[key]["reasons"]) - _MOST) > 0:
            yield title, f"... and {more} more reasons, in manifest.json"
    for row in summary["not_read"][:_MOST]:
        ending = row["ending"] or "without ending"
        yield "not read", f"{row['files']} {ending}: {row['reason']}{_example([row['example']])}"
    if (more := len(summary["not_read"]) - _MOST) > 0:
        yield "not read", f"... and {more} more kinds of files, in manifest.json"
    if hidden := summary["hidden"]:
        yield "not read", f"{hidden} hidden files and folders"
    if own := summary["own_folders"]:
        yield "not read", f"{own} folders that EchoSweep made: stores, contact sheets"


def _split_table(splits: Mapping[str, Mapping[str, int | None]]) -> list[str]:
    rows = [f"{'':{_TITLE}}  {''.join(f'{name:>10}' for name in (*splits, 'all'))}"]
    for unit in ("patients", "videos", "images"):
        numbers = [splits[split][unit] for split in splits]
        if any(number is None for number in numbers):
            continue
        cells = [*numbers, sum(number or 0 for number in numbers)]
        rows.append(f"{unit:{_TITLE}}  {''.join(f'{cell:>10,}' for cell in cells)}")
    return rows


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{what}: {_number(n, 'video')}" for what, n in list(counts.items())[:_MOST]]
    more = [f"{len(counts) - _MOST} more"] if len(counts) > _MOST else []
    return "; ".join([*shown, *more])


def _number(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _example(names: list[str]) -> str:
    return f" (as {names[0]})" if names and names[0] else ""


def _wrap(title: str, value: str, columns: int) -> list[str]:
    indent = " " * (_TITLE + 2)
    return textwrap.wrap(
        printable(value), columns, initial_indent=f"{title:{_TITLE}}  ", subsequent_indent=indent
    )
