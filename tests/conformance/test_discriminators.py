"""Every registered discriminator learns by every objective; registering is testing."""

import copy
import functools
from pathlib import Path

import pytest
import torch

from echosweep import rng
from echosweep.build import build_denoiser, build_discriminator, load_discriminator
from echosweep.config import DiscriminatorConfig, TrainConfig
from echosweep.data.store import Preparation
from echosweep.diffusion.discriminators import DISCRIMINATORS
from echosweep.diffusion.guidance import value_and_gradient
from echosweep.distributed import World
from echosweep.networks.discriminator import Head
from echosweep.training import OBJECTIVES, checkpoint
from echosweep.training.batches import Batches
from echosweep.training.discriminator import DiscriminatorState, Sides, discriminator_steps

ALONE = World(0, 1, torch.device("cpu"))
SIZE = (16, 16)


@pytest.fixture(scope="module")
def guides():
    """A model of two classes, as its JSON describes it."""
    config = TrainConfig.make(
        {"network": "ddpmpp-tiny", "model_channels": 8, "total_kimg": 1, "label": "side"}
    )
    return {
        "sha256": "0" * 64,
        "config": config.model_dump(mode="json"),
        "preparation": {"size": list(SIZE), "channels": 1},
        "classes": ["left", "right"],
    }


@pytest.fixture(scope="module")
def denoiser(guides):
    torch.manual_seed(0)
    config, made = TrainConfig.make(guides["config"]), Preparation.from_json(guides["preparation"])
    denoiser = build_denoiser(config, made, guides["classes"])
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    return denoiser.eval()


@pytest.fixture(scope="module")
def sides():
    """Bright real images, dark generated ones, more of the former."""
    draw = rng.generator("sides")
    shapes = (((12, 1, *SIZE), 100, 256), ((8, 1, *SIZE), 0, 150))
    images = [torch.randint(low, high, s, generator=draw).byte() for s, low, high in shapes]
    labels = torch.eye(2)[torch.arange(12) % 2]
    return Sides(Batches(images[0], labels, 0), Batches(images[1], None, 0))


@pytest.fixture(scope="module")
def build(guides, denoiser):
    """A function (kind, **settings) -> (config, discriminator), alike at every call."""

    @functools.cache
    def built(kind, **settings):
        torch.manual_seed(0)
        config = DiscriminatorConfig.make({"kind": kind, **settings})
        return build_discriminator(config, guides, denoiser.state_dict())

    def build(kind, objective="cross-entropy", r1=0.0, **settings):
        shared = {"batch": 4, "lr": 1e-4, "objective": objective, "r1": r1}
        config = DiscriminatorConfig.make({"kind": kind, **shared, **settings})
        return config, copy.deepcopy(built(kind, **settings))

    return build


@pytest.fixture(params=DISCRIMINATORS)
def kind(request):
    return request.param


@pytest.fixture
def batch():
    draw = rng.generator("batch")
    return torch.randn(3, 1, *SIZE, generator=draw), torch.tensor([0.03, 1.0, 80.0])


def learn(discriminator, config, sides, denoiser, count):
    """Return the loss before each of `count` steps on one batch; check what must not change."""
    frozen = {k: v.clone() for k, v in discriminator.frozen_state().items()}
    state = DiscriminatorState.new(discriminator, config)
    steps, losses = discriminator_steps(state, sides, denoiser, config, ALONE), []
    for _ in range(count):
        state.step = 0  # the same batch and noise again
        losses.append(next(steps).loss)
    assert all(torch.equal(v, frozen[k]) for k, v in discriminator.frozen_state().items())
    assert all(p.grad is None for p in denoiser.parameters())
    return losses


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_steps_lower_the_loss(kind, objective, build, denoiser, sides):
    config, discriminator = build(kind, objective=objective)
    losses = learn(discriminator, config, sides, denoiser, 3)
    assert losses[2] < losses[0]


def test_it_can_be_regularised(kind, build, denoiser, sides):
    """By what takes gradients of gradients, and on layers that start at zero."""
    more = {"r1": 0.1, "spectral_norm": True, "dropout": 0.2}
    config, discriminator = build(kind, **more)
    before = {k: v.clone() for k, v in discriminator.trained_state().items()}
    learn(discriminator, config, sides, denoiser, 1)
    after = discriminator.trained_state()
    assert all(v.isfinite().all() for v in after.values())
    assert not all(torch.equal(v, before[k]) for k, v in after.items())


def test_a_number_an_image_whatever_the_batch(kind, build, batch):
    _, discriminator = build(kind)
    x, sigma = batch
    with torch.no_grad():
        together = discriminator.eval()(x, sigma)
        alone = torch.cat([discriminator(x[i : i + 1], sigma[i : i + 1]) for i in range(3)])
        assert torch.equal(discriminator(x.double(), sigma.double()), together)
    assert together.shape == (3,)
    assert together.dtype == torch.float32
    torch.testing.assert_close(alone, together, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("place", [1, 3, 6])
def test_its_place_in_a_batch_changes_no_bit_of_the_guidance(kind, build, place):
    _, discriminator = build(kind)
    evaluate = value_and_gradient(discriminator.eval().requires_grad_(False))
    x, sigma = 2 * rng.ImageNoise(range(8))((1, *SIZE)), torch.full((8,), 1.5, dtype=torch.float64)
    value, gradient = evaluate(x, sigma)
    rolled = evaluate(x.roll(place, 0), sigma)
    assert gradient.any()
    assert torch.equal(rolled[0], value.roll(place, 0))
    assert torch.equal(rolled[1], gradient.roll(place, 0))


def test_what_is_saved_is_loaded(kind, build, guides, batch, tmp_path: Path):
    config, discriminator = build(kind)
    frozen = discriminator.frozen_state()
    facts = {
        "kind": "discriminator",
        "config": config.model_dump(mode="json"),
        "guides": guides,
        "features": "../features" if frozen else None,
    }
    checkpoint.save(tmp_path / "epochs" / "0001", discriminator.trained_state(), facts)
    if frozen:
        checkpoint.save(tmp_path / "features", frozen, {})
    loaded, _ = load_discriminator(tmp_path / "epochs" / "0001.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(*batch), discriminator.eval()(*batch))
    assert not any(p.requires_grad for p in loaded.parameters())


def test_the_state_is_all_that_continuing_needs(kind, build, denoiser, sides):
    states = []
    for _ in range(2):
        config, discriminator = build(kind)
        states.append(DiscriminatorState.new(discriminator, config))
    steps = [discriminator_steps(state, sides, denoiser, config, ALONE) for state in states]
    next(steps[0])
    states[1].load({k: v.clone() for k, v in states[0].tensors().items()}, states[0].step)
    assert next(steps[0]).loss == next(steps[1]).loss
    one, two = (state.tensors() for state in states)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_published_head_has_the_published_size():
    with torch.device("meta"):
        head = Head(512, (8, 8))
    assert sum(p.numel() for p in head.parameters()) == 2_883_841
