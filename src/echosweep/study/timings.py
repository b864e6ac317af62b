"""What each piece of a study's work costs on this device: measured on a few images, each once.

A training step, a network evaluation, features and classifiers are timed; the rest is counted in
them. Of a network that would take long to time, few evaluations are timed; its training step takes
as many of them as that of the largest network whose step was timed.
Invariant: nothing is trained, and the same question is never timed twice.
"""

import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from echosweep import compute, runs
from echosweep.build import build_denoiser, build_extractors
from echosweep.config import FeatureConfig, TrainConfig
from echosweep.data.store import Preparation, image_shape
from echosweep.diffusion import Denoiser
from echosweep.evaluation import CLASSIFIERS
from echosweep.evaluation.classify import FitSettings, fit
from echosweep.evaluation.features import CHUNK, Extractor
from echosweep.networks import describe
from echosweep.progress import Show
from echosweep.sampling import FixedBatch, chunk
from echosweep.training.estimate import activation_bytes, seconds_per_image

# What decides how large and how fast a network is; the framework around it costs nothing.
_DECIDES = {
    *("network", "model_channels", "channel_mult", "num_blocks", "attention_factors", "num_heads"),
    *("label", "batch", "micro_batch", "precision", "posthoc_ema"),
}
_LONGEST = 90.0  # seconds to time a network, where it can be scaled instead
_FEW = 4  # images that tell how long an evaluation takes
_TIMED_IMAGES = 35  # about as many images' training steps as timing a network takes on a CPU
_START = "import echosweep.study.worker, echosweep.study.tasks"


class Data(NamedTuple):
    """What costs depend on of the images: how they were made, their number by split, classes."""

    preparation: Preparation
    images: dict[str, int]
    classes: Callable[[str | None, str], Sequence[str]]

    def count(self, split: str) -> int:
        """Return the images of a split."""
        return self.images.get(split, 0)

    @property
    def bytes_per_image(self) -> int:
        """Return the bytes of one image in a store."""
        return math.prod(image_shape(self.preparation))


class Network(NamedTuple):
    """A network's size, and the seconds of a training step and of an evaluation, per image.

    memory_gb: of training, in float32. scaled: training was not timed, but follows from another's.
    """

    parameters: int
    multiply_adds: int
    memory_gb: float
    training: float
    evaluation: float
    scaled: bool


class Timings:
    """What things take here. gpus: of a trial; they are taken to share a training step evenly."""

    def __init__(
        self, data: Data, features: FeatureConfig, device: torch.device, gpus: int, show: Show
    ) -> None:
        self.data, self.device, self.show = data, device, show
        self._features, self._gpus = features, max(1, gpus)
        self._networks: dict[str, Network] = {}
        self._names: dict[str, str] = {}
        self._classifiers: dict[tuple[str, int], float] = {}

    def learn(self, configs: Sequence[TrainConfig]) -> None:
        """Time every distinct network of the configs, the smallest first."""
        distinct = {_key(config): config for config in configs}
        self._names = {key: config.network for key, config in distinct.items()}
        sizes = {
            key: describe(self._build(config, "meta").network) for key, config in distinct.items()
        }
        with self.show("measure", "networks") as progress:
            for number, key in enumerate(sorted(sizes, key=lambda k: sizes[k]["multiply_adds"])):
                progress(number, len(sizes))
                self._networks[key] = self._network(distinct[key], sizes[key])
            progress(len(sizes), len(sizes))

    def network(self, config: TrainConfig) -> Network:
        """Return what `learn` learnt of a config's network."""
        return self._networks[_key(config)]

    @property
    def device_name(self) -> str:
        """Return what is timed."""
        cuda = self.device.type == "cuda"
        return torch.cuda.get_device_name(self.device) if cuda else "a CPU"

    @property
    def scaled(self) -> list[str]:
        """Return the networks whose times were scaled."""
        return [self._names[key] for key, network in self._networks.items() if network.scaled]

    def _build(self, config: TrainConfig, device: str) -> Denoiser:
        with torch.device(device):
            classes = self.data.classes(config.label, config.split)
            return build_denoiser(config, self.data.preparation, classes)

    def _network(self, config: TrainConfig, counts: dict[str, int]) -> Network:
        denoiser = self._build(config, "cpu")
        # Weights, gradients, their average and Adam's two moments; post-hoc averages are two more.
        held = counts["parameters"] * 4 * (7 if config.posthoc_ema else 5)
        batch = min(config.batch, config.micro_batch or config.batch)
        memory = (held + activation_bytes(denoiser) * batch) / 1e9
        sized = partial(Network, counts["parameters"], counts["multiply_adds"], memory)
        timed = [network for network in self._networks.values() if not network.scaled]
        if timed:
            like = max(timed, key=lambda network: network.multiply_adds)
            larger = counts["multiply_adds"] / like.multiply_adds
            if larger * like.training * _TIMED_IMAGES > _LONGEST:
                evaluation = _evaluation(denoiser.eval(), _FEW, self.device) / self._gpus
                training = evaluation * like.training / like.evaluation
                return sized(training, evaluation, scaled=True)
        training = seconds_per_image(denoiser, config, self.device) / self._gpus
        evaluation = _evaluation(denoiser.eval(), chunk(self.device), self.device) / self._gpus
        return sized(training, evaluation, scaled=False)

    @cached_property
    def extractors(self) -> list[Extractor]:
        """Return the extractors of the recipe."""
        return build_extractors(self._features)

    @cached_property
    def features(self) -> float:
        """Return the seconds of an image's features, by all extractors."""
        size = 2 * CHUNK[self.device.type]
        images = np.zeros((size, *image_shape(self.data.preparation)), np.uint8)
        with self.show("measure features", "images") as progress:
            progress(0, size)
            seconds = sum(_second_time(partial(e, images)) for e in self.extractors)
            progress(size, size)
        return seconds / size / self._gpus

    def classifier(self, name: str, batch: int) -> float:
        """Return the seconds of a classifier's training step per image; it uses one device."""
        if (name, batch) not in self._classifiers:
            shape = (self.data.preparation.channels, *self.data.preparation.size)
            images = torch.zeros(batch, *shape, dtype=torch.uint8)
            loss, settings = binary_cross_entropy_with_logits, FitSettings(epochs=2, batch=batch)
            step = partial(fit, CLASSIFIERS[name], shape, 1, images, torch.zeros(batch, 1), loss)
            seconds = _second_time(partial(step, settings, self.device))
            self._classifiers[name, batch] = seconds / (settings.epochs * batch)
        return self._classifiers[name, batch]


@cache
def start() -> float:
    """Return the seconds in which a trial's process starts."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", _START], check=True)
    return time.perf_counter() - started


def _key(config: TrainConfig) -> str:
    return runs.canonical_json(config.model_dump(mode="json", include=_DECIDES, exclude_none=True))


@torch.no_grad()
def _evaluation(denoiser: Denoiser, count: int, device: torch.device) -> float:
    """Return the seconds of D(x; sigma) per image, computed as sampling does, `count` at a time.

    The network is left laid out for that.
    """
    precision = compute.choose_precision("auto", device)
    compute.prepare(denoiser.network, precision)
    x = torch.zeros(count, *denoiser.image_shape, device=device)
    labels = torch.zeros(count, denoiser.label_dim, device=device) if denoiser.label_dim else None
    batched = FixedBatch(denoiser, count)
    with compute.arithmetic(precision, device):
        # `float` waits for the device.
        return _second_time(lambda: float(batched(x, 1.0, labels).sum())) / count


def _second_time(work: Callable[[], object]) -> float:
    """Return the seconds of `work`; the first time also builds caches."""
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
