"""Do the largest work that is promised, and a quarter of it: what an item costs stays the same.

Invariant: time and memory by item do not grow with the number of items.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store

from . import child
from .row import Bench, Found

_GROWS = 1.25  # times the cost of an item in a quarter of the work; measured alone it is below 1.1


def largest(bench: Bench) -> Found:
    """Prepare many videos, open and measure a large store, run a study of many trials."""
    works: dict[str, tuple[Callable[[Bench, Path, int], None], int, int]] = {
        "videos": (_videos, 16, 20_000),
        "images": (_images, 400, 358_259),
        "trials": (_trials, 0, 1000),
    }
    said, faults = [], []
    for name, (work, quick, long) in works.items():
        if not (count := bench.times(quick, long)):
            continue
        costs = [_cost(bench, work, number) for number in (count // 4, count)]
        if failed := [cost for cost in costs if isinstance(cost, str)]:
            faults.append(f"{name}: {failed[0]}")
            continue
        (seconds_before, _), (seconds, megabytes) = costs
        by_item = seconds / count * 1000
        said.append(f"{count} {name}: {by_item:.3g} ms each, {megabytes:.0f} MB")
        before = seconds_before / (count // 4) * 1000
        if not bench.quick and by_item > _GROWS * before:
            faults.append(f"{name}: {before:.3g} ms each of a quarter, {by_item:.3g} of all")
    return Found("; ".join(said), faults)


def _cost(
    bench: Bench, work: Callable[[Bench, Path, int], None], count: int
) -> tuple[float, float] | str:
    """Return the seconds and the largest memory of a work in a child; or how it failed."""
    case, begun = bench.fresh(), time.monotonic()

    def measured() -> None:
        import resource

        work(bench, case, count)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    ended = child.call(measured, seconds=36_000)
    if ended.code:
        return ended.last
    return time.monotonic() - begun, float(ended.out.split()[-1])


def _videos(bench: Bench, case: Path, count: int) -> None:
    from echosweep.data.phantom import encode_mjpeg
    from echosweep.data.prepare import prepare

    draw = np.random.default_rng(0)
    for number in range(count):
        first = draw.integers(0, 256, (4, 4), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        path = case / "in" / f"p{number // 100:04}" / f"v{number:06}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_mjpeg([np.roll(first, 3 * t, 1) for t in range(3)], 32, 50))
    store = prepare(case / "in", case / "store", size=16, every=1, workers=2)
    assert len(store.videos) + len(store.manifest["excluded"]) == count


def _images(bench: Bench, case: Path, count: int) -> None:
    import echosweep

    draw = np.random.default_rng(0)

    images = draw.integers(0, 256, (count, 16, 16), dtype=np.uint8)
    videos = [
        (Video(f"v{start}", ("train", "val", "test")[start // 40 % 3]), images[start : start + 40])
        for start in range(0, count, 40)
    ]
    write_store(case / "store", Preparation((16, 16)), videos, source={"kind": "test"})
    store = FrameStore.open(case / "store")
    assert len(store.rows("train")) > 0
    assert len(FrameStore.open(store.path)) == count
    echosweep.evaluate(store.path, bench.inputs / "store", metrics="echo")


def _trials(bench: Bench, case: Path, count: int) -> None:
    from echosweep.study.launch import study

    recipe = {
        **{"name": "many", "about": "many", "features": {"features": ["random"]}, "gpus": 0},
        "select": {"split": "val", "num": 8},
        "report": {"split": "test", "num": 8},
        "base": {
            "train": {
                **{"network": "ddpmpp-tiny", "model_channels": 8, "batch": 8, "warmup_kimg": 0.0},
                **{"total_kimg": 0.008, "snapshots": 1, "grid_images": 0},
            }
        },
        "stages": [
            {"name": "one", "space": {"train.lr": [1e-3]}},
            {"name": "many", "space": {"sample.rho": [1 + n / 100 for n in range(count)]}},
        ],
    }
    recipe["base"]["sample"] = {"steps": 2}  # type: ignore[index]
    (case / "many.yaml").write_text(yaml.safe_dump(recipe))
    study(str(case / "many.yaml"), case / "study", data=bench.inputs / "store")
    records = [json.loads(path.read_bytes()) for path in (case / "study" / "stages").iterdir()]
    done = sum(trial["state"] == "complete" for record in records for trial in record["trials"])
    print(f"{done} trials", file=sys.stderr)
    assert done >= count
