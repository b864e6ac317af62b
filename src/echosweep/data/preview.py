"""Contact sheets of what will be prepared: one for each scanner model and screen layout.

Each picture is the first frame of a clip as the file has it, with the part that is kept outlined
and the rest darkened: what is burnt in, and whether the crop is right, is seen in a minute.
Invariant: the sheets can show names, so only their owner can read them.
"""

import contextlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw

from echosweep import runs
from echosweep.data import SOURCES
from echosweep.data.limits import Limits
from echosweep.data.pixels import crop_box
from echosweep.data.plan import Plan
from echosweep.data.source import Clip
from echosweep.data.tree import OWN
from echosweep.errors import UsageError

_ACROSS, _DOWN = 4, 3
_TILE = 320  # pixels a side
_TITLE = 18  # pixels, above the pictures
_OUTLINE = (0, 220, 120)
_WORD = re.compile(r"[^A-Za-z0-9]+")
Box = tuple[int, int, int, int]


def write_preview(plan: Plan, folder: Path) -> list[Path]:
    """Write a sheet for each group of clips that look alike and return the files.

    Args:
        plan: What will be prepared.
        folder: Where the sheets go.

    Raises:
        UsageError: The folder cannot be written.
    """
    groups: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in plan.clips:
        if not clip.fault:
            groups[clip.look].append(clip)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / OWN).touch()  # a later call must not take the sheets for images
        return [
            _write(plan, look, clips, folder / f"{number:02}-{_file_word(look)}.png")
            for number, (look, clips) in enumerate(sorted(groups.items()), 1)
        ]
    except OSError as error:
        raise UsageError(f"preview {folder} cannot be written: {error.strerror}") from None


def _write(plan: Plan, look: str, clips: Sequence[Clip], path: Path) -> Path:
    runs.check_writable(path, runs.PNG)
    chosen = clips[:: max(1, len(clips) // (_ACROSS * _DOWN))][: _ACROSS * _DOWN]
    down = -(-len(chosen) // _ACROSS)
    across = min(_ACROSS, len(chosen))
    sheet = Image.new("RGB", (across * _TILE, down * _TILE + _TITLE), (32, 32, 32))
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (4, 3),
        f"{look or plan.found.kind}: {len(chosen)} of {len(clips)} videos",
        fill=(255, 255, 255),
    )
    for number, clip in enumerate(chosen):
        corner = number % _ACROSS * _TILE, number // _ACROSS * _TILE + _TITLE
        with contextlib.suppress(Exception):  # a broken clip is excluded, and named, later
            sheet.paste(_tile(plan, clip), corner)
    runs.atomic_write(path, lambda file: sheet.save(file, "PNG"))
    path.chmod(0o600)
    return path


def _tile(plan: Plan, clip: Clip) -> Image.Image:
    """Return the first frame of `clip` with what is kept outlined, at most _TILE pixels a side."""
    source = SOURCES[plan.found.kind]
    frame = next(iter(source.decode(replace(clip, crop=None), 1, 3, Limits.of(plan.config))))
    image = frame.image.convert("RGB")
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
