"""Classifiers: what they are, what they learn, the same bits, and augmentation as a motion."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from echosweep.evaluation import CLASSIFIERS
from echosweep.evaluation.classify import (
    Classifier,
    FitSettings,
    as_tensor,
    augment,
    build_linear,
    build_resnet18,
    fit,
    normalised,
    predict,
)

CPU = torch.device("cpu")


def bce(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs[:, 0], targets)


def two_kinds(count: int, size: int, gap: int) -> tuple[Tensor, Tensor]:
    """Noise images, of which every other is brighter by `gap` in its upper half."""
    images = np.random.default_rng(0).integers(0, 100, (count, size, size), dtype=np.uint8)
    images[::2, : size // 2] += np.uint8(gap)
    return as_tensor(images), (torch.arange(count) % 2 == 0).float()


def trained(name: str, count: int = 8, **settings: Any) -> tuple[torch.nn.Module, Tensor, Tensor]:
    images, targets = two_kinds(count, 16, 150)
    chosen = FitSettings(**{"lr": 1e-2, "batch": 16} | settings)
    network = fit(CLASSIFIERS[name], (1, 16, 16), 1, images, targets, bce, chosen, CPU)
    return network, images, targets


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_loss_of_every_classifier_falls(name: str):
    losses = []

    def noted(outputs: Tensor, targets: Tensor) -> Tensor:
        losses.append(bce(outputs, targets))
        return losses[-1]

    images, targets = two_kinds(16, 16, 150)
    settings = FitSettings(epochs=6, lr=3e-3)
    network = fit(CLASSIFIERS[name], (1, 16, 16), 1, images, targets, noted, settings, CPU)
    assert len(losses) == 6
    assert losses[-1] < 0.5 * losses[0]
    assert not network.training


def test_the_linear_classifier_learns_what_is_plain():
    network, images, targets = trained("linear", 64, epochs=6)
    assert torch.equal(predict(network, images, CPU)[:, 0] > 0, targets.bool())


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 20, 33)])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_takes_any_size_and_batches_with_one_left(
    name: str, shape: tuple[int, int, int]
):
    images = torch.randint(0, 256, (5, *shape), dtype=torch.uint8)
    settings = FitSettings(epochs=1, batch=4)
    network = fit(
        CLASSIFIERS[name], shape, 2, images, torch.tensor([0, 1, 0, 1, 1]), F.cross_entropy,
        settings, CPU,
    )  # fmt: skip
    outputs = predict(network, images, CPU, batch=2)
    assert outputs.shape == (5, 2)
    assert outputs.dtype == torch.float32
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_seed_alone_decides_the_bits(name: str):
    first, images, _ = trained(name, epochs=1)
    torch.rand(3)  # the global generator is nothing to it
    again, other = trained(name, epochs=1)[0], trained(name, epochs=1, seed=1)[0]
    scores = [predict(network, images, CPU) for network in (first, again, other)]
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    trained("resnet18", epochs=1)
    assert torch.equal(torch.rand(2), expected)


def test_resnet18_has_the_usual_form():
    network = build_resnet18((3, 64, 64), 1)
    # torchvision's resnet18 has 11,689,512 with 1,000 outputs of 512 weights and a bias.
    assert sum(p.numel() for p in network.parameters()) == 11_689_512 - 999 * 513
    assert "torchvision" not in sys.modules


def test_linear_starts_at_zero_and_is_linear():
    images = torch.rand(3, 2, 4, 4)
    assert torch.equal(build_linear((2, 4, 4), 1)(images), torch.zeros(3, 1))
    network, seen, _ = trained("linear", epochs=2)
    x = normalised(seen)
    mean = network((x[:1] + x[1:2]) / 2)
    torch.testing.assert_close(mean, (network(x[:1]) + network(x[1:2])) / 2)


def test_one_step_of_the_linear_classifier_is_adams_sign_step():
    images = as_tensor(np.array([[[255, 0], [0, 0]], [[0, 255], [0, 0]]], np.uint8))
    settings = FitSettings(epochs=1, lr=0.125)
    targets = torch.tensor([1.0, 0.0])
    network = fit(CLASSIFIERS["linear"], (1, 2, 2), 1, images, targets, bce, settings, CPU)
    weight = next(network.parameters()).detach()
    torch.testing.assert_close(weight, torch.tensor([[0.125, -0.125, 0, 0]]), atol=1e-6, rtol=0)


def test_augmentation_moves_a_dot_without_making_or_brightening_one():
    dots = torch.full((200, 1, 33, 49), -1.0)
    dots[:, :, 15:18, 23:26] = 1.0
    moved = augment(dots, torch.Generator().manual_seed(0))
    assert moved.min() >= -1
    assert moved.max() <= 1 + 1e-6
    mass = (moved + 1).sum((1, 2, 3)) / (dots[0] + 1).sum()
    # Enlarged by 1 / s in both directions, s in 0.8 to 1; rotation keeps areas, in any aspect.
    assert 0.9 < mass.min() < mass.max() < 1 / 0.8**2 + 0.1
    y, x = torch.meshgrid(torch.arange(33.0), torch.arange(49.0), indexing="ij")
    weight = (moved[:, 0] + 1) / (moved[:, 0] + 1).sum((1, 2), keepdim=True)
    # The centre of a crop inside the image is at most (1 - s) / 2 of the size away, over s.
    assert ((weight * y).sum((1, 2)) - 16).abs().max() < 33 * 0.125 + 0.5
    assert ((weight * x).sum((1, 2)) - 24).abs().max() < 49 * 0.125 + 0.5


def test_half_of_the_augmented_images_are_mirrored():
    images = torch.full((400, 1, 32, 32), -1.0)
    images[..., :16] = 1.0  # the left half is white
    moved = augment(images, torch.Generator().manual_seed(0))
    mirrored = moved[..., :8].mean((1, 2, 3)) < moved[..., -8:].mean((1, 2, 3))
    assert 160 < mirrored.sum() < 240


def test_turning_keeps_a_square_a_square_in_images_that_are_not():
    square = torch.full((100, 1, 32, 64), -1.0)
    square[:, :, 12:20, 28:36] = 1.0
    moved = (augment(square, torch.Generator().manual_seed(1)) + 1)[:, 0]
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    weight = moved / moved.sum((1, 2), keepdim=True)
    spread = [
        ((weight * axis**2).sum((1, 2)) - (weight * axis).sum((1, 2)) ** 2).sqrt()
        for axis in (y, x)
    ]
    torch.testing.assert_close(spread[0], spread[1], rtol=0.03, atol=0)


def test_augmentation_takes_part_in_training_and_not_in_prediction():
    seen = []

    def spy(images: Tensor, draw: torch.Generator) -> Tensor:
        seen.append(len(images))
        return images

    images, targets = two_kinds(10, 16, 150)
    classifier = Classifier(build_linear, spy)
    network = fit(
        classifier, (1, 16, 16), 1, images, targets, bce, FitSettings(epochs=2, batch=4), CPU
    )
    predict(network, images, CPU)
    assert seen == [4, 4, 2, 4, 4, 2]


def test_images_become_tensors_channel_first():
    grey = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert torch.equal(as_tensor(grey)[1, 0], torch.tensor([[4, 5], [6, 7]], dtype=torch.uint8))
    colour = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    assert torch.equal(as_tensor(colour)[1, 2], torch.from_numpy(colour[1, :, :, 2]))
    assert normalised(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]


def test_progress_counts_images():
    seen: list[tuple[float, ...]] = []
    images, targets = two_kinds(6, 16, 150)
    fit(
        CLASSIFIERS["linear"], (1, 16, 16), 1, images, targets, bce,
        FitSettings(epochs=2, batch=4), CPU, lambda *call: seen.append(call),
    )  # fmt: skip
    assert [call[0] for call in seen] == [0, 4, 6, 10, 12]
    assert {call[1] for call in seen} == {12}
