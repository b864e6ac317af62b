"""Contact sheets of what will be prepared: one for each scanner model and screen layout.

Each picture is the first frame of a clip as the file has it, with the part that is kept outlined
and the rest darkened: what is burnt in, and whether the crop is right, is seen in a minute.
Invariant: the sheets can show names, so only their owner can read them; clips are decoded in other
processes, as by `prepare`, and one that ends or holds its process has no picture.
"""

import contextlib
import re
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from echosweep import machine, runs
from echosweep.data.clip_frames import Decoded, DecodeTask
from echosweep.data.decoding import decoded
from echosweep.data.limits import Limits
from echosweep.data.pixels import crop_box
from echosweep.data.plan import PreparePlan
from echosweep.data.source import Clip
from echosweep.data.tree import OWN
from echosweep.errors import UsageError

_ACROSS, _DOWN = 4, 3
_TILE = 320  # pixels a side
_TITLE = 18  # pixels, above the pictures
_OUTLINE = (0, 220, 120)
_WORD = re.compile(r"[^A-Za-z0-9]+")
Box = tuple[int, int, int, int]


def write_preview(plan: PreparePlan, folder: Path, workers: int | None = None) -> list[Path]:
    """Write a sheet for each group of clips that look alike and return the files.

    Args:
        plan: What will be prepared.
        folder: Where the sheets go.
        workers: Decoder processes; None: one a core.

    Raises:
        UsageError: The folder cannot be written.
    """
    groups: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in plan.clips:
        if not clip.fault:
            groups[clip.look].append(clip)
    sheets = [
        _Sheet(folder / f"{number:02}-{_file_word(look)}.png", look or plan.found.kind, clips)
        for number, (look, clips) in enumerate(sorted(groups.items()), 1)
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / OWN).touch()  # a later call must not take the sheets for images
        for sheet in sheets:
            runs.check_writable(sheet.path, runs.PNG)
        clips = [clip for sheet in sheets for clip in sheet.chosen]
        with contextlib.closing(_first_frames(plan, clips, workers)) as frames:
            for sheet in sheets:
                _write(plan, sheet, frames)
    except OSError as error:
        raise UsageError(f"preview {folder} cannot be written: {error.strerror}") from None
    return [sheet.path for sheet in sheets]


class _Sheet(NamedTuple):
    """A file to write, its title, and the clips that look alike."""

    path: Path
    title: str
    clips: Sequence[Clip]

    @property
    def chosen(self) -> Sequence[Clip]:
        """Return the clips that are shown, spread over all."""
        return self.clips[:: max(1, len(self.clips) // (_ACROSS * _DOWN))][: _ACROSS * _DOWN]


def _first_frames(
    plan: PreparePlan, clips: Sequence[Clip], workers: int | None
) -> Generator[Decoded, None, None]:
    """Return the first frame of each clip, as its file has it."""
    task = DecodeTask(plan.found.kind, 1, None, Limits.of(plan.config))
    workers = min(workers or machine.cores(), max(1, len(clips)))
    return decoded(task, [replace(clip, crop=None) for clip in clips], workers)


def _write(plan: PreparePlan, sheet: _Sheet, frames: Iterator[Decoded]) -> None:
    """Write a sheet of as many of `frames` as it has pictures."""
    chosen = sheet.chosen
    down = -(-len(chosen) // _ACROSS)
    across = min(_ACROSS, len(chosen))
    image = Image.new("RGB", (across * _TILE, down * _TILE + _TITLE), (32, 32, 32))
    title = f"{sheet.title}: {len(chosen)} of {len(sheet.clips)} videos"
    ImageDraw.Draw(image).text((4, 3), title, fill=(255, 255, 255))
    for number, (clip, frame) in enumerate(zip(chosen, frames, strict=False)):
        corner = number % _ACROSS * _TILE, number // _ACROSS * _TILE + _TITLE
        if not frame.fault:  # a broken clip is excluded, and named, later
            image.paste(_tile(plan, clip, Image.fromarray(frame.images[0])), corner)
    runs.atomic_write(sheet.path, lambda file: image.save(file, "PNG"))
    sheet.path.chmod(0o600)


def _tile(plan: PreparePlan, clip: Clip, image: Image.Image) -> Image.Image:
    """Return the frame of `clip` with what is kept outlined, at most _TILE pixels a side."""
    box = clip.crop or (0, 0, *image.size)
    if plan.config.fit == "crop":
        box = _inner(box, plan.config.size)
    dark = image.point(lambda level: level // 3)
    dark.paste(image.crop(box), box[:2])
    ImageDraw.Draw(dark).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=_OUTLINE)
    scale = (_TILE - 4) / max(dark.size)
    return dark.resize([max(1, round(side * scale)) for side in dark.size])


def _inner(box: Box, size: tuple[int, int]) -> Box:
    """Return the part of `box` that the centred crop keeps."""
    left, top, right, bottom = crop_box((box[2] - box[0], box[3] - box[1]), (size[1], size[0]))
    return box[0] + left, box[1] + top, box[0] + right, box[1] + bottom


def _file_word(look: str) -> str:
    return _WORD.sub("-", look).strip("-").lower()[:60] or "all"
