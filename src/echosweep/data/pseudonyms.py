"""Hashes in place of names that may be patients': of sources, folders, files and identifiers.

A hash is salted with what only those who have the files know, so that nobody else can try names
out, and who has them gets the same hashes again. Invariant: after `hide`, no name of a file or a
folder is in a clip's name, patient, labels or reasons.
"""

import csv
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from echosweep import runs
from echosweep.data.source import Clip, Listing
from echosweep.data.split_words import split_of
from echosweep.data.tree import FileTree
from echosweep.errors import UsageError
from echosweep.text import cell

_IDENTIFYING = re.compile(
    "name|birth|date|dob|mrn|patient|subject|address|phone|mail|accession|insurance|ssn|physician"
    "|operator|hospital|institution",
    re.IGNORECASE,
)

_SHORT = 2  # so short a word is found in any sentence, and names nobody


class Hashes:
    """Names to hashes of 12 hex digits, for the files of one source.

    Args:
        tree: The files of the source.
        listing: Its salt, where the kind has a better one than names and sizes.
    """

    def __init__(self, tree: FileTree, listing: Listing) -> None:
        self._salt = listing.salt or _salt(tree, listing)
        self._words = _words(tree)

    def of(self, text: str) -> str:
        """Return the hash of `text`."""
        return hashlib.sha256(self._salt + os.fsencode(text)).hexdigest()[:12]

    def hide(self, clip: Clip, keep_folder: bool) -> Clip:
        """Return `clip` without a name in it.

        Args:
            clip: Under its real name and patient.
            keep_folder: Whether its label "folder" is a class, not a name.
        """
        alias = None if clip.patient is None else self.of(clip.patient)
        labels = {
            key: self.of(str(value)) if key == "folder" and not keep_folder else value
            for key, value in clip.labels.items()
            if not identifies(key)
        }
        name = self.of(clip.name)
        return replace(
            clip,
            name=f"{alias}/{name}" if alias else name,
            patient=alias,
            labels=labels,
            study=None,
            fault=self.scrub(clip.fault, clip.words),
        )

    def scrub(self, text: str, words: Iterable[str] | None = None) -> str:
        """Return `text` with each name of a file or folder replaced by its hash.

        A name that could be a word of a sentence ("truncated") counts only where it is quoted or
        part of a path.

        Args:
            text: A note or a reason.
            words: The names to look for; None: all of the source.
        """
        looked_for = self._words if words is None else sorted(set(words), key=len, reverse=True)
        for word in looked_for:
            if len(word) > _SHORT and word in text:
                text = _pattern(word).sub(self.of(word), text)
        return text


def _pattern(word: str) -> re.Pattern[str]:
    quoted = re.escape(word)
    if word.isascii() and word.isalpha() and word.islower():
        return re.compile(rf"""(?<=[/'"]){quoted}(?!\w)|(?<!\w){quoted}(?=[/'"]|\.\w)""")
    return re.compile(rf"(?<![^\W_]){quoted}(?![^\W_])")


def write_key(path: Path, before: Sequence[Clip], after: Sequence[Clip]) -> None:
    """Write a table of which hash is which file, readable by its owner alone.

    Args:
        path: The CSV file to write.
        before: Clips under their real names.
        after: The same clips, hidden.

    Raises:
        UsageError: The file cannot be written.
    """
    runs.check_writable(path)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", "patient", "file", "file_patient"])
    for old, new in zip(before, after, strict=True):
        names = (new.name, new.patient or "", old.name, old.patient or "")
        table.writerow(map(cell, names))
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise UsageError(f"{path} is no plain file; give another name")
    written = text.getvalue().encode(errors="backslashreplace")
    if path.exists() and (path.stat().st_size != len(written) or path.read_bytes() != written):
        raise UsageError(f"{path} is there already, of other videos; give another name")
    try:
        runs.write_text(path, text.getvalue())
        path.chmod(0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); choose another") from None


def identifies(label: str) -> bool:
    """Say whether a label of that name may tell whose video it is."""
    return bool(_IDENTIFYING.search(label))


def _salt(tree: FileTree, listing: Listing) -> bytes:
    """Return a hash of the names and sizes of the files that videos are read from."""
    files = {file for clip in listing.clips for file in clip.parts or (clip.path,)}
    facts = (f"{tree.name(file)} {file.stat().st_size}" for file in sorted(files & {*tree.files}))
    return hashlib.sha256(os.fsencode("\n".join(facts))).digest()


def _words(tree: FileTree) -> list[str]:
    """Return the names of all files and folders, also without their ending, the longest first."""
    words = {tree.root.resolve().name, tree.root.name}
    for file in tree.files:
        words.update(tree.name(file).split("/"))
        words.add(file.stem)
    return sorted((word for word in words if not split_of(word)), key=len, reverse=True)
