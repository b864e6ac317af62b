"""Still images: a subfolder is the frames of one video, or a class of images by themselves.

`--folders` says which; "auto" finds out, and says what it took. Frames are in natural order (2.png
before 10.png), so that `every` means the same as in a video. A file of several pages is a video of
its own. Folders train, val and test are splits, and metadata.csv gives labels. Invariant: every
image is part of one clip, or is left unread with a reason (masks that lie beside their image).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from echosweep.config import PrepareConfig
from echosweep.data.image_files import PAGED, SUFFIXES, natural, read_header, read_page, read_pages
from echosweep.data.image_tables import ImageTables, Said, read_tables
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Clip, Frame, Listing
from echosweep.data.split_words import folder_splits
from echosweep.data.store import SPLITS
from echosweep.data.tables import hide_values
from echosweep.data.tree import FileTree

LOOKS_FOR = "images (" + " ".join(suffix[1:] for suffix in SUFFIXES) + ")"
_MASK = re.compile(r"(.+)_(?:mask|gt|seg|segmentation|annotation)(?:_\d+)?\.\w+", re.IGNORECASE)
_SAMPLED_FOLDERS, _SAMPLED_IMAGES = 40, 5
_ONE_PAGE = (".png", ".jpg", ".jpeg", ".bmp")  # an animated PNG has more: it is a promise of one
_T = TypeVar("_T")
Splits = Mapping[str, tuple[str, str]]
"""The split of a folder, and its name without the folder that says so."""


def count(tree: FileTree) -> int:
    """Return the number of images in `tree`."""
    return len(tree.ending(SUFFIXES))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each video and each image by itself, sorted by name.

    Args:
        tree: A folder of images, or one image.
        config: `folders` says what a subfolder is: a video, or a class of images; with `anonymous`
            no fault and no note quotes a cell.
    """
    found = _named(tree)
    masks = _masks(found)
    images = {name: file for name, file in found.items() if name not in masks}
    splits = _splits(images)
    folders = _folders(images, splits)
    tables = read_tables(tree, images | _above(tree, map(_folder, images)), config.anonymous)
    mode, notes = _mode(config.folders, folders, splits, bool(masks), tables)
    videos = _videos(folders) if mode == "video" else {}
    single = [name for name in images if _folder(name) not in videos]
    clip = _ClipMaker(splits, tables, labelled=mode == "class")
    listed = [clip.of_folder(name, each) for name, each in videos.items()]
    listed += [clip.of_image(name, images[name]) for name in single]
    listing = Listing(
        sorted([*listed, *tables.missing], key=lambda clip: clip.name),
        _layout(len(videos), len(single)),
        tables=tables.paths,
        unread={found[name]: "mask of another image" for name in masks},
        unlisted=sorted(clip.unlisted),
        notes=[*notes, *tables.notes],
    )
    return hide_values(listing) if config.anonymous else listing


def decode(clip: Clip, every: int, channels: int, limits: Limits = LIMITS) -> Iterator[Frame]:
    """Yield every `every`-th image of the clip, grey ones as "L", others as "RGB".

    Raises Broken for a damaged image, and for one of more than 8 bits.
    """
    if not clip.parts:
        for number, page in read_pages(clip.path, every, limits):
            yield Frame(number, page)
    for number in range(0, len(clip.parts), every):
        yield Frame(number, read_page(clip.parts[number], limits))


def _layout(videos: int, single: int) -> str:
    """Return what was found in words, without what was not."""
    parts = [
        f"{videos} subfolder{'s' * (videos > 1)} as video{'s' * (videos > 1)}" * bool(videos),
        f"{single} image{'s, each' * (single > 1)} by itself" * bool(single),
    ]
    return ", ".join(filter(None, parts)) or "no images"


def _named(tree: FileTree) -> dict[str, Path]:
    """Return the images by their names within the root: for each file alone, `name` is slow."""
    above = len(tree.root.parts)
    files = tree.ending(SUFFIXES)
    return {"/".join(file.parts[above:]) or file.name: file for file in files}


def _masks(names: Iterable[str]) -> set[str]:
    """Return the masks of images that are there too: `x_mask.png` and `x_mask_1.png` of `x.png`."""
    stems = {name.rpartition(".")[0] for name in names}
    return {name for name in names if (found := _MASK.fullmatch(name)) and found[1] in stems}


def _splits(names: Iterable[str]) -> Splits:
    folders = {_folder(name) for name in names}
    found = folder_splits(f"{folder}/x" if folder else "x" for folder in folders)
    return {_folder(name): (split, _folder(rest)) for name, (split, rest) in found.items()}


def _folders(images: Mapping[str, Path], splits: Splits) -> dict[str, list[Path]]:
    """Return the images of each folder that holds some, besides the root and a split's folder."""
    folders: defaultdict[str, list[Path]] = defaultdict(list)
    for name, file in images.items():
        folders[_folder(name)].append(file)
    return {
        folder: sorted(files, key=natural)
        for folder, files in folders.items()
        if splits.get(folder, ("", folder))[1]
    }


def _above(tree: FileTree, folders: Iterable[str]) -> dict[str, Path]:
    """Return `folders` and those above them by name, without the root: a row may name each."""
    found: dict[str, Path] = {}
    for name in folders:
        while name and name not in found:
            found[name] = tree.root / name
            name = _folder(name)
    return found


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


# --- what a subfolder is --------------------------------------------------------------------


def _mode(
    option: str,
    folders: Mapping[str, Sequence[Path]],
    splits: Splits,
    masked: bool,
    tables: ImageTables,
) -> tuple[str, list[str]]:
    """Return "video" or "class", and the note that says what was decided."""
    if option != "auto" or not folders:
        return option, []
    why = (
        "masks lie beside images" * masked
        or _listed_one_by_one(folders, tables)
        or "the same names are in several splits" * _recur(splits)
        or "their images differ in size" * _differ(list(folders.values()))
    )
    several = f"{len(folders)} subfolder{'s are' if len(folders) > 1 else ' is'} read as"
    if why:
        return "class", [
            f"{several} classes of single images, as {why}; --folders video reads a subfolder as "
            "the frames of one video"
        ]
    return "video", [f"{several} videos; --folders class reads each image for itself"]


def _listed_one_by_one(folders: Mapping[str, Sequence[Path]], tables: ImageTables) -> str:
    files = (file for each in folders.values() for file in each)
    listed = tables.said and any(file in tables.said for file in files)
    return f"{tables.paths[0].name} lists them one by one" if listed else ""


def _recur(splits: Splits) -> bool:
    """Say whether most folders of images are in several splits, as classes are.

    Numbered videos recur too, but not most of them: the splits differ in size.
    """
    places: defaultdict[str, set[str]] = defaultdict(set)
    for split, rest in splits.values():
        if rest:
            places[rest].add(split)
    return 0 < len(places) <= 2 * sum(len(found) > 1 for found in places.values())


def _differ(folders: Sequence[Sequence[Path]]) -> bool:
    """Say whether images differ in size within most folders, by a few of their headers.

    One folder is not enough: a video with one odd frame must not make classes of all others.
    """
    several = [files for files in folders if len(files) > 1]
    sampled = _spread(several, _SAMPLED_FOLDERS)
    differing = 0
    for files in sampled:
        headers = [read_header(file) for file in _spread(files, _SAMPLED_IMAGES)]
        differing += len({header.size for header in headers if header}) > 1
    return 0 < len(sampled) <= 2 * differing


def _videos(folders: Mapping[str, list[Path]]) -> dict[str, list[Path]]:
    """Return the folders that are a video each; those of files with several pages are not."""
    if not any(_paged(files) for files in _spread(list(folders.values()), _SAMPLED_FOLDERS)):
        return dict(folders)
    return {name: files for name, files in folders.items() if not _paged(files)}


def _paged(files: Sequence[Path]) -> bool:
    first = files[0]
    if first.suffix.lower() not in PAGED:
        return False
    header = read_header(first)
    return header is not None and header.paged


def _spread(items: Sequence[_T], number: int) -> list[_T]:
    """Return up to `number` of `items`, evenly spread, with the first and the last."""
    if len(items) <= number:
        return list(items)
    return [items[round(i * (len(items) - 1) / (number - 1))] for i in range(number)]


# --- what a clip is -------------------------------------------------------------------------


class _ClipMaker:
    """Makes clips with what folders and tables say of them; keeps the names that no table lists."""

    def __init__(self, splits: Splits, tables: ImageTables, labelled: bool) -> None:
        self._splits, self._tables = splits, tables
        self._labelled = labelled  # folders are classes: else their names may be anything
        used = {split for split, _ in splits.values()}
        self._folders = f"the folders {', '.join(split for split in SPLITS if split in used)}"
        self.unlisted: list[str] = []

    def of_folder(self, name: str, files: Sequence[Path]) -> Clip:
        split, _ = self._splits.get(name, (None, name))
        return self._clip(name, files[0].parent, split, {}, tuple(files))

    def of_image(self, name: str, file: Path) -> Clip:
        split, rest = self._splits.get(_folder(name), (None, _folder(name)))
        return self._clip(name, file, split, {"folder": rest} if rest and self._labelled else {})

    def _clip(
        self,
        name: str,
        path: Path,
        split: str | None,
        labels: Mapping[str, str],
        parts: tuple[Path, ...] = (),
    ) -> Clip:
        folders = ((path,) if parts else ()) + tuple(path.parents)
        said = self._tables.say(parts or (path,), folders) if self._tables.paths else Said()
        if said is None:
            self.unlisted.append(name)
            said = Said()
        return Clip(
            name=name,
            path=path,
            split=said.split or split,
            patient=said.patient,
            labels={**labels, **said.labels},
            frames=len(parts) or int(name.lower().endswith(_ONE_PAGE)),
            fault=said.fault,
            parts=parts,
            split_by=said.table if said.split else self._folders if split else "",
            patient_by=said.table if said.patient else "",
        )
