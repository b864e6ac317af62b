"""Weight files, read without running anything in them.

A state dict goes through torch's weights-only loader, safetensors hold no code, and a TorchScript
archive is read as data: its object graph is rebuilt from inert stand-ins and its code never looked
at. Invariant: no byte of a file decides what is called here.
"""

import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from echosweep import bounded
from echosweep.errors import EchoSweepError

_MAX_BYTES = 1 << 30
_STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "BoolStorage": "|b1",
}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file by dotted name; told apart by content, not by suffix.

    Reads safetensors, a PyTorch state dict (zip or legacy) and a TorchScript archive. Raises
    EchoSweepError for anything else: damaged files, and pickles that would call something.
    """
    try:
        return _reader(path)(path)
    except Exception as error:  # a hostile file can make a parser fail in any way
        raise EchoSweepError(
            f"{path} is no weights file that can be read safely ({_first_line(error)}); download "
            "it again from its source"
        ) from error


def _reader(path: Path) -> Callable[[Path], dict[str, Tensor]]:
    with bounded.open_file(path) as file:
        head = file.read(9)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return _read_torchscript if _ends(names, "constants.pkl") else _read_state_dict
    return safetensors.torch.load_file if head[8:] == b"{" else _read_state_dict


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings(action="ignore"):
            value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own words advise to load it with less care
        raise ValueError("it holds more than tensors, or is cut") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not a state dict")
    return {str(name): item for name, item in value.items() if isinstance(item, Tensor)}


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MAX_BYTES:
            raise ValueError("it unpacks to more than 1 GiB")
        name = _ends(archive.namelist(), "data.pkl")[0]
        with archive.open(name) as file:
            root = _InertUnpickler(file, archive, name.removesuffix("data.pkl")).load()
    return dict(_tensors(root, ""))


def _ends(names: list[str], last: str) -> list[str]:
    return [name for name in names if name.count("/") <= 1 and name.split("/")[-1] == last]


class _Inert:
    """Stands for every class of a TorchScript archive: holds fields, does nothing."""

    def __setstate__(self, state: object) -> None:
        self.fields = state if isinstance(state, dict) else {}


class _InertUnpickler(pickle.Unpickler):
    """Rebuilds tensors and plain values; any other name in the pickle ends the reading."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, prefix: str) -> None:
        super().__init__(file)
        self._archive, self._prefix = archive, prefix

    def find_class(self, module: str, name: str) -> Any:
        """Return an inert stand-in for one of the few names that such an archive needs."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Inert
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":
            return _first
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the flat tensor that a storage's bytes in the archive are."""
        _, dtype, key, _, _ = pid
        values = np.frombuffer(self._archive.read(f"{self._prefix}data/{key}"), dtype)
        return torch.from_numpy(values.copy())


def _rebuild(storage: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _first(value: object = None, *_: object) -> object:
    return value


def _tensors(value: object, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield (dotted name, tensor) of an object tree; its depth is bound by Python's recursion."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, _Inert):
        for key, item in getattr(value, "fields", {}).items():
            yield from _tensors(item, f"{name}.{key}" if name else str(key))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
