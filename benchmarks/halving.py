"""What does pruning save, and what does it risk? The demo's grid, halved and in full, over seeds.

    python benchmarks/halving.py OUT [--seeds 5]

For each seed of weights, order and noise, the nine cells of the recipe `demo`, at 16 px, are
searched by successive halving and trained to the end. The winner of either is compared by the
distance of the full training. Interrupted, the same command continues.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from echosweep.progress import bar
from echosweep.study.launch import study
from echosweep.study.recipe import Recipe
from echosweep.study.trial import result

SIZE = 16  # pixels: a fraction of the demo's cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    print("| seed | in full: winner | distance (95 %) | halved: winner | distance | trained |")
    print("|---|---|---|---|---|---|")
    agreed = 0
    for seed in range(options.seeds):
        # In this order, so that what halving began the grid goes on with.
        halved, full = (searched(options.out, seed, how) for how in ("halving", "grid"))
        low, high = full["interval"]
        agreed += full["label"] == halved["label"] or low <= halved["score"] <= high
        print(
            f"| {seed} | {full['label']} | {full['score']:.1f} ({low:.1f} to {high:.1f}) | "
            f"{halved['label']} | {halved['score']:.1f} | {halved['share']:.0%} |",
            flush=True,
        )
    print(f"the same winner, or one within its interval: {agreed} of {options.seeds}")


def searched(out: Path, seed: int, strategy: str) -> dict[str, Any]:
    """Return the winner of a search of the demo's networks, and the share that it trained."""
    values = Recipe.load("demo").model_dump(exclude_unset=True)
    train = {**values["base"]["train"], "seed": seed, "posthoc_ema": False}
    networks = {"name": strategy, "space": space(), "strategy": strategy}
    small = {"data": {**values["data"], "size": SIZE}, "base": {**values["base"], "train": train}}
    recipe = Recipe.make({**values, **small, "stages": [networks]})
    place = out / f"seed{seed}"
    study(recipe, place, show=bar, say=lambda text: None)
    (path,) = (place / "stages").glob(f"*-{strategy}.json")
    record = json.loads(path.read_bytes())
    signature = record["selected"][0]["signature"]
    row = next(row for row in record["trials"] if row["signature"] == signature)
    found = result(place, signature)
    assert found is not None
    saved = record["saved"] or {"share": 1.0}
    return {**row, "interval": found["intervals"]["fd"], "share": saved["share"]}


def space() -> dict[str, Any]:
    """Return the demo's grid."""
    stages = {stage.name: stage for stage in Recipe.load("demo").stages}
    found: dict[str, Any] = stages["networks"].options["space"]
    return found


if __name__ == "__main__":
    main()
