"""The folder of a training run: who may write to it, what is computed there, where it had got.

Invariant: a folder belongs to one identity (its config, its data); another one is refused with what
differs.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from echosweep import locks, runs
from echosweep.config import Config, changes
from echosweep.distributed import World, barrier
from echosweep.errors import UsageError
from echosweep.training import checkpoint

# What an identity may name besides its config, and what is said where it differs.
_SAID = {
    "data": "was trained on other images, or other splits of them",
    "generated": "was trained on other generated images",
    "model": "was trained for another model",
    "classifier": "was trained on features of another classifier",
}


@contextlib.contextmanager
def claimed(out: Path, peers: World) -> Iterator[None]:
    """Hold the folder for the processes of this run."""
    with locks.locked(out) if peers.rank == 0 else contextlib.nullcontext():
        barrier(peers)
        yield


def take(out: Path, identity: dict[str, Any], config: Config) -> None:
    """Write run.json, config.yaml and env.json, if the folder is new or of this identity."""
    record = out / "run.json"
    if record.exists():
        found = runs.read_record(record, f"choose another --out than {out}")
        _check_same_run(out, found, identity)
    elif any(path.name != ".lock" for path in out.iterdir()):
        raise UsageError(f"{out} is not empty and not a run; choose another --out")
    runs.write_json(record, identity)
    config.write(out / "config.yaml")
    runs.write_json(out / "env.json", runs.environment())


def states(out: Path) -> list[Path]:
    """Return the resumable checkpoints, oldest first."""
    return sorted(path.with_suffix("") for path in (out / "state").glob("*.json"))


def save_state(
    out: Path, number: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], keep: int
) -> None:
    """Write a resumable checkpoint; leave the newest `keep` of them."""
    checkpoint.save(out / "state" / f"{number:012d}", tensors, facts)
    for old in states(out)[:-keep]:
        checkpoint.remove(old)


def _check_same_run(out: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise UsageError that names what differs, unless both identities say the same.

    A setting that is newer than the run counts as None there, the default of such settings.
    """
    if found.keys() != wanted.keys():
        raise UsageError(f"{out} is a run of another command; choose another --out")
    for name, said in _SAID.items():
        if found.get(name) != wanted.get(name):
            raise UsageError(f"{out} {said}; choose another --out")
    different = changes(found["config"], wanted["config"])
    if different:
        raise UsageError(
            f"{out} is a run with other settings ({'; '.join(different)}); "
            "give the same again to continue it, or choose another --out"
        )
