"""Image files: their pages, in 8 bits, by the decoder that belongs to the name and no other.

A page of a TIFF, and a frame of an animated PNG or WebP, is a frame. Invariant: whatever a file
holds, what is raised names the file and nothing of the folders above it.
"""

import functools
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from echosweep.data.source import Broken

_FORMATS = {
    **{".png": "PNG", ".apng": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"},
    **{".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"},
}
SUFFIXES = tuple(_FORMATS)
PAGED = (".png", ".apng", ".tif", ".tiff", ".webp")
"""Files that may hold several images."""
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class Header(NamedTuple):
    """What a file says before its pixels: (width, height), and how many pages it has."""

    size: tuple[int, int]
    pages: int


def read_header(path: Path) -> Header | None:
    """Return what an image says before its pixels; None if it is damaged.

    Args:
        path: It ends in one of SUFFIXES.
    """
    try:
        with _opened(path) as image:
            return Header(image.size, _pages(image, path))
    except Exception:  # Pillow raises anything on garbage; decoding says what it was
        return None


def read_page(path: Path) -> Image.Image:
    """Return the only page of an image: grey ones as "L", others as "RGB".

    Args:
        path: It ends in one of SUFFIXES.

    Raises:
        Broken: The file is damaged, has more than 8 bits, or has several pages.
    """
    pages = read_pages(path, 1)
    first = next(pages)[1]
    if next(pages, None) is not None:
        raise Broken(f"{path.name} has several pages, and lies among images of one page")
    return first


def read_pages(path: Path, every: int) -> Iterator[tuple[int, Image.Image]]:
    """Yield pages 0, every, 2 every, ... of an image with their numbers.

    Args:
        path: It ends in one of SUFFIXES.
        every: One page in so many is read.

    Raises:
        Broken: The file is damaged, or has more than 8 bits.
    """
    try:
        with _opened(path) as image:
            for number in range(0, _pages(image, path), every):
                if number:
                    image.seek(number)
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


def _opened(path: Path) -> Image.Image:
    _ignore_warnings()
    return Image.open(path, formats=[_FORMATS[path.suffix.lower()]])


@functools.cache
def _ignore_warnings() -> None:
    warnings.filterwarnings("ignore", module="PIL")  # damage is noted once, as an exclusion


def _pages(image: Image.Image, path: Path) -> int:
    # A JPEG's further images are previews of the first.
    return int(getattr(image, "n_frames", 1)) if path.suffix.lower() in PAGED else 1


def _eight_bit(image: Image.Image, path: Path) -> Image.Image:
    if image.mode not in _EIGHT_BIT:
        raise Broken(
            f"{path.name} has pixels of mode {image.mode}; 8-bit images are needed: save "
            "np.rint(pixels * (255 / pixels.max())).astype(np.uint8)"
        )
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"{path.name} is no {_FORMATS[path.suffix.lower()]} image{_real_format(path)}"
    text = getattr(error, "strerror", None) or str(error).split("\n")[0][:200]
    return f"{path.name} cannot be decoded: {type(error).__name__}: {text}"


def _real_format(path: Path) -> str:
    try:
        with Image.open(path, formats=sorted(set(_FORMATS.values()))) as image:
            found = image.format
    except Exception:  # then it is none of these
        return ""
    endings = [suffix for suffix, name in _FORMATS.items() if name == found]
    return f" but {found}: rename it to end in {endings[0]}" if endings else ""
