"""Measure a candidate: train what is not trained, draw, compare with real images."""

from pathlib import Path
from typing import Any

import torch

from echosweep.build import build_denoiser
from echosweep.commands.evaluate import evaluate
from echosweep.data.store import FrameStore, Preparation
from echosweep.diffusion.samplers import nfe
from echosweep.environment import environment
from echosweep.study.artifacts import Artifacts, rate_of
from echosweep.study.candidate import Candidate
from echosweep.study.commands import Drawn, GuidedBy, by_hand
from echosweep.study.recipe import DISCRIMINATOR_SEED
from echosweep.training import checkpoint

METRICS = ("frechet", "kid")


def measure(
    artifacts: Artifacts, *, candidate: dict[str, Any], num: int, seed: int, split: str
) -> dict[str, Any]:
    """Return the distance of `num` images of a candidate, from `seed` on, to a split."""
    made = Candidate.make(candidate)
    images = artifacts.images(made, num, seed)
    drawn = Drawn(num, seed, min(num, rows_in(artifacts.data, split)), split, METRICS)
    record = compare(artifacts, images, drawn)
    return {
        **about(artifacts, made, images, drawn),
        **distances(record),
        "n_generated": record["n_generated"],
        "n_reference": record["n_reference"],
        "environment": environment(),
    }


def compare(
    artifacts: Artifacts, images: Path, drawn: Drawn, out: Path | None = None
) -> dict[str, Any]:
    """Return the evaluation of a store against a split of the data."""
    record = evaluate(
        images,
        artifacts.data,
        metrics=drawn.metrics,
        num=drawn.n,
        split=drawn.split,
        config=artifacts.features,
        out=out,
        show=artifacts.show,
    )
    assert record
    return record


def distances(record: dict[str, Any]) -> dict[str, Any]:
    """Return what the first extractor found, under short names: fd, fd_floor, kid, ..."""
    label, features = next(iter(record["features"].items()))
    metric = features["metric"]

    def short(found: dict[str, Any]) -> dict[str, Any]:
        return {_short(name, metric): value for name, value in found.items()}

    return {
        "metric": metric,
        "label": label,
        "values": short(record["metrics"][label]),
        "intervals": short(record["intervals"].get(label, {})),
    }


def _short(name: str, metric: str) -> str:
    return "fd" + name.removeprefix(metric) if name.startswith(metric) else name


def about(artifacts: Artifacts, candidate: Candidate, images: Path, drawn: Drawn) -> dict[str, Any]:
    """Return a candidate's size, what it cost, and the commands that make it anew."""
    facts = checkpoint.read_facts(artifacts.weights(candidate))
    guiding = artifacts.guide(candidate)
    kimg = facts["nimg"] / 1000
    guide = None
    if guiding:
        weak = candidate.sample.guidance == Path("autoguidance")
        weak_kimg = checkpoint.read_facts(guiding.with_suffix(""))["nimg"] / 1000 if weak else None
        guide = GuidedBy(DISCRIMINATOR_SEED, weak_kimg)
    return {
        "candidate": candidate.model_dump(mode="json"),
        "network": candidate.train.network,
        "framework": candidate.train.framework,
        "kimg": kimg,
        **_costs(candidate, facts, images),
        "files": _files(artifacts, candidate, images, guiding),
        "num": drawn.num,
        "split": drawn.split,
        "seed": drawn.seed,
        "commands": by_hand(candidate, artifacts.features, drawn, kimg, guide),
    }


def _costs(candidate: Candidate, facts: dict[str, Any], images: Path) -> dict[str, Any]:
    """Return the size of a candidate and what it cost here: parameters, hours, rates, NFE."""
    with torch.device("meta"):
        made = Preparation.from_json(facts["preparation"])
        network = build_denoiser(candidate.train, made, facts["classes"])
    sampling, hours = candidate.sample, facts["seconds"] / 3600
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "train_hours": hours,
        "train_images_per_second": facts["nimg"] / facts["seconds"] if hours else None,
        "nfe": nfe(sampling.sampler, sampling.steps, sampling.solver or "heun"),
        "sample_images_per_second": rate_of(images),
    }


def _files(
    artifacts: Artifacts, candidate: Candidate, images: Path, guiding: Path | None
) -> dict[str, str | None]:
    """Return where its parts are, below the study's folder."""
    parts: dict[str, Path | None] = {
        "run": artifacts.run(candidate.train),
        "weights": artifacts.weights(candidate),
        "images": images,
        "guide": guiding,
    }
    return {
        name: str(part.relative_to(artifacts.study)) if part else None
        for name, part in parts.items()
    }


def rows_in(data: Path, split: str) -> int:
    """Return how many images a split of a store has."""
    return len(FrameStore.open(data, verify=False).rows(split))
