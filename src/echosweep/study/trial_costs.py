"""What trials cost, in the order in which they are done: a part that is there costs nothing.

The parts are those of the workshop: weights, which a later trial of the same run only trains
further; guides; images; features. Seconds are counts of what a `Timings` timed.
Invariant: the same trials in the same order cost the same, however they are split into stages.
"""

import math
from typing import Any, NamedTuple

from echosweep import runs
from echosweep.config import SampleConfig, TrainConfig, guidance_weights
from echosweep.diffusion.samplers import nfe
from echosweep.errors import EchoSweepError
from echosweep.sampling import chunk
from echosweep.study.candidate import Candidate
from echosweep.study.recipe import DISCRIMINATOR_SEED
from echosweep.study.timings import Network, Timings, start
from echosweep.study.trial import Trial
from echosweep.training.discriminator import steps_an_epoch
from echosweep.training.discriminator_accuracy import LEVELS
from echosweep.training.posthoc_ema import STORED

# Times of guided sampling over unguided, and of a discriminator's step over its model's: as
# measured by benchmarks/guidance.py (docs/results/guidance.md). A weaker model is one evaluation.
_GUIDED = {"discriminator": (1.31, 1.58), "autoguidance": (1.5, 2.0)}
_DISCRIMINATOR_STEP = 0.28
_DISCRIMINATOR_WEIGHTS = 0.36  # at most, of its model's: the encoder of the U-Net
# Evaluations, about, in which a discriminator is measured on one image of each side at a level.
_MEASURED = 2.4
_HELD_OUT_IMAGES, _STATES = 256, 2  # of a run
_FLOAT = 4


class TrialCost(NamedTuple):
    """Seconds of one device, bytes on disk, and the GB of memory that the largest part needs."""

    seconds: float = 0.0
    disk: float = 0.0
    memory_gb: float = 0.0

    def plus(self, other: "TrialCost") -> "TrialCost":
        """Return what both cost, one after the other."""
        memory = max(self.memory_gb, other.memory_gb)
        return TrialCost(self.seconds + other.seconds, self.disk + other.disk, memory)


def total(costs: list[TrialCost]) -> TrialCost:
    """Return what all cost, one after another."""
    result = TrialCost()
    for cost in costs:
        result = result.plus(cost)
    return result


class TrialCosts:
    """Adds up what trials cost here."""

    def __init__(self, timings: Timings) -> None:
        self._timings, self._data = timings, timings.data
        self._made: set[str] = set()
        self._kimg: dict[str, float] = {}
        self._real_features: dict[str, int] = {}

    def cost(self, trial: Trial) -> TrialCost:
        """Return what a trial costs after those before it."""
        params = dict(trial.params)
        candidate = Candidate.make(params["candidate"]) if "candidate" in params else None
        parts = [TrialCost(start())]
        match trial.task:
            case "measure":
                assert candidate
                parts += self._measured(candidate, params["num"], params["seed"])
                parts.append(self._real(params["split"], params["num"]))
            case "final":
                assert candidate
                parts += self._measured(candidate, params["num"], params["seed"])
                parts.append(self._real(None))  # to search for copies, and pools of images
                parts.append(TrialCost(disk=params["num"] * self._data.bytes_per_image))
            case "shift":
                assert candidate
                parts += self._fits(candidate, params)
            case "floor":
                parts.append(self._real(None))
            case _:
                raise EchoSweepError(f"what a trial of task {trial.task!r} costs is not known")
        return total(parts)

    def _measured(self, candidate: Candidate, num: int, seed: int) -> list[TrialCost]:
        """Return the costs of images and of their features."""
        new = num if self._first(["features", candidate.identity(), num, seed]) else 0
        return [*self._images(candidate, num, seed), self._features(new)]

    def _images(self, candidate: Candidate, num: int, seed: int) -> list[TrialCost]:
        parts = [*self._weights(candidate.train), *self._guide(candidate)]
        if self._first(["images", candidate.identity(), num, seed]):
            network = self._timings.network(candidate.train)
            each = _evaluations(candidate.sample) * network.evaluation
            seconds = self._padded(num) * each
            parts.append(TrialCost(seconds, num * self._data.bytes_per_image))
        return parts

    def _weights(self, config: TrainConfig) -> list[TrialCost]:
        """Return the cost of training from where its run has got, or anew if that is beyond."""
        if not self._first(["weights", config.identity(), config.total_kimg, config.budget_hours]):
            return []
        network, run = self._timings.network(config), runs.signature(config.identity())
        kimg, before = kimg_of(config, network), self._kimg.get(run, 0.0)
        if before > kimg:
            before = 0.0
        else:
            self._kimg[run] = kimg
        begins, new = before == 0, 1 - before / kimg
        snapshots = config.snapshots * new + begins  # the first is the untrained network
        seconds = new * kimg * 1000 * network.training
        seconds += snapshots * self._snapshot(config) * network.evaluation
        tracks = 2 if config.posthoc_ema else 0
        # Of the weights: snapshots, the end, tracks, and resumable checkpoints with moments.
        copies = snapshots + 1 + tracks * STORED * new + begins * _STATES * (4 + tracks)
        return [TrialCost(seconds, copies * network.parameters * _FLOAT, network.memory_gb)]

    def _snapshot(self, config: TrainConfig) -> int:
        """Return the evaluations of a snapshot: of its sample grid and its held-out loss."""
        grid = self._padded(config.grid_images) * nfe("heun", config.grid_steps)
        held_out = 0 if config.split in ("val", "all") else self._data.count("val")
        return grid + len(range(0, held_out, -(-held_out // _HELD_OUT_IMAGES) or 1))

    def _guide(self, candidate: Candidate) -> list[TrialCost]:
        """Return the cost of a discriminator; a weaker model is a snapshot that is there."""
        if str(candidate.sample.guidance) != "discriminator":
            return []
        plain, config = candidate.unguided(), candidate.discriminator
        num = candidate.discriminator_images
        parts = self._images(plain, num, DISCRIMINATOR_SEED)
        what = ["discriminator", plain.identity(), config.model_dump(mode="json"), num]
        if self._first(what):
            network = self._timings.network(candidate.train)
            held_out = max(2, min(config.held_out, num // 8))
            images = steps_an_epoch(num - held_out, config) * config.batch
            measured = 2 * len(LEVELS) * min(held_out, self._data.count("val") or held_out)
            epoch = images * _DISCRIMINATOR_STEP * network.training
            epoch += measured * _MEASURED * network.evaluation
            weights = _DISCRIMINATOR_WEIGHTS * network.parameters * _FLOAT
            # Every epoch, the best one again, and a resumable checkpoint with moments.
            parts.append(TrialCost(config.epochs * epoch, (config.epochs + 4) * weights))
        return parts

    def _fits(self, candidate: Candidate, params: dict[str, Any]) -> list[TrialCost]:
        """Return the cost of images and of the classifiers that try to tell them from real ones."""
        guided = [candidate] if candidate.sample.guidance else []
        columns = [candidate.unguided(), *guided]
        parts = [p for one in columns for p in self._images(one, params["num"], params["seed"])]
        shown = 2 * 0.9 * min(params["num"], self._data.count(params["split"]))
        shown *= params["epochs"] * params["repeats"] * (len(columns) + 1)  # one more: the floor
        each = sum(
            self._timings.classifier(name, params["batch"]) for name in params["classifiers"]
        )
        return [*parts, TrialCost(shown * each)]

    def _real(self, split: str | None, num: int | None = None) -> TrialCost:
        """Return the cost of features of real images: `num` of a split, or all of all."""
        new = 0
        for name in [split] if split else self._data.images:
            wanted = self._data.count(name) if num is None else min(num, self._data.count(name))
            new += max(0, wanted - self._real_features.get(name, 0))
            self._real_features[name] = max(wanted, self._real_features.get(name, 0))
        return self._features(new)

    def _features(self, images: int) -> TrialCost:
        widths = sum(extractor.dims for extractor in self._timings.extractors)
        return TrialCost(images * self._timings.features, images * widths * _FLOAT)

    def _padded(self, num: int) -> int:
        """Return `num` filled up to whole network calls."""
        size = chunk(self._timings.device)
        return -(-num // size) * size

    def _first(self, what: object) -> bool:
        key = runs.signature(what)
        if key in self._made:
            return False
        self._made.add(key)
        return True


def kimg_of(config: TrainConfig, network: Network) -> float:
    """Return the thousands of images that a run sees until its first end."""
    in_time = (config.budget_hours or math.inf) * 3.6 / network.training
    return min(config.total_kimg or math.inf, in_time)


def _evaluations(config: SampleConfig) -> float:
    """Return the network evaluations of an image, guidance counted in them."""
    plain = nfe(config.sampler, config.steps, config.solver or "heun")
    if config.guidance is None:
        return plain
    by = str(config.guidance)
    _, w2 = guidance_weights(config.w1, config.w2, by == "discriminator")
    once, always = _GUIDED[by]
    return plain * (always if w2 else once)
