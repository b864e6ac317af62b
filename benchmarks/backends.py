"""What does Ray cost? The same trials by the local backend and by a Ray of this machine, in pairs.

    python benchmarks/backends.py [--pairs 3] [--kimg 4] [--workers 2]

Each run has four trials of its own, each of which trains a network of its own on phantom hearts,
draws and compares. Ray starts before the first pair, as it does once in a study.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from echosweep.data.phantom import phantom
from echosweep.data.prepare import prepare
from echosweep.data.store import FrameStore
from echosweep.study.backends import DONE, Backend, BackendSettings
from echosweep.study.backends.local import Local
from echosweep.study.backends.ray import Ray
from echosweep.study.launch import claim
from echosweep.study.recipe import Recipe
from echosweep.study.trial import Trial, put

TRIALS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--kimg", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    settings = BackendSettings(workers=options.workers, gpus=0)
    with tempfile.TemporaryDirectory() as name:
        study = Path(name) / "study"
        recipe = Recipe.make(description(options.kimg))
        claim(study, recipe, hearts(Path(name)))
        backends: dict[str, Backend] = {"local": Local(settings), "ray": Ray(settings)}
        rates = (i * 1e-5 for i in itertools.count(100))
        ratios = []
        for pair in range(options.pairs):
            names = list(backends)[:: 1 if pair % 2 else -1]
            took = {
                name: seconds(backends[name], new(study, recipe, rates), study) for name in names
            }
            ratios.append(took["ray"] / took["local"])
            print(f"pair {pair}: local {took['local']:.1f} s, ray / local {ratios[-1]:.3f}")
    print(
        f"ray / local: median {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}), {TRIALS} trials on {options.workers} workers"
    )


def description(kimg: float) -> dict[str, object]:
    """Return a recipe of a small network."""
    network = {"network": "ddpmpp-tiny", "model_channels": 16, "batch": 16, "total_kimg": kimg}
    return {
        "name": "backends",
        "about": "four trials",
        "features": {"features": ["random"]},
        "select": {"num": 64},
        "base": {"train": {**network, "grid_images": 0}, "sample": {"steps": 8}},
        "stages": [{"name": "none", "space": {"sample.steps": [8]}}],
    }


def hearts(folder: Path) -> FrameStore:
    """Return a store of phantom hearts."""
    phantom(folder / "videos", videos=40, frames=16)
    return prepare(folder / "videos", folder / "hearts", size=32, every=2)


def new(study: Path, recipe: Recipe, rates: Iterator[float]) -> list[Trial]:
    """Return trials that share nothing with those before."""
    trials = []
    for rate in itertools.islice(rates, TRIALS):
        candidate = recipe.base.changed({"train.lr": rate}).task()
        params = {"candidate": candidate, "num": 64, "seed": 0, "split": "val"}
        trials.append(Trial("measure", params))
        put(study, trials[-1])
    return trials


def seconds(backend: Backend, trials: list[Trial], study: Path) -> float:
    """Return how long the trials take."""
    started = time.perf_counter()
    assert [code for _, code in backend.run(trials, study)] == [DONE] * len(trials)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
