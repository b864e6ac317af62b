"""The files below a folder, listed once: what every source chooses from.

Linked folders are followed, each real folder once, so that links in a circle end. Hidden files are
counted and not read. Invariant: the order is that of the names, whatever the file system says, and
every name that is there is in `files` or is counted in another field.
"""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from echosweep import folders

Identity = tuple[int, int]
OWN = ".echosweep"
"""The file that marks a folder of pictures for the user, which is no source."""
_STORES = (("manifest.json", "images.npy"), (folders.TASK, folders.CONTENT))


@dataclass(frozen=True)
class FileTree:
    """What lies below `root`.

    Attributes:
        root: The folder, or the one file, that was given.
        files: Regular files (also through links), sorted by the parts of their names.
        linked: How many linked folders were followed.
        repeated: How many linked folders were passed over, as they had been read already.
        hidden: How many hidden files and folders were passed over.
        own: How many folders were passed over that EchoSweep made: stores, contact sheets.
        odd: Names that are no regular file and no folder, or that cannot be read, with the reason.
    """

    root: Path
    files: tuple[Path, ...]
    linked: int = 0
    repeated: int = 0
    hidden: int = 0
    own: int = 0
    odd: dict[str, str] = field(default_factory=dict)

    def ending(self, suffixes: Collection[str]) -> list[Path]:
        """Return the files that end in one of `suffixes`, in any case."""
        return [file for file in self.files if file.suffix.lower() in suffixes]

    def name(self, file: Path) -> str:
        """Return the name of `file` within the root, with forward slashes."""
        return file.name if file == self.root else file.relative_to(self.root).as_posix()

    def find(self, name: str) -> Path | None:
        """Return the file `name` directly in the root, its name in any case; None if not there."""
        wanted = name.lower()
        for file in self.files:
            if file.parent == self.root and file.name.lower() == wanted:
                return file
        return None


def scan(root: Path) -> FileTree:
    """List `root`: a folder with all that is below it, or one file.

    Args:
        root: An existing folder or file.
    """
    if not root.is_dir():
        return FileTree(root, (root,))
    walk = _Walk()
    walk.read(root)
    files = tuple(sorted(walk.files, key=lambda file: file.parts))
    return FileTree(root, files, walk.linked, walk.repeated, walk.hidden, walk.own, walk.odd)


def is_own(names: Collection[str]) -> bool:
    """Say whether EchoSweep made a folder that holds `names`: a store, whole or not, or sheets."""
    return OWN in names or any(set(marks) <= set(names) for marks in _STORES)


class _Walk:
    def __init__(self) -> None:
        self.files: list[Path] = []
        self.linked = self.repeated = self.hidden = self.own = 0
        self.odd: dict[str, str] = {}
        self._seen: set[Identity] = set()

    def read(self, root: Path) -> None:
        # Real folders first: a link never takes the name of what lies in the tree itself.
        links = [*self._folders([root])]
        while links:
            link = links.pop(0)
            if _identity(link) in self._seen:
                self.repeated += 1
                continue
            self.linked += 1
            links += self._folders([link])

    def _folders(self, waiting: list[Path]) -> Iterator[Path]:
        """Read `waiting` and the real folders below; yield the linked folders met, by name."""
        links: list[Path] = []
        while waiting:
            folder = waiting.pop()
            if (identity := _identity(folder)) in self._seen:
                continue  # a link led to a folder above one that was read
            self._seen.add(identity)
            try:
                with os.scandir(folder) as opened:
                    entries = list(opened)
            except OSError as error:
                self.odd[str(folder)] = f"folder cannot be read: {error.strerror}"
                continue
            if is_own([entry.name for entry in entries]):
                self.own += 1
                continue
            for entry in entries:
                try:
                    self._sort(entry, waiting, links)
                except OSError as error:  # of a link in a circle, or into a closed folder
                    self.odd[entry.path] = f"cannot be read: {error.strerror}"
        yield from sorted(links)

    def _sort(self, entry: "os.DirEntry[str]", waiting: list[Path], links: list[Path]) -> None:
        path = Path(entry.path)
        if entry.name.startswith("."):
            self.hidden += 1
        elif entry.is_dir(follow_symlinks=False):
            waiting.append(path)
        elif entry.is_file():
            self.files.append(path)
        elif entry.is_dir():
            links.append(path)
        else:
            self.odd[str(path)] = _oddity(path)


def _identity(path: Path) -> Identity:
    try:
        facts = path.stat()
    except OSError:
        return (-1, hash(path))
    return facts.st_dev, facts.st_ino


def _oddity(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError:
        return "link to a file that is not there" if path.is_symlink() else "cannot be read"
    kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device"}
    return f"{kinds.get(stat.S_IFMT(mode), 'device')}, not a file"
