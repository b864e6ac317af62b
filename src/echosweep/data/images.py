"""A folder of still images: each subfolder is a video, each loose image a video of its own.

Within a subfolder the frames are its images in natural order (2.png before 10.png), so that
`every` means the same as in a video. Invariant: an image is never split from its subfolder.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from echosweep.config import PrepareConfig
from echosweep.data.source import Broken, Clip, Frame, Listing
from echosweep.data.tree import FileTree

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LOOKS_FOR = "images (" + " ".join(suffix[1:] for suffix in SUFFIXES) + ")"
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


def count(tree: FileTree) -> int:
    """Return the number of images in `tree`."""
    return len(tree.ending(SUFFIXES))


def clips(tree: FileTree, config: PrepareConfig) -> Listing:
    """Return a clip for each immediate subfolder with images, and for each loose image."""
    videos: defaultdict[str, list[Path]] = defaultdict(list)
    for file in tree.ending(SUFFIXES):
        videos[tree.name(file).split("/")[0]].append(file)
    listed = [
        Clip(name, images[0], frames=len(images), parts=tuple(sorted(images, key=_natural)))
        for name, images in sorted(videos.items())
    ]
    return Listing(listed, "images")


def decode(clip: Clip, every: int, channels: int) -> Iterator[Frame]:
    """Yield every `every`-th image of the clip, grey ones as "L", others as "RGB".

    Raises Broken for images of more than 8 bits, a Pillow error for damaged ones.
    """
    images = clip.parts
    for number in range(0, len(images), every):
        yield Frame(number, _read(images[number]))


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        if image.mode not in _EIGHT_BIT:
            raise Broken(f"{path.name} has pixels of mode {image.mode}; 8-bit images are needed")
        grey = image.mode in ("1", "L", "LA")
        return image.convert("L" if grey else "RGB")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a sort key in which numbers count as numbers."""
    return [(int(part or 0), "") if part.isdecimal() else (0, part) for part in _parts(path)]


def _parts(path: Path) -> list[str]:
    return re.split(r"(\d+)", path.as_posix())
