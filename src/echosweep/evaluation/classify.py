"""Small image classifiers, trained from scratch: the tool of the shift panel and of utility.

The three of Reynaud & Kainz 2023: one linear layer, ResNet-18 (He et al. 2016), and ResNet-18 on
images randomly resized, cropped, flipped and rotated; Adam, no schedule, the last epoch's weights.
Invariant: on a CPU the same images, settings and seed give the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from echosweep import rng
from echosweep.progress import Progress, silent

Shape = tuple[int, int, int]
_SMALLEST_CROP = 0.8  # of the height and the width, enlarged to the whole
_MOST_TURNED = pi / 12


class Classifier(NamedTuple):
    """A row of `evaluation.CLASSIFIERS`.

    build: ((C, H, W), outputs) -> a network of float (N, C, H, W) in [-1, 1] with `outputs` values
    an image. augment: what is done to each training batch, from a CPU generator.
    """

    build: Callable[[Shape, int], nn.Module]
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None


@dataclass(frozen=True)
class FitSettings:
    """How a classifier is trained: passes over the images, Adam's learning rate, images a step."""

    epochs: int = 50
    lr: float = 1e-4
    batch: int = 128
    seed: int = 0


def build_linear(shape: Shape, outputs: int) -> nn.Module:
    """Return one linear layer on the pixels, without a non-linearity.

    It starts at zero: its loss is convex, so its weights then show what was learned alone.
    """
    layer = nn.Linear(int(np.prod(shape)), outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), layer)


def build_resnet18(shape: Shape, outputs: int) -> nn.Module:
    """Return ResNet-18 as He et al. 2016 have it, with drawn weights; H and W at least 16."""
    from monai.networks.nets.resnet import resnet18  # takes seconds to import

    network: nn.Module = resnet18(
        spatial_dims=2,
        n_input_channels=shape[0],
        num_classes=outputs,
        conv1_t_size=7,
        conv1_t_stride=2,
        bias_downsample=False,
    )
    return network


def augment(images: Tensor, draw: torch.Generator) -> Tensor:
    """Return images (N, C, H, W) each resized and cropped, flipped and rotated at random.

    A crop of 0.8 to 1 of the size somewhere inside, left and right swapped or not, up to 15
    degrees either way; what comes from outside the image is black.
    """
    # All of it is one affine map an image: one batched resampling on any device, where transforms
    # of single images would resample four times, in Python loops.
    count, (height, width) = len(images), images.shape[2:]
    random = torch.rand(4, count, generator=draw)
    scale = _SMALLEST_CROP + (1 - _SMALLEST_CROP) * random[0]
    angle, flip = _MOST_TURNED * (2 * random[1] - 1), 1 - 2 * torch.round(random[2])
    shift = (1 - scale) * (2 * torch.rand(2, count, generator=draw) - 1)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    across = torch.stack([flip * cos, -sin * height / width, shift[0]], 1)
    down = torch.stack([flip * sin * width / height, cos, shift[1]], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=False)
    moved = F.grid_sample(images + 1, grid.to(images.device), align_corners=False)
    return moved - 1  # padding is 0, which here is black


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Return uint8 images (N, H, W[, 3]) as a tensor (N, C, H, W)."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor[:, None] if images.ndim == 3 else tensor.permute(0, 3, 1, 2).contiguous()


def normalised(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in [-1, 1], what networks see."""
    return images.float() / 127.5 - 1


def fit(
    classifier: Classifier,
    shape: Shape,
    outputs: int,
    images: Tensor,
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    settings: FitSettings,
    device: torch.device,
    progress: Progress = silent,
) -> nn.Module:
    """Return a network trained on uint8 images (N, C, H, W), in evaluation mode.

    loss: of outputs (n, outputs) and the targets (n, ...) of a batch. The seed decides the weights
    at the start, the order of images in each epoch, and their augmentation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.derive("classify", "weights", settings.seed))
        network = classifier.build(shape, outputs).to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), settings.lr)
    draw = rng.generator("classify", "batches", settings.seed)
    images, targets, total = images.to(device), targets.to(device), settings.epochs * len(images)
    for epoch in range(settings.epochs):
        seen = epoch * len(images)
        for rows in torch.split(torch.randperm(len(images), generator=draw), settings.batch):
            progress(seen, total, seen)
            seen += len(rows)
            if len(rows) == 1:
                continue  # batch norm has no statistics of one image; other epochs have it
            batch = normalised(images[rows])
            batch = classifier.augment(batch, draw) if classifier.augment else batch
            optimiser.zero_grad()
            torch.autograd.backward(loss(network(batch), targets[rows]))
            optimiser.step()
    progress(total, total, total)
    return network.eval()


def predict(network: nn.Module, images: Tensor, device: torch.device, batch: int = 256) -> Tensor:
    """Return the outputs of a network for uint8 images (N, C, H, W): float32 (N, outputs), CPU."""
    with torch.inference_mode():
        found = [
            network(normalised(part.to(device))).float().cpu()
            for part in torch.split(images, batch)
        ]
    return torch.cat(found)
