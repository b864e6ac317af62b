"""Which kind of source a folder is, and where it begins.

A folder can often be read in two ways. Invariant: the reading is the only one, or the one that
`BEFORE` prefers, or the one that was asked for, and it is always said why.
"""

from pathlib import Path
from typing import NamedTuple

from echosweep.config import PrepareConfig
from echosweep.data import SOURCES, echonet
from echosweep.data.source import Listing
from echosweep.data.tree import FileTree, is_own, scan
from echosweep.errors import UsageError


class Found(NamedTuple):
    """A source, read: its kind and why, the files that are there, and what the kind makes of them.

    Attributes:
        kind: A key of SOURCES.
        why: What decided the kind, in words.
        tree: Every file that was seen.
        listing: The clips and decisions of the kind.
        notes: Decisions about the folder itself.
    """

    kind: str
    why: str
    tree: FileTree
    listing: Listing
    notes: tuple[str, ...] = ()


def find(source: Path, config: PrepareConfig) -> Found:
    """Return what `source` holds, read as the kind that was asked for or that fits.

    Args:
        source: A folder or a file.
        config: `kind` chooses; other fields are the kinds' own.

    Raises:
        UsageError: Nothing is there, or two kinds fit equally well.
    """
    if not source.exists():
        raise UsageError(f"there is no {source}; give a folder or file with videos")
    if not (source.is_dir() or source.is_file()):
        raise UsageError(f"{source} is a pipe or a device; give a folder or file with videos")
    if source.is_dir() and is_own([file.name for file in source.iterdir()]):
        raise UsageError(f"{source} was made by EchoSweep; give the videos that it was made of")
    root, notes = _root(source, config.kind)
    tree = scan(root)
    kind, why = _kind(tree, config.kind)
    listing = SOURCES[kind].clips(tree, config)
    if not listing.clips:
        raise UsageError(f"{root} lists no video; is it the folder that you mean?")
    return Found(kind, why, tree, listing, notes)


def _root(source: Path, kind: str) -> tuple[Path, tuple[str, ...]]:
    """Return where the source begins: EchoNet's folder for its folder of videos."""
    above = echonet.parent_of_videos(source) if kind in ("auto", "echonet") else None
    if above is None:
        return source, ()
    note = (
        f"{source.name} belongs to the FileList.csv beside it: its splits and labels are taken; "
        "--kind folder reads the bare videos"
    )
    return above, (note,)


def _kind(tree: FileTree, asked: str) -> tuple[str, str]:
    among = SOURCES if asked == "auto" else {asked: SOURCES[asked]}
    found = {name: number for name, each in among.items() if (number := each.count(tree))}
    if not found:
        looked_for = "; ".join(each.LOOKS_FOR for each in among.values())
        raise UsageError(f"{tree.root} has nothing to prepare; looked for {looked_for}")
    after = {name for first in found for name in getattr(SOURCES[first], "BEFORE", ())}
    first = {name: number for name, number in found.items() if name not in after}
    if len(first) > 1:
        files = ", ".join(f"{name} ({number} found)" for name, number in first.items())
        options = " or ".join(f"--kind {name}" for name in first)
        raise UsageError(f"{tree.root} can be read as {files}; choose with {options}")
    kind = next(iter(first))
    others = "".join(f"; --kind {name} would read it too" for name in found if name != kind)
    why = "as asked for" if asked != "auto" else f"by {found[kind]} of its files"
    return kind, why + others
