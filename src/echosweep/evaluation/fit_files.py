"""Finished fits of networks as files, each of which knows what it is of.

Invariant: what is read back was written under this very name; anything else is not there.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from echosweep import bounded, runs
from echosweep.data.source import Guard

_MOST_BYTES = 1 << 28


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the arrays that were written as NAME.npz; None for no file, or a damaged one."""
    path = folder / f"{name}.npz"
    with Guard(), np.load(io.BytesIO(bounded.read_bytes(path, _MOST_BYTES))) as file:
        if sum(each.file_size for each in file.zip.infolist()) <= _MOST_BYTES:
            arrays = {key: file[key] for key in file.files}
            return arrays if str(arrays.pop("name", "")) == name else None
    return None


def write(folder: Path, name: str, arrays: Mapping[str, Any]) -> None:
    """Write arrays as NAME.npz, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, name=np.array(name))
    runs.atomic_write(folder / f"{name}.npz", lambda file: file.write(buffer.getvalue()))
