"""How a step is cut into passes, and where a pass can be left: for lack of memory, or to stop.

Invariant: a step that was begun anew with smaller passes is the step of a run that had these.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

Check = Callable[[], object]  # raises where the work is to end


def go_on() -> None:
    """Never end: the default of every `check`."""


def largest_part(share: int, most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest divisor of `share` that is at most `most` and fits, or 1."""
    parts = [n for n in range(min(share, most), 0, -1) if share % n == 0]
    return next((n for n in parts if n == 1 or fits(n)), 1)


def out_of_memory(error: BaseException) -> bool:
    """Say whether this is how Python, or PyTorch on a CPU or GPU, lacks memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("not enough memory", "can't allocate memory", "DefaultCPUAllocator", "bad_alloc")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@contextlib.contextmanager
def places_to_stop(
    check: Check, device: torch.device, weights: Iterable[nn.Parameter] = ()
) -> Iterator[None]:
    """Call `check` before each module computes, and as each weight gets its gradient, within.

    On a CPU alone: there one pass over a batch may take minutes.
    """
    if device.type != "cpu":
        yield
        return

    def look(*_: object) -> None:
        check()

    with contextlib.ExitStack() as hooks:
        hooks.callback(register_module_forward_pre_hook(look).remove)
        for weight in weights:
            hook = weight.register_post_accumulate_grad_hook(look)  # type: ignore[no-untyped-call]
            hooks.callback(hook.remove)
        yield
