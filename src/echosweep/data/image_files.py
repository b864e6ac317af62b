"""Image files: their pages, in 8 bits, by the decoder that belongs to the name and no other.

A name promises a format. Pillow would choose a decoder by the content, and hands PostScript to
Ghostscript, a program that reads and writes files: so the class of the promised format opens the
file, and no other is asked. A page of a TIFF, and a frame of an animated PNG or WebP, is a frame.
Invariant: what a header promises is checked before pixels are decoded; and whatever a file holds,
what is raised names the file and nothing of the folders above it.
"""

import contextlib
import functools
import importlib
import os
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageFile

from echosweep.data.limits import LIMITS, Limits
from echosweep.data.source import Broken, Guard

_FORMATS = {
    **{".png": "Png", ".apng": "Png", ".jpg": "Jpeg", ".jpeg": "Jpeg", ".bmp": "Bmp"},
    **{".tif": "Tiff", ".tiff": "Tiff", ".webp": "WebP"},
}
"""What Pillow calls the module and the class that decode a format."""
_STARTS = {
    **{"Png": (b"\x89PNG\r\n\x1a\n",), "Jpeg": (b"\xff\xd8\xff",), "Bmp": (b"BM",)},
    **{"Tiff": (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"), "WebP": (b"RIFF",)},
}
"""What a file of a format begins with."""
SUFFIXES = tuple(_FORMATS)
PAGED = (".png", ".apng", ".tif", ".tiff", ".webp")
"""Files that may hold several images."""
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class Header(NamedTuple):
    """What a file says before its pixels: (width, height), and whether it has several pages."""

    size: tuple[int, int]
    paged: bool


def read_header(path: Path) -> Header | None:
    """Return what an image says before its pixels; None if it is damaged.

    Args:
        path: It ends in one of SUFFIXES.
    """
    with Guard(), _opened(path) as image:
        # Pages are not counted here: those of a TIFF are a chain as long as its writer likes.
        return Header(image.size, _may_be_paged(path) and getattr(image, "is_animated", False))
    return None  # decoding says what is wrong with it


def read_page(path: Path, limits: Limits = LIMITS) -> Image.Image:
    """Return the only page of an image: grey ones as "L", others as "RGB".

    Args:
        path: It ends in one of SUFFIXES.
        limits: How large it may be.

    Raises:
        Broken: The file is damaged, is too large, has more than 8 bits, or has several pages.
    """
    pages = read_pages(path, 1, limits)
    first = next(pages)[1]
    if next(pages, None) is not None:
        raise Broken(f"{path.name} has several pages, and lies among images of one page")
    return first


def read_pages(
    path: Path, every: int, limits: Limits = LIMITS
) -> Iterator[tuple[int, Image.Image]]:
    """Yield pages 0, every, 2 every, ... of an image with their numbers.

    Args:
        path: It ends in one of SUFFIXES.
        every: One page in so many is read.
        limits: How large it may be, and how many pages it may have.

    Raises:
        Broken: The file is damaged, is too large, or has more than 8 bits.
    """
    try:
        with _opened(path, limits) as image:
            for number in range(0, _pages(image, path, limits), every):
                if number:
                    image.seek(number)
                    limits.check_size(*image.size)
                yield number, _eight_bit(image, path)
    except Broken:
        raise
    except Exception as error:  # Pillow raises anything on garbage
        raise Broken(_reason(error, path)) from None


def natural(path: Path) -> list[int | str]:
    """Return a key by which 2.png comes before 10.png; paths of one folder are compared.

    Args:
        path: A file.
    """
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


@contextlib.contextmanager
def _opened(path: Path, limits: Limits = LIMITS) -> Iterator[ImageFile.ImageFile]:
    """Open an image by the decoder of its name; raise Broken if it is none, or is too large."""
    _ignore_warnings()
    name = _FORMATS[path.suffix.lower()]
    with path.open("rb") as file:
        head = file.read(30)
        file.seek(0)
        if not head.startswith(_STARTS[name]):
            raise Broken(f"{path.name} is no {name.upper()} image{_real_format(head)}")
        if name == "WebP":  # Pillow reads all of it, and takes memory for its pixels, at once
            limits.check_bytes(path.stat().st_size)
            limits.check_size(*_webp_size(head))
        decoder = getattr(importlib.import_module(f"PIL.{name}ImagePlugin"), f"{name}ImageFile")
        with decoder(file) as image:
            limits.check_size(*image.size)
            yield image


def _webp_size(head: bytes) -> tuple[int, int]:
    """Return the width and height that the first bytes of a WebP give."""
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return width, height


def _real_format(head: bytes) -> str:
    """Return what a file is, in words, by its first bytes; "" if that is no format of these."""
    found = next((name for name, starts in _STARTS.items() if head.startswith(starts)), "")
    if not found:
        return ""
    suffix = next(suffix for suffix, name in _FORMATS.items() if name == found)
    return f" but {found.upper()}: rename it to end in {suffix}"


@functools.cache
def _ignore_warnings() -> None:
    warnings.filterwarnings("ignore", module="PIL")  # damage is noted once, as an exclusion


def _may_be_paged(path: Path) -> bool:
    return path.suffix.lower() in PAGED  # a JPEG's further images are previews of the first


def _pages(image: ImageFile.ImageFile, path: Path, limits: Limits) -> int:
    """Return how many pages an image has; raise Broken if they are too many."""
    if not _may_be_paged(path):
        return 1
    if _FORMATS[path.suffix.lower()] == "Tiff":
        return _tiff_pages(path, limits)
    pages = int(getattr(image, "n_frames", 1))
    limits.check_frames(pages)
    return pages


def _tiff_pages(path: Path, limits: Limits) -> int:
    """Follow the chain of pages: Pillow reads all tags, and compares each page with all before."""
    seen: set[int] = set()
    with path.open("rb") as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(4)
        order = "<" if head[:1] == b"I" else ">"
        big = b"+" in head
        count, tag, offset = ("Q", 20, "Q") if big else ("H", 12, "L")
        start = 8 if big else 4
        while page := _number(file, start, order + offset):
            if page in seen:
                break
            seen.add(page)
            limits.check_frames(len(seen))
            tags = _number(file, page, order + count)
            start = file.tell() + (tags or 0) * tag
            if tags is None or start > size:
                raise Broken(f"{path.name} is truncated: page {len(seen) - 1} is beyond its end")
    return len(seen)


def _number(file: BinaryIO, start: int, form: str) -> int | None:
    """Return the number that stands at `start`; None if the file ends before."""
    file.seek(start)
    found = file.read(struct.calcsize(form))
    return int(struct.unpack(form, found)[0]) if len(found) == struct.calcsize(form) else None


def _eight_bit(image: Image.Image, path: Path) -> Image.Image:
    if image.mode not in _EIGHT_BIT:
        raise Broken(
            f"{path.name} has pixels of mode {image.mode}; 8-bit images are needed: save "
            "np.rint(pixels * (255 / pixels.max())).astype(np.uint8)"
        )
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def _reason(error: Exception, path: Path) -> str:
    text = getattr(error, "strerror", None) or str(error).split("\n")[0][:200]
    return f"{path.name} cannot be decoded: {type(error).__name__}: {text}"
