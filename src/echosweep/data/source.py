"""What a source of data is: something that lists video clips, and decodes one clip at a time.

Listing is cheap and opens no video; decoding happens in other processes, so a `Clip` is plain data.
Invariant: a broken clip raises (or carries) a reason and never stops the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from PIL import Image

from echosweep.config import PrepareConfig
from echosweep.data.tree import FileTree

if TYPE_CHECKING:
    from echosweep.data.limits import Limits


class Broken(Exception):
    """A clip, or a row about it, that cannot be used; its text is the reason that is kept."""


class Guard:
    """A context in which one file is read: whatever its reader raises is the fault of that file.

    A parser raises anything on a hostile file (MemoryError, RecursionError, struct.error, ...), so
    every source reads each file, and each row of a table, within such a context. An AssertionError
    passes: that is a fault of ours.

    Attributes:
        fault: What was wrong, in one line without the paths that some libraries name; "" if nothing
            was.
    """

    def __init__(self, *passing: type[Exception]) -> None:
        self._passing: tuple[type[Exception], ...] = (AssertionError, *passing)
        self.fault = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception) or isinstance(error, self._passing):
            return False
        self.fault = _reason(error)
        return True


def _reason(error: Exception) -> str:
    if isinstance(error, Broken):
        return str(error)
    if isinstance(error, MemoryError):
        return "cannot be read: it needs more memory than there is"
    text = getattr(error, "strerror", None) or str(error).split("\n")[0]
    return f"cannot be read: {type(error).__name__}: {text[:200]}"


class Frame(NamedTuple):
    """A decoded frame: its number in the clip, the image ("L" or "RGB"), luma from 16 to 235?"""

    number: int
    image: Image.Image
    limited: bool = False


@dataclass(frozen=True)
class Clip:
    """One video of a source before it is decoded.

    Attributes:
        name: Unique within the source; the path of the file within the source's folder.
        path: The file (or folder, or array) it is in.
        parts: The files it is made of, in order, where that is not `path` alone.
        item: Its row in `path`, where that holds several videos.
        split: The split that the source gives it; None where the source does not say.
        split_by: What gave the split, in words: "FileList.csv", "the folders train, val, test".
        patient: Whose video it is; None where the source does not say.
        patient_by: What told the patient, in words: "PatientID", "videos.csv".
        study: The examination it belongs to, where the source knows: `--patient-from study`.
        labels: What it shows, numbers or words by name.
        frames: How many frames the source promises, 0 if that is unknown.
        fault: Why it cannot be used, where the listing shows that: it counts as broken.
        left_out: The rule by which it is left out, and how to keep it: it does not count as broken.
        crop: The box to keep: (left, top, right, bottom) in pixels.
        uncropped: Whether text may be burnt in beside the tissue: `--deidentify` leaves it out.
        look: What it has in common with clips that look alike: the scanner's model, its screen.
        note: What was done to it, counted in the manifest.
    """

    name: str
    path: Path
    split: str | None = None
    patient: str | None = None
    labels: Mapping[str, float | str] = field(default_factory=dict)
    frames: int = 0
    fault: str = ""
    item: int = 0
    crop: tuple[int, int, int, int] | None = None
    note: str = ""
    parts: tuple[Path, ...] = ()
    split_by: str = ""
    patient_by: str = ""
    study: str | None = None
    left_out: str = ""
    uncropped: bool = False
    look: str = ""

    @property
    def words(self) -> set[str]:
        """Return the names of the files and folders it is read from, with and without endings."""
        paths = (self.path, *self.parts)
        return {word for path in paths for word in (*path.parts, path.stem)}


@dataclass(frozen=True)
class Listing:
    """What a source found, and what it decided on the way.

    Attributes:
        clips: One for each video, in a fixed order; broken ones with their `fault`.
        layout: What was found and why it is read so, in words.
        tables: The tables that were read: labels, splits and patients come from them.
        unread: Files of this kind that are no clip, with the reason: masks, still copies.
        unlisted: Names of videos that the source's table does not list.
        notes: Further decisions, each a sentence with the option that changes it.
        salt: Mixed into hashes of names; b"" where the names and sizes of the files are enough.
    """

    clips: Sequence[Clip]
    layout: str
    tables: Sequence[Path] = ()
    unread: Mapping[Path, str] = field(default_factory=dict)
    unlisted: Sequence[str] = ()
    notes: Sequence[str] = ()
    salt: bytes = b""


MISSING = "listed but missing"
"""The fault of a clip that a table lists and whose file is not there."""


class Source(Protocol):
    """A kind of data: a module with these functions, known by its line in `SOURCES`.

    It may also have `BEFORE`, names of kinds that give way to it where both find files, and
    `content(clip)`, the hash of a clip where one file holds several.
    """

    LOOKS_FOR: str
    """What `count` looks for, in words for error messages."""

    def count(self, tree: FileTree) -> int:
        """Return how many files of this kind `tree` holds: 0 if it is another kind of source."""

    def clips(self, tree: FileTree, config: PrepareConfig) -> Listing:
        """Return the clips in `tree`, in a fixed order, with what was decided.

        Raises UsageError for a wrong layout as a whole; one wrong record is a clip with a fault.
        """

    def decode(self, clip: Clip, every: int, channels: int, limits: "Limits") -> Iterator[Frame]:
        """Yield frames 0, every, 2 every, ... of `clip`; raise `Broken` (or anything) if broken.

        With channels == 1 a grey image is enough, where that is cheaper than colour. Raises
        `Broken` before it takes memory for more than `limits` allow.
        """
