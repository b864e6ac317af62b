"""Images of every epoch of a discriminator, and of none: one frame store each, the same seeds.

Invariant: a store that is there and of the same task is never drawn again, one of another task is
never touched; where more images are wanted, those that are there are taken over.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from echosweep import places
from echosweep.build import model_path
from echosweep.commands.sample import sample
from echosweep.config import SampleConfig
from echosweep.data.store import FILES, MANIFEST, FrameStore, Preparation, image_shape
from echosweep.distributed import World, barrier
from echosweep.errors import UsageError
from echosweep.folders import partial_path, read_task, remove_files
from echosweep.guides import check_guides, describe
from echosweep.progress import Progress
from echosweep.training import checkpoint

UNGUIDED = "unguided"


class Epoch(NamedTuple):
    """An epoch of a discriminator: its number, its weights, and what their JSON says."""

    number: int
    path: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the name of the folder of its images."""
        return f"epoch-{self.number:04d}"


class Drawing(NamedTuple):
    """What all stores have in common."""

    model: Path
    folder: Path
    num: int
    seed: int
    batch: int
    peers: World


def find_epochs(discriminator: Path, chosen: Sequence[int] | None) -> list[Epoch]:
    """Return the epochs of a discriminator's folder, ascending; `chosen` None takes all.

    Their weights are read once, so that a damaged file is found before any image is drawn. Raises
    UsageError for epochs that are not there, EchoSweepError for damaged ones.
    """
    jsons = (discriminator / "epochs").glob("*.json")
    paths = {int(p.stem): p.with_suffix(".safetensors") for p in jsons if p.stem.isdigit()}
    if not paths:
        raise UsageError(
            f"{discriminator} has no epochs (epochs/0001.safetensors, ...); give the folder of a "
            "discriminator made by `echosweep discriminate`"
        )
    wanted = sorted(set(chosen or paths))
    if missing := [number for number in wanted if number not in paths]:
        raise UsageError(
            f"--epochs {','.join(map(str, missing))}: {discriminator} has epochs "
            f"{', '.join(map(str, sorted(paths)))}"
        )
    return [Epoch(n, paths[n], checkpoint.load(paths[n].with_suffix(""))[1]) for n in wanted]


def check_epochs(epochs: Sequence[Epoch], model: Path) -> None:
    """Raise UsageError unless every epoch is a discriminator that was trained for `model`."""
    wanted = checkpoint.read_facts(model_path(model))["sha256"]
    for epoch in epochs:
        if epoch.facts.get("kind") != "discriminator":
            raise UsageError(
                f"{epoch.path} is no discriminator; give the folder that `echosweep discriminate` "
                "made"
            )
        check_guides(epoch.path, wanted)


def check_prepared_alike(model: Path, store: FrameStore) -> None:
    """Raise UsageError unless `model` makes images that may be compared with `store`."""
    facts = checkpoint.read_facts(model_path(model))
    made, real = asdict(Preparation.from_json(facts["preparation"])), asdict(store.preparation)
    if pairs := [
        f"{key}: {made[key]!r} and {real[key]!r}" for key in made if made[key] != real[key]
    ]:
        raise UsageError(
            f"the images that {model} makes and those of {store.path} were made differently "
            f"({'; '.join(pairs)}), so a distance between them would measure that too; give a "
            "store that was prepared as the training data"
        )


def stores_of(epochs: Sequence[Epoch]) -> dict[int, str]:
    """Return the store of each epoch by number: equal weights share that of the first."""
    first: dict[str, str] = {}
    return {e.number: first.setdefault(e.facts["sha256"], e.name) for e in epochs}


def settings_of(epochs: Sequence[Epoch], config: SampleConfig) -> dict[str, SampleConfig]:
    """Return how each store's images are drawn, the control last: it has fewer settings to fail."""
    names = set(stores_of(epochs).values())
    guided = {
        e.name: SampleConfig.merge(config, {"guidance": e.path}) for e in epochs if e.name in names
    }
    plain = config.model_dump(exclude_unset=True, exclude=set(SampleConfig.GUIDANCE))
    return guided | {UNGUIDED: SampleConfig.make(plain)}


def count_drawn(settings: Mapping[str, SampleConfig], drawing: Drawing) -> dict[str, int]:
    """Return how many images of each store are there already.

    Raises UsageError for a store of another task, or for images that will not fit on the disk.
    """
    model = checkpoint.read_facts(model_path(drawing.model))
    there = {}
    for name, config in settings.items():
        path = drawing.folder / name
        task = {
            "model": model["sha256"],
            "device": drawing.peers.device.type,
            "seed": drawing.seed,
            **describe(config),
        }
        if begun := read_task(partial_path(path)):
            _check_same(partial_path(path), begun, {**task, "num": drawing.num})
        if not path.exists():  # else they are taken over, and are being removed
            _count(_fewer(path), task)
        there[name] = _count(path, task)
    new = [
        n for n in there if there[n] < drawing.num and not partial_path(drawing.folder / n).exists()
    ]
    shape = image_shape(Preparation.from_json(model["preparation"]))
    needed = len(new) * drawing.num * math.prod(shape)
    places.check_room(
        drawing.folder, needed, "the images need", "lower --num, or choose fewer --epochs"
    )
    return there


def _fewer(path: Path) -> Path:
    """Return where a store's images wait while more are drawn."""
    return path.with_name(path.name + ".fewer")


def _remove_fewer(path: Path) -> None:
    if _fewer(path).exists():
        remove_files(_fewer(path), (*FILES, MANIFEST))


def _count(path: Path, task: Mapping[str, Any]) -> int:
    if not path.exists():
        return 0
    store = FrameStore.open(path)
    _check_same(path, store.manifest.get("source", {}), task)
    return len(store)


def _check_same(path: Path, source: Mapping[str, Any], task: Mapping[str, Any]) -> None:
    """Raise UsageError unless a store's `source` is that of the task."""
    first, last = source.get("seeds", (0, 0))
    found = {**source, **source.get("sample", {}), "seed": first, "num": last - first}
    if wrong := [key for key in task if found.get(key) != task[key]]:
        pairs = "; ".join(
            f"{key}: {_short(found.get(key))}, now {_short(task[key])}" for key in wrong
        )
        raise UsageError(
            f"{path} holds images of another task ({pairs}); give the same settings, remove that "
            "folder, or choose another --out"
        )


def _short(value: Any) -> str:
    value = value.get("sha256", value) if isinstance(value, dict) else value
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else repr(value)


def draw_missing(
    settings: Mapping[str, SampleConfig],
    there: Mapping[str, int],
    drawing: Drawing,
    progress: Progress,
) -> None:
    """Draw what the stores lack. Every process of the peers must call this."""
    missing = [name for name in settings if there[name] < drawing.num]
    total = len(missing) * drawing.num
    barrier(drawing.peers)  # all have counted what is there before the first changes it
    if drawing.peers.rank == 0:
        for name in settings:  # of a call that was stopped when it was done
            if (drawing.folder / name).exists():
                _remove_fewer(drawing.folder / name)
    for i, name in enumerate(missing):
        shown = _after(i * drawing.num, total, progress)
        _draw(drawing.folder / name, settings[name], drawing, shown)


def _after(before: int, whole: int, progress: Progress) -> Progress:
    """Return the progress of a part that comes after `before` of `whole` steps."""

    def shown(done: int, total: int, units: float | None = None) -> None:
        progress(before + done, whole)

    return shown


def _draw(path: Path, config: SampleConfig, drawing: Drawing, progress: Progress) -> None:
    """Draw a store; where one with fewer images is there, only the others."""
    leads, fewer = drawing.peers.rank == 0, _fewer(path)
    if leads and path.exists():
        path.rename(fewer)
    sample(
        drawing.model,
        path,
        num=drawing.num,
        seed=drawing.seed,
        config=config,
        batch=drawing.batch,
        device=str(drawing.peers.device),
        known=FrameStore.open(fewer) if leads and fewer.exists() else None,
        progress=progress,
    )
    barrier(drawing.peers)  # the others must not look for the store before it has its name
    if leads:
        _remove_fewer(path)
