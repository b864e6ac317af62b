"""Images of a partial store that are written in any order, by several processes.

Beside the content lies `checks.u32`, a checksum an image, 0 where there is none yet. Invariant: an
image counts only if its checksum agrees, so that what a stop or a disk did to it is made again.
"""

import errno
import io
import math
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from echosweep import folders, runs
from echosweep.data.store import FrameStore
from echosweep.errors import UsageError

_READ = 4096  # rows read at a time


class ImageRows:
    """The images of the partial store of `out`, memory-mapped: uint8, `shape` is (N, H, W[, 3]).

    The files must be there, see `allocate`.
    """

    def __init__(self, out: Path, shape: tuple[int, ...]) -> None:
        images, checks = _paths(out)
        offset = len(_header(shape))
        task = folders.read_task(folders.partial_path(out))
        self._task = runs.checksum(runs.canonical_json(task).encode(errors="surrogatepass"))
        with folders.open_plain(images, "r+b") as one, folders.open_plain(checks, "r+b") as two:
            self.images = np.memmap(one, np.uint8, "r+", offset=offset, shape=shape)
            self._checks = np.memmap(two, np.dtype("<u4"), "r+", shape=shape[:1])

    def put(self, rows: NDArray[np.int64], images: NDArray[np.uint8]) -> None:
        """Write images to rows, then the checksums that vouch for them."""
        self.images[rows] = images
        self._checks[rows] = self._checksums(rows, images)

    def missing(self) -> NDArray[np.int64]:
        """Return the rows that are not there, ascending."""
        return np.flatnonzero(self._checks[:] == 0)

    def forget_damaged(self) -> None:
        """Count as missing what does not agree with its checksum."""
        for start in range(0, len(self.images), _READ):
            part = slice(start, start + _READ)
            there = start + np.flatnonzero(self._checks[part])
            wrong = self._checks[there] != self._checksums(there, self.images[there])
            self._checks[there[wrong]] = 0

    def _checksums(self, rows: NDArray[np.int64], images: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Return the checksum of each image, its row and its task: others' do not agree."""
        before = (runs.checksum(int(row).to_bytes(8, "little"), self._task) for row in rows)
        pairs = zip(images, before, strict=True)
        checks = [runs.checksum(np.ascontiguousarray(image).data, row) for image, row in pairs]
        return np.array(checks, np.uint32)

    def take_over(self, seeds: range, known: FrameStore) -> None:
        """Copy the images of seeds that another store has."""
        for row, seed in enumerate(known.index["frame"].tolist()):
            if seed in seeds:
                self.put(np.array([seeds.index(seed)]), known.images[row : row + 1])


def allocate(out: Path, shape: tuple[int, ...]) -> None:
    """Make room for all images and their checksums; what is there stays.

    Raises UsageError where there is no room.
    """
    images, checks = _paths(out)
    header = _header(shape)
    try:
        there = images.stat().st_size if images.exists() else 0
        if math.prod(shape) - there > shutil.disk_usage(images.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for path, size in ((images, len(header) + math.prod(shape)), (checks, 4 * shape[0])):
            with folders.open_plain(path, "r+b", os.O_CREAT) as file:
                file.truncate(size)
                if hasattr(os, "posix_fallocate"):
                    # A write into a hole on a full disk kills the process.
                    os.posix_fallocate(file.fileno(), 0, size)
                if path == images:
                    file.write(header)
    except OSError as error:
        raise UsageError(
            f"there is no room for {math.prod(shape) / 1e6:,.0f} MB in {images.parent} "
            f"({error.strerror}); free some space, choose another --out, or make fewer images"
        ) from error


def _paths(out: Path) -> tuple[Path, Path]:
    return folders.content_path(out) / "images.npy", folders.partial_path(out) / "checks.u32"


def _header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    npy.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)}
    )
    return file.getvalue()
