"""Weights on disk: safetensors for numbers, JSON for everything else, never a pickle.

Each NAME.safetensors has a NAME.json beside it with the SHA-256 of the first; the JSON is written
last, so a pair is complete if its JSON exists. A flipped bit is found before a weight is used.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from echosweep import runs
from echosweep.errors import EchoSweepError, UsageError
from echosweep.training.tensor_file import parts


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write `tensors` to path.safetensors and `facts` with its SHA-256 to path.json, atomically."""
    digest = hashlib.sha256()

    def write(file: BinaryIO) -> None:
        for part in parts(tensors):
            file.write(part)
            digest.update(part)
        file.flush()
        os.fsync(file.fileno())
        _facts(path).unlink(missing_ok=True)  # the old ones, once the new weights are whole

    runs.atomic_write(_weights(path), write)
    runs.write_record(_facts(path), {**facts, "sha256": digest.hexdigest()})


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the file that `save` writes of `tensors`."""
    found = hashlib.sha256()
    for part in parts(tensors):
        found.update(part)
    return found.hexdigest()


def features_of(path: Path, name: str) -> Path:
    """Return the checkpoint of what a discriminator did not train, as the one at `path` names it.

    Raises EchoSweepError for a name that leads elsewhere than beside the discriminator.
    """
    if name not in ("features", "../features"):
        raise EchoSweepError(f"{path} names {name!r} as its features; write it anew")
    return (path.parent / name).resolve()


def read_facts(path: Path, fix: str = "copy the run again") -> dict[str, Any]:
    """Return what path.json says; raise UsageError if there is none, EchoSweepError if broken."""
    try:
        facts = runs.read_record(_facts(path), fix)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"there is no {_facts(path)}: give the folder of a run made by `echosweep train`"
        ) from None
    if "sha256" not in facts:
        raise EchoSweepError(f"{_facts(path)} is damaged (no sha256); {fix}")
    return facts


def load(path: Path, fix: str = "copy the run again") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and facts of `path`, checked against the SHA-256; `fix` ends the error."""
    facts, weights = read_facts(path, fix), _weights(path)
    if not weights.is_file():
        raise EchoSweepError(f"{weights} is missing; {fix}")
    _refuse_pickle(weights)
    if runs.sha256_file(weights) != facts["sha256"]:
        raise EchoSweepError(
            f"{weights} does not match its SHA-256 in {_facts(path).name}: it was changed or "
            f"damaged; {fix}"
        )
    try:
        return load_file(weights), facts
    except SafetensorError as error:
        raise EchoSweepError(f"{weights} is not a safetensors file ({error}); {fix}") from None


def amend(path: Path, **facts: Any) -> None:
    """Write further `facts` of weights that are there; what they are does not change."""
    runs.write_record(_facts(path), {**read_facts(path), **facts})


def remove(path: Path) -> None:
    """Remove the pair at `path`, the JSON first."""
    _facts(path).unlink(missing_ok=True)
    _weights(path).unlink(missing_ok=True)


def _refuse_pickle(path: Path) -> None:
    """Say so when a file is a pickle or a zip in disguise: such files can run code when loaded."""
    with path.open("rb") as file:
        start = file.read(10)
    # A safetensors file opens with a small little-endian length, then a JSON object.
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[8:9] != b"{"):
        raise EchoSweepError(
            f"{path} is a pickle or zip archive, not safetensors; such files can run code and are "
            "never loaded. Get the weights as safetensors from who made them"
        )


def _weights(path: Path) -> Path:
    return path.with_name(path.name + ".safetensors")


def _facts(path: Path) -> Path:
    return path.with_name(path.name + ".json")
