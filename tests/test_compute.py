import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from echosweep import compute
from echosweep.build import build_denoiser, build_sampler, load_model
from echosweep.commands.train import train
from echosweep.config import SampleConfig, TrainConfig
from echosweep.data.store import FrameStore, Preparation
from echosweep.diffusion.denoiser import Denoiser, denoising_loss
from echosweep.distributed import World
from echosweep.errors import UsageError
from echosweep.sampling import draw_images, fixed_batches
from echosweep.training import checkpoint
from echosweep.training.batches import load_batches
from echosweep.training.estimate import activation_bytes, fitting_micro_batch
from echosweep.training.loop import TrainState, train_steps, try_pass
from echosweep.training.passes import largest_part

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)

_FAULTS = """
import resource, torch
from echosweep.compute import prepare_process

prepare_process()
for _ in range(12):  # the allocator settles on a place
    torch.ones(1 << 24)  # 64 MB: glibc may keep less by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(1 << 24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is tuned")
def test_a_prepared_process_keeps_its_memory() -> None:
    """64 MB, asked for and freed five times: else each time a page fault for every 4 KiB."""
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True)
    assert int(done.stdout) < 5 * (64 << 20) / 4096 / 50, done.stderr


def test_precision_follows_the_device() -> None:
    cuda = torch.device("cuda")
    assert compute.choose_precision("auto", CPU) == compute.choose_precision("fp32", CPU) == "fp32"
    assert compute.choose_precision("auto", cuda) == "bf16"
    assert compute.choose_precision("tf32", cuda) == "tf32"
    with pytest.raises(UsageError, match="tf32 needs a GPU; choose fp32"):
        compute.choose_precision("tf32", CPU)


def test_a_cpu_that_lacks_bf16_is_not_asked_to_imitate_it() -> None:
    words = Path("/proc/cpuinfo").read_text().split() if sys.platform == "linux" else []
    if {"avx512_bf16", "amx_bf16", "bf16"} & set(words):
        assert compute.choose_precision("bf16", CPU) == "bf16"
    else:
        with pytest.raises(UsageError, match="this CPU does not compute in it"):
            compute.choose_precision("bf16", CPU)


@pytest.mark.parametrize(
    ("asked", "device", "calls", "expected"),
    [("on", CPU, 1, True), ("off", torch.device("cuda"), 1e9, False), ("auto", CPU, 1e9, False)],
)
def test_a_cpu_compiles_where_it_is_asked_to(
    asked: str, device: torch.device, calls: float, expected: bool
) -> None:
    assert compute.worth_compiling(asked, device, calls) is expected


@pytest.fixture
def denoiser(small_run: Path) -> Denoiser:
    return load_model(small_run)


def test_weights_cast_once_give_the_bits_of_weights_cast_at_every_call(denoiser: Denoiser) -> None:
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    exact = denoiser(x, 1.0)
    compute.prepare(denoiser.network)
    with compute.arithmetic("bf16", CPU):
        cast_at_every_call = denoiser(x, 1.0)
        compute.prepare(denoiser.network, "bf16")
        assert denoiser.network.head.weight.dtype == torch.bfloat16
        assert torch.equal(denoiser(x, 1.0), cast_at_every_call)
    assert not torch.equal(exact, cast_at_every_call)
    assert torch.allclose(exact, cast_at_every_call, atol=0.05)


def test_arithmetic_ends_with_its_context() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with compute.arithmetic("tf32", CPU):
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
    with compute.arithmetic("fp32", CPU):
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.is_autocast_enabled("cpu")
    assert before == (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)


def test_a_prepared_network_is_the_same_function(denoiser: Denoiser) -> None:
    sampler = build_sampler(SampleConfig(steps=4), denoiser.framework)
    plain = draw_images(denoiser, range(5), sampler)
    compute.prepare(denoiser.network)
    fast = draw_images(denoiser, range(5), sampler)
    assert denoiser.network.head.weight.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(plain.astype(int) - fast).max() <= 1
    alone = draw_images(denoiser, [3], sampler)
    assert np.array_equal(alone[0], fast[3])


def network_to_compile() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU()]
    return nn.Sequential(*layers, nn.Conv2d(8, 1, 3, padding=1)).eval().requires_grad_(False)


def test_a_compiled_network_is_the_same_function_of_each_image() -> None:
    network, x = network_to_compile(), torch.randn(9, 1, 8, 8)
    expected = network(x)
    assert compute.compile_network(network, lambda: network(torch.zeros(4, 1, 8, 8)))
    call = fixed_batches(network, 4)
    together = call(x)
    assert torch.allclose(together, expected, atol=1e-6)
    assert all(torch.equal(call(x[i : i + 1])[0], together[i]) for i in range(9))
    assert network.state_dict().keys() == network_to_compile().state_dict().keys()


def test_a_compiler_that_fails_leaves_the_network_as_it_was() -> None:
    network, x = network_to_compile(), torch.randn(2, 1, 8, 8)
    expected = network(x)

    def trial() -> None:
        raise RuntimeError("no compiler\nand a long story")

    with pytest.warns(RuntimeWarning, match=r"is not compiled \(RuntimeError: no compiler\)"):
        assert not compute.compile_network(network, trial)
    assert torch.equal(network(x), expected)


@given(share=st.integers(1, 300), most=st.integers(1, 300), room=st.integers(0, 300))
def test_a_part_is_the_largest_that_fits_and_divides(share: int, most: int, room: int) -> None:
    part = largest_part(share, most, lambda images: images <= room)
    assert share % part == 0
    better = [n for n in range(part + 1, min(share, most, room) + 1) if share % n == 0]
    assert not better
    assert part == 1 or part <= min(most, room)


def begin(store: Path, settings: dict[str, Any]) -> tuple[TrainState, TrainConfig, Any]:
    config, opened = TrainConfig.make({"total_kimg": 1, **settings}), FrameStore.open(store)
    torch.manual_seed(config.seed)
    state = TrainState.new(build_denoiser(config, opened.preparation), config)
    return state, config, load_batches(opened, config, CPU)


def test_passes_fit_the_memory_that_a_cpu_has(
    small_store: Path, small_network: dict[str, Any]
) -> None:
    state, config, _ = begin(small_store, small_network)
    image = activation_bytes(state.denoiser)
    weights = 4 * sum(p.numel() for p in state.denoiser.parameters())

    def fitting(free: float) -> int:
        return fitting_micro_batch(state, config, 8, 8, CPU, free=free)

    assert fitting(free=4 / 3 * (3 * weights + 11 * image)) == 8  # a quarter is for others
    assert fitting(free=3 * weights + 11 * image) == 4
    assert fitting(free=4 / 3 * (3 * weights + 6 * image)) == 4
    assert fitting(free=1) == 1
    assert fitting_micro_batch(state, config, 8, 2, CPU) == 2


@pytest.mark.parametrize("network", ["ncsnpp-tiny", "adm-tiny"])
def test_bytes_of_a_pass_are_those_that_it_keeps(network: str) -> None:
    """Wide enough for Winograd's form, and with attention; counted on real tensors."""
    settings = {"network": network, "model_channels": 96, "total_kimg": 1}
    denoiser = build_denoiser(TrainConfig.make(settings), Preparation((16, 16)))
    own = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> None:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()

    y = torch.zeros(1, 1, 16, 16)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
        _loss = denoising_loss(denoiser, y, torch.ones(1), torch.zeros_like(y))
    counted = sum(storage.nbytes() for place, storage in kept.items() if place not in own)
    assert activation_bytes(denoiser) == counted > 1e6


def test_a_run_remembers_its_passes(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    short = {**small_network, "grid_images": 0, "total_kimg": 0.016}
    train(small_store, tmp_path, **short, micro_batch=2)
    train(small_store, tmp_path, **short | {"total_kimg": 0.032})
    state = max((tmp_path / "state").glob("*.json")).with_suffix("")
    assert checkpoint.read_facts(state)["micro_batch"] == 2


def test_a_tried_pass_leaves_no_gradient(small_store: Path, small_network: dict[str, Any]) -> None:
    state, config, _ = begin(small_store, small_network)
    try_pass(state.denoiser, 2, config, CPU)
    assert all(weight.grad is None for weight in state.denoiser.parameters())


def test_moments_follow_their_weights_into_channels_last(
    small_store: Path, small_network: dict[str, Any]
) -> None:
    """Adam walks through a weight and its moments in memory: in other orders it would mix them."""
    state, config, batches = begin(small_store, small_network | {"dropout": 0.0})
    state.to_channels_last()
    steps = train_steps(state, batches, config, ALONE)
    for _ in range(3):
        next(steps)
    plain = torch.contiguous_format  # as files have them
    saved = {k: v.clone(memory_format=plain) for k, v in state.tensors().items()}
    resumed, _, _ = begin(small_store, small_network | {"dropout": 0.0})
    resumed.load(saved)
    resumed.nimg = state.nimg
    resumed.to_channels_last()
    next(steps)
    next(train_steps(resumed, batches, config, ALONE))
    pairs = zip(state.denoiser.parameters(), resumed.denoiser.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
