"""The folder of a training run: who may write to it, what is computed there, where it had got.

Invariant: a folder belongs to one identity (its config, its data); another one is refused with what
differs. Nothing is written through a link inside it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from echosweep import locks, runs, stops
from echosweep.config import Config, changes
from echosweep.distributed import World, agree, barrier
from echosweep.environment import environment
from echosweep.errors import EchoSweepError, UsageError
from echosweep.training import checkpoint
from echosweep.training.finite import not_finite
from echosweep.training.passes import places_to_stop

# What an identity may name besides its config, and what is said where it differs.
_SAID = {
    "data": "was trained on other images, or other splits of them",
    "generated": "was trained on other generated images",
    "model": "was trained for another model",
    "classifier": "was trained on features of another classifier",
}
_STATES_KEPT = 2  # if the newest is damaged, the one before is used
_PARTS = ("state", "snapshots", "ema", "epochs", "failed")


@contextlib.contextmanager
def claimed(out: Path, peers: World) -> Iterator[None]:
    """Hold the folder for the processes of this run."""
    with locks.locked(out) if peers.rank == 0 else contextlib.nullcontext():
        barrier(peers)
        yield


def take(out: Path, identity: dict[str, Any], config: Config) -> None:
    """Write run.json, config.yaml and env.json, if the folder is new or of this identity.

    What processes that were killed left half-written is removed.
    """
    record = out / "run.json"
    for path in out.iterdir():
        if path.is_symlink():
            raise UsageError(
                f"{path} is a link, and a run writes inside its folder alone; move what it points "
                "to there, or choose another --out"
            )
    runs.remove_temporaries(out, record.name, alone=True)
    if record.exists():
        found = runs.read_record(record, f"choose another --out than {out}")
        _check_same_run(out, found, identity)
    elif any(path.name != locks.NAME for path in out.iterdir()):
        raise UsageError(f"{out} is not empty and not a run; choose another --out")
    for part in ("", *_PARTS):
        _remove_halves(out / part, said=part == "state")
    runs.write_json(record, identity)
    config.write(out / "config.yaml")
    runs.write_json(out / "env.json", environment())


def _remove_halves(folder: Path, said: bool) -> None:
    """Remove temporary files, and weights that lack their JSON: who wrote them was killed."""
    runs.remove_temporaries(folder, alone=True)
    for weights in folder.glob("*[0-9].safetensors"):
        if not weights.with_suffix(".json").exists():
            weights.unlink()
            if said:
                print(
                    f"note: {weights} lacks its JSON, so it was removed; the checkpoint before it "
                    "is used",
                    file=sys.stderr,
                )


def states(out: Path) -> list[Path]:
    """Return the resumable checkpoints, oldest first."""
    return sorted(path.with_suffix("") for path in (out / "state").glob("*.json"))


def load_state(out: Path, peers: World) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the newest checkpoint that is whole and finite, None where none was written.

    Says which were passed over. Raises EchoSweepError if there are some, but none to go on from.
    """
    problem, run = "", _identity(out)
    for path in reversed(states(out)):
        try:
            found = checkpoint.load(path, "it is passed over")
            _check_same_run(path, found[1].get("run", run), run)
        except (EchoSweepError, UsageError) as error:
            problem = str(error)
            continue
        if names := not_finite(found[0]):
            problem = f"{path} holds numbers that are not finite, in {names[0]}; it is passed over"
            continue
        if problem and peers.rank == 0:
            print(f"note: {problem}; training continues from {path.name}", file=sys.stderr)
        if peers.rank == 0:
            _remove_older(states(out), path)  # where a save was cut short
        return found
    if problem:
        raise EchoSweepError(
            f"{problem}, and there is none before it to continue from; copy the run again, or "
            f"remove {out} to begin again"
        )
    return None


def save_state(
    out: Path, number: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Write a resumable checkpoint; leave it and the one before."""
    facts = {**facts, "run": _identity(out)}  # a state of another run is none of this one
    newest = out / "state" / f"{number:012d}"
    checkpoint.save(newest, tensors, facts)
    for path in states(out):
        if path > newest:  # damaged, and passed over
            checkpoint.remove(path)
    _remove_older(states(out), newest)


def _remove_older(there: Sequence[Path], newest: Path) -> None:
    """Remove the checkpoints before `newest`, but for the last `_STATES_KEPT` up to it."""
    for old in [path for path in there if path <= newest][:-_STATES_KEPT]:
        checkpoint.remove(old)


def save_failure(out: Path, number: int, what: str, facts: Mapping[str, Any]) -> str:
    """Write what finds a failing step again; return what to say of it and of the newest state."""
    newest = states(out)[-1:]
    path = out / "failed" / f"{number:012d}.json"
    state = f"state/{newest[0].name}" if newest else None
    more = {"what": what, "state": state, "environment": environment()}
    runs.write_json(path, {**facts, **more})
    kept = f"{out / state} is the last finite state" if state else "no state was saved before"
    return f"{kept}; {path} says how to find the step again"


def stop_together(peers: World, stop: stops.StopSignal) -> None:
    """Raise `Stopped` in every process if a signal has come to one."""
    if number := round(agree(peers, [float(stop.asked)])[0]):
        raise stops.Stopped(number)


def lead(peers: World, stop: stops.StopSignal, work: Callable[[], object]) -> None:
    """Have the first process do `work`, which a stop cuts short; then stop, all together."""
    if peers.rank == 0:
        try:
            with places_to_stop(stop.check, peers.device):
                work()
        except stops.Aborted:
            raise
        except stops.Stopped:
            pass  # asked for still
    stop_together(peers, stop)


def _identity(out: Path) -> dict[str, Any]:
    return runs.read_record(out / "run.json", f"choose another --out than {out}")


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
