"""How a network is computed: memory of the process, layout, precision, compilation.

A convolution sums faster over channels that lie side by side, a GPU multiplies bf16 many times as
fast as float32, and a compiler joins what lies between two convolutions into one pass over memory.
Invariant: `ComputePlan` names all that changes the bits of an image on one kind of device; the
number of threads, the memory and the time do not.
"""

import contextlib
import ctypes
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from echosweep import machine
from echosweep.errors import UsageError
from echosweep.threads import use_best_threads

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, Arm
_CALLS_WORTH_COMPILING = 5000  # compiling takes a minute or more, and saves 10 ms or so a call


def prepare_process() -> None:
    """Prepare this process for tight loops of equal shapes: its threads and its memory."""
    use_best_threads()
    keep_memory()


def keep_memory() -> None:
    """Keep freed memory in this process (mallopt(3) of glibc; nothing elsewhere).

    A step frees and asks for the same hundreds of megabytes again and again; by default they go
    back to the kernel each time, which hands them out again zeroed, 4 KiB at a time. Memory
    that was used once is given back when the process ends.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)


class ComputePlan(NamedTuple):
    """What decides the bits of an image, besides weights, seed and kind of device."""

    precision: str  # fp32, tf32 or bf16
    compiled: bool


def choose_precision(asked: str, device: torch.device) -> str:
    """Return fp32, tf32 or bf16; auto is bf16 on a GPU, fp32 on a CPU.

    Raises UsageError for what the device can only imitate: that is slower and less exact.
    """
    if asked == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    if device.type == "cpu" and asked == "tf32":
        raise UsageError("--precision tf32 needs a GPU; choose fp32 or auto")
    if device.type == "cpu" and asked == "bf16" and not (_BF16_FLAGS & machine.cpu_flags()):
        raise UsageError(
            "--precision bf16: this CPU does not compute in it (no avx512_bf16, no amx_bf16) and "
            "would be slower, not faster; choose fp32 or auto"
        )
    return asked


def worth_compiling(asked: str, device: torch.device, calls: float) -> bool:
    """Say whether to compile for that many calls; auto: on a GPU, from 5,000 calls on."""
    if asked != "auto":
        return asked == "on"
    has_compiler = importlib.util.find_spec("triton") is not None
    return device.type == "cuda" and has_compiler and calls >= _CALLS_WORTH_COMPILING


@contextlib.contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """Compute within in that precision: bf16 by autocast, tf32 in products of float32 on a GPU."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "fp32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def prepare(network: nn.Module, precision: str = "fp32") -> None:
    """Lay a network out for inference, in place: channels-last; under bf16 its weights are bf16.

    Autocast would cast frozen weights anew at every call; those of a convolution or a linear layer
    are cast here once, to the same values.
    """
    to_channels_last(network)
    if precision == "bf16":
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)


def to_channels_last(module: nn.Module) -> None:
    """Lay out the kernels of convolutions, and so what they return, with the channels last."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def compile_network(
    network: nn.Module, trial: Callable[[], object], mode: str | None = None
) -> bool:
    """Compile a network in place for the shapes that `trial` calls it with; say whether it worked.

    mode: of `torch.compile`. Where the compiler fails the network stays as it was, with a warning.
    """
    network.compile(dynamic=False, mode=mode)
    try:
        trial()
    except Exception as error:
        network._compiled_call_impl = None  # `nn.Module.compile` has no inverse
        reason = str(error).strip().split("\n")[0]
        warnings.warn(
            f"the network is not compiled ({type(error).__name__}: {reason}); it is computed as "
            "it is, slower; --compile off does not try",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True
