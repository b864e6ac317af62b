"""The commands that make a candidate by hand: what a report prints beside each row.

They are also what several GPUs run. Invariant: an option is printed if and only if it differs from
its default, and what is printed is read back as the same config.
"""

import shlex
from pathlib import Path
from typing import NamedTuple

from echosweep.config import (
    DiscriminatorConfig,
    FeatureConfig,
    SampleConfig,
    TrainConfig,
    registered,
)
from echosweep.study.candidate import Candidate

Words = list[str]
_NO_RESULT = {"snapshots", "checkpoint_minutes", "grid_images", "grid_steps"}


def train_command(data: str | Path, out: str | Path, config: TrainConfig) -> Words:
    """Return `echosweep train` of a config."""
    return ["echosweep", "train", "--data", str(data), "--out", str(out), *config.words()]


def ema_command(run: str | Path, length: float, out: str | Path) -> Words:
    """Return `echosweep ema` of a length."""
    return ["echosweep", "ema", str(run), "--length", str(length), "--out", str(out)]


def sample_command(
    model: str | Path, out: str | Path, config: SampleConfig, num: int, seed: int
) -> Words:
    """Return `echosweep sample` of a config."""
    numbers = ["-n", str(num), "--seed", str(seed)]  # torchrun takes --num for an option of its own
    return ["echosweep", "sample", str(model), "--out", str(out), *numbers, *config.words()]


def discriminate_command(
    data: str | Path,
    generated: str | Path,
    model: str | Path,
    out: str | Path,
    config: DiscriminatorConfig,
) -> Words:
    """Return `echosweep discriminate` of a config."""
    stores = ["--data", str(data), "--generated", str(generated), "--model", str(model)]
    return ["echosweep", "discriminate", *stores, "--out", str(out), *config.words()]


class Drawn(NamedTuple):
    """Images that were drawn and compared: `num` from `seed` on; `n` of them with `split`."""

    num: int
    seed: int
    n: int
    split: str
    metrics: tuple[str, ...]


class GuidedBy(NamedTuple):
    """What guided: a discriminator that learned images from `seed` on, or a weaker self."""

    seed: int
    weak_kimg: float | None


def evaluate_command(
    generated: str | Path, data: str | Path, config: FeatureConfig, drawn: Drawn
) -> Words:
    """Return `echosweep evaluate` of a config."""
    numbers = ["--num", str(drawn.n), "--split", drawn.split, "--metrics", _metrics(drawn)]
    kept = config.model_copy(update={"inception": None, "dinov2": None})
    return ["echosweep", "evaluate", str(generated), str(data), *numbers, *kept.words()]


def _metrics(drawn: Drawn) -> str:
    everything = drawn.metrics == registered("evaluation", "METRICS")
    return "all" if everything else ",".join(drawn.metrics)


def by_hand(
    candidate: Candidate,
    features: FeatureConfig,
    drawn: Drawn,
    kimg: float,
    guide: GuidedBy | None,
) -> list[str]:
    """Return the lines that make and measure a candidate anew; DATA and names are stand-ins.

    kimg: thousand images that its model was trained on. guide: what guides it.
    """
    lines, model = [train_command("DATA", "run", _to(candidate.train, kimg))], "run"
    if candidate.ema:
        model = "averaged.safetensors"
        lines.append(ema_command("run", candidate.ema, model))
    sampling = candidate.sample
    if guide and guide.weak_kimg is not None:
        lines.append(train_command("DATA", "weak", _to(candidate.train, guide.weak_kimg)))
        sampling = sampling.model_copy(update={"guidance": Path("weak")})
    elif guide:
        plain, images = candidate.unguided().sample, candidate.discriminator_images
        lines.append(sample_command(model, "learned", plain, images, guide.seed))
        lines.append(
            discriminate_command("DATA", "learned", model, "guide", candidate.discriminator)
        )
        file = f"guide/epochs/{candidate.epoch:04d}.safetensors" if candidate.epoch else "guide"
        sampling = sampling.model_copy(update={"guidance": Path(file)})
    lines.append(sample_command(model, "images", sampling, drawn.num, drawn.seed))
    lines.append(evaluate_command("images", "DATA", features, drawn))
    return [shlex.join(line) for line in lines]


def _to(config: TrainConfig, kimg: float) -> TrainConfig:
    """Return what trains the same to `kimg`, without what changes no weight."""
    plain = {name: TrainConfig.model_fields[name].default for name in _NO_RESULT}
    return config.model_copy(update={**plain, "budget_hours": None, "total_kimg": kimg})
