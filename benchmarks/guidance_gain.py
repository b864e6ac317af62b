"""Does discriminator guidance bring images nearer to real ones? In pairs of the same seeds.

Of a trained run: images for the discriminator, then for each seed a discriminator of its own and
fresh images, unguided and guided in several ways, each measured against the held-out split. What
is done already in --out is not done again.
`python benchmarks/guidance_gain.py RUN STORE --out FOLDER`
"""

import argparse
from pathlib import Path
from typing import Any

import echosweep
from echosweep.commands.discriminate import discriminate
from echosweep.progress import bar
from paired import T_975, print_table

WAYS: dict[str, dict[str, Any]] = {
    "unguided": {},
    "w1 1": {"w1": 1.0},
    "w1 2": {"w1": 2.0},
    "w1 5": {"w1": 5.0},
    "w1 5 boosted": {"w1": 5.0, "boost": True},
    "w1 2 accuracy": {"w1": 2.0, "weighting": "accuracy"},
    "w1 2 error": {"w1": 2.0, "weighting": "error"},
    "w1 5 error": {"w1": 5.0, "weighting": "error"},
    "w1 1 w2 1 error": {"w1": 1.0, "w2": 1.0, "weighting": "error"},
    "autoguidance 0.5": {"w1": 0.5},  # by --weak
    "autoguidance 1": {"w1": 1.0},
    "autoguidance 2": {"w1": 2.0},
}


def draw(model: Path, out: Path, num: int, seed: int, steps: int, **settings: Any) -> Path:
    """Return a store of images, made if it is not there."""
    if not out.exists():
        with bar(out.name, "images") as progress:
            echosweep.sample(
                model, out, num=num, seed=seed, steps=steps, progress=progress, **settings
            )
    return out


def distance(generated: Path, reference: Path, split: str, features: str) -> float:
    """Return the Fréchet distance of the features."""
    record = echosweep.evaluate(generated, reference, split=split, features=features)
    assert record
    (values,) = record["metrics"].values()
    return float(next(iter(values.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(T_975))
    parser.add_argument("--num", type=int, default=500, help="images of each way and seed")
    parser.add_argument("--learn-from", type=int, default=2000, help="images of the discriminator")
    parser.add_argument("--steps", type=int, default=18, help="of the sampler")
    parser.add_argument("--kind", default="encoder")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--features", default="efficientnet-lite0")
    parser.add_argument("--split", default="test")
    parser.add_argument("--weak", type=Path, help="run or snapshot of a weaker model")
    parser.add_argument("--ways", default="w1 2,w1 5,w1 5 boosted,w1 5 error", help="with commas")
    arguments = parser.parse_args()
    if unknown := set(arguments.ways.split(",")) - set(WAYS):
        parser.error(f"--ways {sorted(unknown)}: choose from {', '.join(WAYS)}")
    if "autoguidance" in arguments.ways and not arguments.weak:
        parser.error("autoguidance needs --weak, a run or snapshot of a weaker model")
    ways = {name: WAYS[name] for name in ("unguided", *arguments.ways.split(","))}
    learn_from = draw(
        arguments.run, arguments.out / "learn", arguments.learn_from, 0, arguments.steps
    )
    found: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(arguments.seeds):
        by = arguments.out / f"discriminator-{seed}"
        with bar(by.name, "images") as progress:
            discriminate(
                arguments.store,
                learn_from,
                arguments.run,
                by,
                kind=arguments.kind,
                epochs=arguments.epochs,
                lr=arguments.lr,
                batch=arguments.batch,
                seed=seed,
                progress=progress,
            )
        first = 1_000_000 * (seed + 1)
        for name, how in ways.items():
            out = arguments.out / f"{name.replace(' ', '-')}-{seed}"
            guide = arguments.weak if name.startswith("auto") else by
            guided = {**how, "guidance": guide} if how else {}
            images = draw(arguments.run, out, arguments.num, first, arguments.steps, **guided)
            found[name].append(
                distance(images, arguments.store, arguments.split, arguments.features)
            )
    print_table(f"{arguments.features} distance", found, digits=2)


if __name__ == "__main__":
    main()
