"""Is a study that is killed again and again the one that nothing disturbed?

    python benchmarks/study_faults.py OUT [--kills 20] [--backend local | ray]

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", default="local")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    recipe = options.out / "faults.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    tables = {}
    for name, kills in (("undisturbed", 0), ("killed", options.kills)):
        started, study = time.monotonic(), options.out / name
        done = disturbed(recipe, study, kills, options.backend)
        tables[name] = table(study)
        said = ", ".join(f"{count} of {what}" for what, count in done.items()) or "none"
        print(f"{name}: kills: {said}; {time.monotonic() - started:.0f} s", flush=True)
    states = Counter(state for *_, state in tables["killed"])
    print(f"{len(tables['killed'])} trials ({dict(states)}); ", end="")
    print(
        "the tables are " + ("equal" if tables["killed"] == tables["undisturbed"] else "DIFFERENT")
    )


def disturbed(recipe: Path, study: Path, kills: int, backend: str) -> Counter[str]:
    """Run a study to its end, killing as it goes; return what was killed how often."""
    draw, done = random.Random(0), Counter[str]()
    head = start_head(backend)
    runner = start(recipe, study, backend)
    while runner.poll() is None:
        if sum(done.values()) >= kills:
            runner.wait()
            continue
        if not workers(study):  # so that each kill finds work to interrupt
            time.sleep(0.1)
            continue
        time.sleep(draw.uniform(0.0, 3.0))
        pids, chance = workers(study), draw.random()
        if chance < 0.5 and pids:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(draw.choice(pids), signal.SIGKILL)
                done["a worker"] += 1
        elif chance < 0.8 or not head:
            runner.kill()
            runner.wait()
            runner = start(recipe, study, backend)
            done["the runner"] += 1
        else:
            runner.kill()  # it would wait for the head to come back
            runner.wait()
            stop_head()
            start_head(backend)
            runner = start(recipe, study, backend)
            done["the head"] += 1
    assert runner.returncode == 0, f"the study ended with {runner.returncode}"
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
