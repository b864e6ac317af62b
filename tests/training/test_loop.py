import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from echosweep.build import build_denoiser
from echosweep.config import TrainConfig
from echosweep.data.store import FrameStore
from echosweep.distributed import World
from echosweep.errors import UsageError
from echosweep.training.adam import moments
from echosweep.training.batches import load_batches
from echosweep.training.finite import Health, mend_gradients, not_finite
from echosweep.training.loop import TrainState, learning_rate, train_steps
from echosweep.training.passes import places_to_stop

ALONE = World(0, 1, torch.device("cpu"))


def begin(store: Path, settings: dict[str, Any]) -> tuple[TrainState, Any, TrainConfig]:
    config = TrainConfig.make({"total_kimg": 1, **settings})
    opened = FrameStore.open(store)
    torch.manual_seed(config.seed)
    state = TrainState.new(build_denoiser(config, opened.preparation), config)
    return state, load_batches(opened, config, ALONE.device), config


def test_accumulated_gradients_are_those_of_the_whole_batch(
    small_store: Path, small_network: dict[str, Any]
) -> None:
    losses, norms = [], []
    for micro in (None, 3):
        settings = small_network | {"micro_batch": micro, "dropout": 0.0}
        state, batches, config = begin(small_store, settings)
        step = next(train_steps(state, batches, config, ALONE))
        losses.append(step.loss)
        norms.append(step.grad_norm)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_a_step_is_adam_with_the_warmed_up_rate(
    small_store: Path, small_network: dict[str, Any]
) -> None:
    """Adam's first step moves every weight that has a gradient by the learning rate, nearly."""
    state, batches, config = begin(small_store, small_network | {"warmup_kimg": 0.016})
    before = copy.deepcopy(state.denoiser.state_dict())
    step = next(train_steps(state, batches, config, ALONE))
    assert step.lr == pytest.approx(config.lr * 8 / 16)
    moved = max(
        float((value - before[name]).abs().max())
        for name, value in state.denoiser.state_dict().items()
    )
    assert moved == pytest.approx(step.lr, rel=1e-3)


def test_learning_rate_rises_linearly_then_stays() -> None:
    config = TrainConfig.make({"total_kimg": 1, "batch": 100, "lr": 1.0, "warmup_kimg": 1.0})
    rates = [learning_rate(nimg, config) for nimg in (0, 400, 900, 5000)]
    assert rates == pytest.approx([0.1, 0.5, 1, 1])


def test_non_finite_gradients_are_mended_and_counted() -> None:
    weight = nn.Parameter(torch.zeros(5))
    weight.grad = torch.tensor([1.0, math.nan, math.inf, -math.inf, -2.0])
    norm, mended = mend_gradients([weight])
    assert not math.isfinite(norm)
    assert mended == 3
    assert weight.grad.tolist() == [1, 0, 1e5, -1e5, -2]
    weight.grad = torch.tensor([3.0, 4.0, 0, 0, 0])
    assert mend_gradients([weight]) == (5.0, 0)


def test_a_batch_that_cannot_be_shared_is_refused(
    small_store: Path, small_network: dict[str, Any]
) -> None:
    state, batches, config = begin(small_store, small_network)
    steps = train_steps(state, batches, config, World(0, 3, torch.device("cpu")))
    with pytest.raises(UsageError, match="use 6 or 9"):
        next(steps)


def test_a_step_that_is_left_between_two_gradients_changes_nothing(
    small_store: Path, small_network: dict[str, Any]
) -> None:
    state, batches, config = begin(small_store, small_network)
    steps = train_steps(state, batches, config, ALONE)
    next(steps)
    before = {name: tensor.clone() for name, tensor in state.tensors().items()}
    weights = list(state.denoiser.parameters())

    def leave() -> None:
        if sum(weight.grad is not None for weight in weights) == len(weights) // 2:
            raise KeyboardInterrupt

    with places_to_stop(leave, ALONE.device, weights), pytest.raises(KeyboardInterrupt):
        next(steps)
    assert 0 < sum(weight.grad is None for weight in weights) < len(weights)
    assert all(torch.equal(before[name], tensor) for name, tensor in state.tensors().items())


@pytest.mark.parametrize("value", [1e38, 1e19, -1e12])
def test_a_gradient_whose_square_is_no_number_is_mended(value: float) -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([value, 1.0])
    optimizer = torch.optim.Adam([weight], fused=True)
    assert mend_gradients([weight])[1] == 1
    assert weight.grad.tolist() == [math.copysign(1e5, value), 1]
    optimizer.step()
    assert not_finite(moments(optimizer, nn.ParameterDict({"w": weight}))) == []


def test_too_many_steps_with_numbers_that_are_not_finite_are_trouble() -> None:
    def trouble(bad: str) -> str:
        health = Health()
        for step in bad:
            health.add(step == "x")
        return health.trouble

    assert not trouble("x" * 9 + "." + "x" * 9 + "." * 90)
    assert "10 steps in a row" in trouble("." + "x" * 10)
    assert "of the last 12 steps" in trouble("xxxxxx.xxxxx")
    assert not trouble(".." * 20 + "x." * 50)
    assert "51 of the last 100" in trouble("x." * 49 + "xx")
