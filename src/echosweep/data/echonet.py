"""The EchoNet data sets: Dynamic (Ouyang et al. 2020), Synthetic, Pediatric and LVH.

Each is a table beside its videos, with the published split and labels; where the table of traced
frames is there, they become the labels ED_frame and ES_frame. Invariant: every video that the table
names is a clip, with a fault if it cannot be used; videos that it does not name are listed and not
read. The frames stay where they are licensed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from echosweep.config import PrepareConfig
from echosweep.data import video
from echosweep.data.echonet_lists import LAYOUTS, Facts, Layout, facts_of
from echosweep.data.echonet_tracings import traced_frames
from echosweep.data.limits import LIMITS, Limits
from echosweep.data.matching import clean_name, without_ending
from echosweep.data.source import Clip, Frame, Listing
from echosweep.data.tables import Named, hide_values, named, read_table
from echosweep.data.tree import FileTree
from echosweep.errors import UsageError

LOOKS_FOR = "an EchoNet folder (FileList.csv and Videos/, or MeasurementsList.csv and videos)"
BEFORE = ("folder",)
"""Kinds that give way to this one where both fit: a table says more than bare videos."""
_VIEWS = ("A4C", "PSAX")
_LIST = LAYOUTS[0].table  # the one that promises numbers of frames
_VIDEOS, _TRACINGS = "videos", "volumetracings.csv"


class _Set(NamedTuple):
    """A folder with a list of videos."""

    folder: Path
    table: Path
    layout: Layout


def count(tree: FileTree) -> int:
    """Return how many lists of an EchoNet data set `tree` has: in its root, else below."""
    return len(_sets(tree))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each video that a list names, in its order.

    Args:
        tree: A data set's folder, a folder around it, or the parent of A4C and PSAX.
        config: `folds` says which folds are train, val and test; `anonymous`: no
            note and no error has a name in it.

    Raises:
        UsageError: There is no list, or there are several; a list has no videos or not its columns.
    """
    sets = _sets(tree)
    _check_sets(tree, sets, config.anonymous)
    views = len(sets) > 1
    listings = [_listing(tree, each, config, views) for each in sets]
    notes = [note for listing in listings for note in listing.notes]
    all_of_them = Listing(
        clips=[clip for listing in listings for clip in listing.clips],
        layout=" and ".join(listing.layout for listing in listings),
        tables=[table for listing in listings for table in listing.tables],
        unlisted=[name for listing in listings for name in listing.unlisted],
        notes=[*dict.fromkeys(notes), *(_shared_names(listings) if views else ())],
    )
    return hide_values(all_of_them) if config.anonymous else all_of_them


def decode(clip: Clip, every: int, channels: int, limits: Limits = LIMITS) -> Iterator[Frame]:
    """Yield every `every`-th frame of the clip's file; see `video.decode`."""
    return video.decode(
        clip.path, every, channels, clip.frames, _LIST if clip.frames else "", limits
    )


def parent_of_videos(root: Path) -> Path | None:
    """Return the folder of a list if `root` is its folder of videos, else None.

    Args:
        root: A folder: "EchoNet-Dynamic/Videos".
    """
    above = root.resolve().parent
    if root.resolve().name.lower() != _VIDEOS or not root.is_dir():
        return None
    tables = {layout.table.lower() for layout in LAYOUTS}
    try:
        listed = any(file.name.lower() in tables and file.is_file() for file in above.iterdir())
    except OSError:
        return None
    return above if listed else None


def _sets(tree: FileTree) -> list[_Set]:
    """Return the list in the root, else the lists below it; one for each folder."""
    layouts = {layout.table.lower(): layout for layout in reversed(LAYOUTS)}
    sets: dict[Path, _Set] = {}
    for name in map(str.lower, (layout.table for layout in LAYOUTS)):
        for file in tree.files:
            if file != tree.root and file.name.lower() == name:
                sets.setdefault(file.parent, _Set(file.parent, file, layouts[name]))
    return [sets[tree.root]] if tree.root in sets else [sets[each] for each in sorted(sets)]


def _check_sets(tree: FileTree, sets: Sequence[_Set], anonymous: bool) -> None:
    """Raise UsageError unless the lists are one, or are those of the views of one data set."""
    root = "the source" if anonymous else str(tree.root)
    if not sets:
        raise UsageError(f"{root} is not {LOOKS_FOR}; give the folder that has both")
    names = [tree.name(each.folder) for each in sets if each.folder != tree.root]
    views = {each.folder.name.upper() for each in sets}
    same = len({each.folder.parent for each in sets}) == 1 and len(views) == len(sets)
    if len(sets) > 1 and not (same and views <= set(_VIEWS)):
        one = "them" if anonymous else ", ".join(str(tree.root / name) for name in names[:4])
        raise UsageError(f"{root} holds {len(sets)} data sets, with a list each: give one of {one}")
    if not names:
        return
    inside = {each.folder.parts for each in sets}
    length = len(sets[0].folder.parts)
    outside = [file for file in tree.ending(video.SUFFIXES) if file.parts[:length] not in inside]
    if outside:
        folders = "folders below" if anonymous else " and ".join(names)
        example = "" if anonymous else f", as {tree.name(outside[0])}"
        give = "the folder of the list" if anonymous else tree.root / names[0]
        raise UsageError(
            f"{root} has a list of videos in {folders}, and {len(outside)} videos outside{example}:"
            f" give {give}, or --kind folder for all videos without the list"
        )


def _listing(tree: FileTree, data: _Set, config: PrepareConfig, view: bool) -> Listing:
    """Return the clips of one list; `view`: the folder's name is a view and begins their names."""
    hidden, layout = config.anonymous, data.layout
    home, below = _videos(tree, data, hidden)
    table = read_table(data.table, layout.required(), layout.optional(), hidden)
    there = _short_names(below, home, data.folder)
    if any("/" in clean_name(row.raw(layout.file)) for row in table.rows):
        length = len(data.folder.parts)
        there |= {"/".join(file.parts[length:]): file for file in below}
    videos, notes = named(table, layout.file, there, home)
    told, more = facts_of(layout, table, videos, config.folds)
    tracings = next((f for f in _inside(tree, data.folder) if f.name.lower() == _TRACINGS), None)
    traced: Mapping[Path, Mapping[str, float | str]] = {}
    tables, used = [data.table], False
    if tracings and layout.one_row:
        traced, unread, used = traced_frames(tracings, there, hidden)
        more += unread
    tables += [tracings] if tracings and used else []
    prefix = f"{data.folder.name}/" if view else ""
    own: dict[str, float | str] = {"view": data.folder.name.upper()} if view else {}
    listed = {clip.path for clip, _ in told}
    return Listing(
        clips=[
            _clip(clip, facts, prefix + name, table.path, {**own, **traced.get(clip.path, {})})
            for (clip, facts), name in zip(told, _clip_names(told), strict=True)
        ],
        layout=_layout(tree, data, layout.data_set(table), hidden),
        tables=tables,
        unlisted=[tree.name(file) for file in below if file not in listed],
        notes=[*table.notes, *notes, *more],
    )


def _clip(
    video: Named, facts: Facts, name: str, table: Path, more: Mapping[str, float | str]
) -> Clip:
    return Clip(
        name=name,
        path=video.path,
        split=facts.split,
        split_by=table.name if facts.split else "",
        labels={**facts.labels, **more},
        frames=facts.frames,
        fault=video.fault,
    )


def _layout(tree: FileTree, data: _Set, data_set: str, anonymous: bool) -> str:
    """Return what was found in words: "EchoNet-Dynamic: FileList.csv in in/EchoNet-Dynamic"."""
    where = ""
    if data.folder != tree.root:
        folder = f"{tree.root.name}/{tree.name(data.folder)}"
        where = " in a folder below" if anonymous else f" in {folder}"
    return f"{data_set}: {data.table.name}{where}"


def _inside(tree: FileTree, folder: Path) -> Iterator[Path]:
    """Yield the files directly in a folder."""
    return (file for file in tree.files if file.parent == folder)


def _videos(tree: FileTree, data: _Set, anonymous: bool) -> tuple[Path, list[Path]]:
    """Return the folder of the videos, and the videos: Videos/, else the only subfolder, or all."""
    length = len(data.folder.parts)
    below = [f for f in tree.ending(video.SUFFIXES) if f.parts[:length] == data.folder.parts]
    if not below:
        for entry in data.folder.iterdir():
            if entry.name.lower() == _VIDEOS and entry.is_dir():
                return entry, []
        folder = "the folder of the list" if anonymous else data.folder
        raise UsageError(f"{folder} is not {LOOKS_FOR}; give the folder that has both")
    usual = [file for file in below if file.parts[length].lower() == _VIDEOS]
    usual = [file for file in usual if len(file.parts) > length + 1] or below
    folders = {file.parts[length] for file in usual if len(file.parts) > length + 1}
    alone = len(folders) == 1 and all(len(file.parts) > length + 1 for file in usual)
    return (data.folder / folders.pop() if alone else data.folder), usual


def _short_names(files: Sequence[Path], home: Path, folder: Path) -> dict[str, Path]:
    """Return the files by name; by their path below `home` where several have one name."""
    names, length = Counter(file.name for file in files), len(home.parts)
    return {
        file.name if names[file.name] == 1 else "/".join(file.parts[length:]): file
        for file in files
    }


def _clip_names(told: Sequence[tuple[Named, Facts]]) -> list[str]:
    """Return the names of videos without their endings, where that leaves them different."""
    full = [video.name for video, _ in told]
    short = Counter(map(without_ending, full))
    return [stem if short[stem := without_ending(name)] == 1 else name for name in full]


def _shared_names(listings: Sequence[Listing]) -> list[str]:
    """Return a note on names that both views have: one patient or two, nobody says."""
    splits: dict[str, list[str | None]] = {}
    for listing in listings:
        for clip in listing.clips:
            splits.setdefault(clip.name.partition("/")[2], []).append(clip.split)
    shared = [each for each in splits.values() if len(each) > 1]
    apart = sum(len(set(each)) > 1 for each in shared)
    if not shared:
        return []
    return [
        f"{len(shared)} names are in both views ({apart} of them in two splits): the table does "
        "not say whether that is one patient; --patient-regex '/(.+)' makes it one"
    ]
