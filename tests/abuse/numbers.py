"""Make numbers that are not finite where training and measuring compute, and look at what is kept.

Invariant: no file of weights or moments holds a number that is not finite; a command that ends with
success said what it mended; after a refusal the same command, left alone, goes on.
"""

import functools
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file

from echosweep.data.store import FrameStore, Video
from echosweep.data.writer import write_store

from . import child, world
from .row import Bench, Found


class Fault(NamedTuple):
    """A fault of arithmetic. where: loss, gradient or weight. steps: those that have it."""

    where: str
    value: float
    steps: range

    def __str__(self) -> str:
        return f"{self.where} {self.value:g} in steps {self.steps.start} to {self.steps.stop - 1}"


_STEPS = 12
_KIMG = 0.008 * _STEPS
_TRAIN = f"train --data {{w}}/store --out {{out}}/run --total-kimg {_KIMG} TRAIN --grid-images 0"
_DISCRIMINATE = world.COMMANDS["discriminate"].replace("--epochs 2", "--epochs 4")
_LAST, _EARLY = range(_STEPS - 1, _STEPS), range(2, 3)
# What was seen to fall, besides what is drawn.
KNOWN = (
    Fault("weight", math.nan, _LAST),
    Fault("weight", math.nan, _EARLY),
    Fault("gradient", math.nan, range(2, _STEPS - 2)),
    Fault("gradient", 1e38, _EARLY),
    Fault("loss", math.nan, range(1, _STEPS)),
)


def injected(bench: Bench) -> Found:
    """Train a model and a discriminator with faults, then measure with some."""
    faults, done = [], 0
    for number, fault in enumerate(_drawn(bench)):
        line = _TRAIN if bench.quick or number % 4 else _DISCRIMINATE
        found = _trained(bench, line, fault)
        faults += [f"{line.split()[0]}, {fault}: {what}" for what in found]
        done += 1
    for value in (math.nan,) if bench.quick else (math.nan, math.inf):
        faults += [f"features {value}: {what}" for what in _measured(bench, value)]
    faults += [f"constant images: {what}" for what in _constant(bench)]
    return Found(f"{done} faults of training, of features, and constant images", faults)


def _drawn(bench: Bench) -> list[Fault]:
    if bench.quick:
        return [KNOWN[0]]
    draw, drawn = random.Random(0), list(KNOWN)
    while len(drawn) < 100:
        first = draw.randrange(1, _STEPS)
        steps = range(first, min(_STEPS, first + draw.choice([1, 1, 2, 5, 12])))
        value = draw.choice([math.nan, math.inf, -math.inf, 1e38])
        drawn.append(Fault(draw.choice(["loss", "gradient", "weight"]), value, steps))
    return drawn


def _trained(bench: Bench, line: str, fault: Fault) -> Iterator[str]:
    case = bench.fresh()
    words = bench.words(line, case)
    ended = child.run(words, functools.partial(_inject, fault))
    yield from _not_finite(case)
    if ended.code and not ended.refused:
        yield f"exit {ended.code}: {ended.last}"
    if ended.code == 0 and len(fault.steps) > 5 and "finite" not in ended.err:
        yield f"nothing was said of {len(fault.steps)} steps: {ended.last}"
    again = child.run(words)
    if again.code:
        yield f"cannot go on: exit {again.code}: {again.last}"
    yield from _not_finite(case)


def _not_finite(case: Path) -> Iterator[str]:
    """Yield the files that hold a number that is not finite; dumps of faults may."""
    for path in sorted(case.rglob("*.safetensors")):
        if "failed" not in path.parts:
            bad = [name for name, x in load_file(path).items() if not np.isfinite(x).all()]
            if bad:
                yield f"{path.relative_to(case)}: {len(bad)} tensors such as {bad[0]}"


def _inject(fault: Fault) -> None:
    """Spoil what the steps compute, in this process, for good."""
    import torch
    from torch.optim import optimizer as optimizers

    optimizer_steps, seen = 0, set[torch.nn.Parameter]()
    backward = torch.autograd.backward  # that of a tensor calls it too

    def spoilt(loss: torch.Tensor, *args: Any, **more: Any) -> None:
        hit = optimizer_steps in fault.steps
        backward(loss * fault.value if hit and fault.where == "loss" else loss, *args, **more)
        if hit and fault.where == "gradient":
            for weight in seen:
                if weight.grad is not None:
                    weight.grad.view(-1)[0] = fault.value
                    return

    def after(optimizer: Any, *_: Any) -> None:
        nonlocal optimizer_steps
        seen.update(weight for group in optimizer.param_groups for weight in group["params"])
        if optimizer_steps in fault.steps and fault.where == "weight":
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].view(-1)[0] = fault.value
        optimizer_steps += 1

    torch.autograd.backward = spoilt
    optimizers.register_optimizer_step_post_hook(after)


def _measured(bench: Bench, value: float) -> Iterator[str]:
    """Measure by features that are not finite: a refusal, and nothing of them in the cache."""

    def spoil() -> None:
        from echosweep.evaluation.random_features import RandomVGG16

        compute: Callable[..., Any] = RandomVGG16.__call__

        def spoilt(self: RandomVGG16, x: Any) -> Any:
            features = compute(self, x)
            features[0, 0] = value
            return features

        RandomVGG16.__call__ = spoilt  # type: ignore[method-assign]

    case = bench.fresh()
    words = bench.words("evaluate {w}/made {w}/store --features random --out {out}/found", case)
    ended = child.run(words, spoil)
    if not ended.refused:
        yield f"exit {ended.code}: {ended.last}"
    ended = child.run(words)
    if ended.code or not _all_finite(json.loads(ended.out)):
        yield f"kept in the cache: exit {ended.code}: {ended.last}"


def _all_finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_all_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def _constant(bench: Bench) -> Iterator[str]:
    """Measure images that are all the same: that is said."""
    case = bench.fresh()

    def write() -> None:
        real = FrameStore.open(bench.inputs / "store")
        images = np.zeros((16, 16, 16), np.uint8)
        videos = [(Video(f"seed-{n}"), images[n : n + 1]) for n in range(16)]
        write_store(case / "made", real.preparation, videos, source={"kind": "generated"})

    assert child.call(write).code == 0
    line = f"evaluate {case}/made {{w}}/store --features random --out {{out}}/found"
    ended = child.run(bench.words(line, case))
    said = (ended.out + ended.err).lower()
    if not any(word in said for word in ("constant", "the same image", "are equal", "identical")):
        yield f"not said: {ended.last}"
