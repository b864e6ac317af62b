"""Splits as people write them: VALID, validation and val are one; folders may be named so.

Invariant: a word is a split or it is not, and never the nearest one: a wrong guess would move
patients between sets.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def split_of(word: str) -> str | None:
    """Return the split that `word` means (train, val or test); None for another word.

    Args:
        word: A cell of a table or the name of a folder, in any case, with blanks around it.
    """
    return _WORDS.get(word.strip().lower())


def folder_splits(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the (split, name without that folder) of each name that a split's folder holds.

    Folders count as splits where they are named so at one level of the tree, and are several, or
    hold everything: one folder called "test" beside others may be anything.

    Args:
        names: Paths of files within the source, with forward slashes.
    """
    levels: dict[int, dict[str, tuple[str, str]]] = {}
    listed = list(names)
    for name in listed:
        for level, folder in enumerate(PurePosixPath(name).parts[:-1]):
            if split := split_of(folder):
                parts = PurePosixPath(name).parts
                rest = "/".join((*parts[:level], *parts[level + 1 :]))
                levels.setdefault(level, {})[name] = (split, rest)
    for found in (levels[level] for level in sorted(levels)):
        if len({split for split, _ in found.values()}) > 1 or len(found) == len(listed):
            return found
    return {}
