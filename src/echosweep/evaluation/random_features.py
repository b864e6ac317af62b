"""Features of a VGG16 that was never trained (Naeem et al. 2020, section 3.3: "R64").

A random convolutional network keeps much of what tells images apart and nothing of what ImageNet
taught, so it needs no weights file and favours no domain. Invariant: the weights are a function of
the fixed seed and the layer's name alone, the same on every machine up to float rounding.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from echosweep import rng
from echosweep.devices import pick_device
from echosweep.evaluation.features import (
    Extractor,
    Options,
    Resize,
    check_dims,
    pil_bilinear,
)

DIMS = 64
RESIZE = Resize("pil-bilinear-64", 64, pil_bilinear, offset=127.5, scale=127.5)
_SEED = 0
_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_HIDDEN = 4096
_WEIGHTS = f"vgg16, He normal, seed {_SEED}"


class RandomVGG16:
    """VGG16 (Simonyan & Zisserman 2015, column D) to fc2, which has 64 outputs as in R64.

    He-normal weights and zero biases, so that the scale of a signal survives 15 ReLU layers.
    """

    def __init__(self, device: torch.device) -> None:
        self._convs: list[list[Tensor]] = []
        channels = 3
        for stage, (width, layers) in enumerate(_STAGES):
            shapes = [(width, channels if i == 0 else width, 3, 3) for i in range(layers)]
            self._convs.append(
                [_he(f"conv{stage}.{i}", shape).to(device) for i, shape in enumerate(shapes)]
            )
            channels = width
        flat = channels * (RESIZE.size // 2 ** len(_STAGES)) ** 2
        self._fc1 = _he("fc1", (_HIDDEN, flat)).to(device)
        self._fc2 = _he("fc2", (DIMS, _HIDDEN)).to(device)

    def __call__(self, x: Tensor) -> Tensor:
        """Return (N, 64) features of (N, 3, 64, 64) input in [-1, 1]."""
        for stage in self._convs:
            for weight in stage:
                x = F.conv2d(x, weight, padding=1).relu_()
            x = F.max_pool2d(x, 2)
        return F.linear(F.linear(x.flatten(1), self._fc1).relu_(), self._fc2).relu_()


def build_random(options: Options) -> Extractor:
    """Return the `random` extractor; its distance is `rfd`."""
    check_dims(options, "random", DIMS)
    device = pick_device(options.device)
    return Extractor(
        name="random",
        metric="rfd",
        dims=DIMS,
        resize=RESIZE,
        weights=_WEIGHTS,
        network=RandomVGG16(device),
        device=device,
        notes=("rfd is a distance of untrained features: compare it only with other rfd",),
    )


def _he(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return normal weights of variance 2 / fan-in (He et al. 2015, eq. 10)."""
    fan_in = shape[1] * (shape[2] * shape[3] if len(shape) == 4 else 1)
    draws = torch.randn(*shape, generator=rng.generator("random-features", _SEED, name))
    return draws.mul_((2 / fan_in) ** 0.5)
