"""Is a study that is killed again and again the one that nothing disturbed?

    python -m tests.abuse.studies OUT [--kills 20] [--backend local | ray]

A small study is run twice: undisturbed, and with kill -9 of the runner, of a worker or, with Ray,
of the head, at random times; whatever was killed but a worker is started again. Then the trials,
their signatures and scores, are compared.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import yaml

from echosweep.study.trial import is_claimed

from .row import Bench, Found

RECIPE = {
    "name": "faults",
    "about": "small",
    "data": {"videos": 48, "frames": 16, "size": 16, "every": 4},
    "features": {"features": ["random"]},
    "select": {"split": "val", "num": 16},
    "report": {"split": "test", "num": 16},
    "gpus": 0,
    "base": {
        "train": {
            "network": "ddpmpp-tiny",
            "total_kimg": 1.2,
            "batch": 16,
            "lr": 2e-3,
            "warmup_kimg": 0.1,
            "grid_images": 0,
            "checkpoint_minutes": 0.05,
        },
        "sample": {"steps": 5},
    },
    "stages": [
        {
            "name": "networks",
            "space": {"train.framework": ["edm", "vp", "ve"], "train.lr": [1e-3, 2e-3, 4e-3]},
            "strategy": "halving",
        },
        {"name": "sampler", "space": {"sample.steps": [3, 6, 9, 12]}, "choose": "knee"},
    ],
}


def killed_at_random(bench: Bench) -> Found:
    """Kill two runners of one study, and its workers, at random; compare its table."""
    faults: list[str] = []
    done = compared(bench.fresh(), 20, "local", faults, runners=2)
    return Found(f"{sum(done.values())} kills: {said(done)}", faults)


def main() -> None:
    """Do it for the backend given; print what was killed and whether the tables are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", default="local")
    options = parser.parse_args()
    faults: list[str] = []
    done = compared(options.out, options.kills, options.backend, faults)
    print(f"kills: {said(done)}", *(faults or ["the tables are equal"]), sep="\n")


def compared(
    out: Path, kills: int, backend: str, faults: list[str], runners: int = 1
) -> Counter[str]:
    """Run the study undisturbed and killed; say what differs in `faults`; return the kills."""
    out.mkdir(parents=True, exist_ok=True)
    recipe = out / "faults.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    disturbed(recipe, out / "undisturbed", 0, backend)
    done = disturbed(recipe, out / "killed", kills, backend, runners)
    wanted, found = table(out / "undisturbed"), table(out / "killed")
    faults += [
        f"other: {two}, not {one}" for one, two in zip(wanted, found, strict=False) if one != two
    ]
    if len(wanted) != len(found):
        faults.append(f"{len(found)} trials, not {len(wanted)}")
    if states := Counter(state for *_, state in found if state not in {row[-1] for row in wanted}):
        faults.append(f"states: {dict(states)}")
    return done


def said(done: Counter[str]) -> str:
    """Return what was killed how often, in words."""
    return ", ".join(f"{what} {count} times" for what, count in done.items()) or "none"


def disturbed(
    recipe: Path, study: Path, kills: int, backend: str, runners: int = 1
) -> Counter[str]:
    """Run a study to its end, killing as it goes; return what was killed how often."""
    draw, done = random.Random(0), Counter[str]()
    head = start_head(backend)
    running = [start(recipe, study, backend) for _ in range(runners)]
    while any(runner.poll() is None for runner in running):
        if sum(done.values()) >= kills:
            for runner in running:
                runner.wait()
            continue
        if not workers(study):  # so that each kill finds work to interrupt
            time.sleep(0.1)
            continue
        time.sleep(draw.uniform(0.0, 3.0))
        pids, chance, number = workers(study), draw.random(), draw.randrange(runners)
        if chance < 0.5 and pids:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(draw.choice(pids), signal.SIGKILL)
                done["a worker"] += 1
            continue
        running[number].kill()
        running[number].wait()
        if chance >= 0.8 and head:  # the runner is gone: it would wait for the head to come back
            stop_head()
            start_head(backend)
        running[number] = start(recipe, study, backend)
        done["the head" if chance >= 0.8 and head else "a runner"] += 1
    codes = [runner.returncode for runner in running]
    assert not any(codes), f"the study ended with {codes}"
    if head:
        stop_head()
    return done


def start(recipe: Path, study: Path, backend: str) -> subprocess.Popen[bytes]:
    words = ["study", "run", str(recipe), "--out", str(study), "--backend", backend]
    command = [sys.executable, "-m", "echosweep", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_head(backend: str) -> bool:
    """Start the head of a Ray of two cores, where Ray is asked for."""
    if backend == "ray":
        words = ["start", "--head", "--num-cpus=2", "--object-store-memory=100000000"]
        subprocess.run([ray(), *words, "--disable-usage-stats"], check=True, capture_output=True)
    return backend == "ray"


def stop_head() -> None:
    subprocess.run([ray(), "stop", "--force"], check=True, capture_output=True)


def ray() -> str:
    return str(Path(sys.executable).with_name("ray"))


def workers(study: Path) -> list[int]:
    """Return the processes that do trials now, and have said so."""
    said = [p for p in study.glob("trials/*/progress.json") if is_claimed(p.parent)]
    return [json.loads(path.read_bytes())["pid"] for path in said]


def table(study: Path) -> list[tuple[str, str, float | None, str]]:
    """Return every trial of every stage: stage, signature, score, state."""
    records = [json.loads(path.read_bytes()) for path in sorted((study / "stages").iterdir())]
    return [
        (record["name"], row["signature"], row["score"], row["state"])
        for record in records
        for row in record["trials"]
    ]


if __name__ == "__main__":
    main()
