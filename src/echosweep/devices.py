"""Where tensors are computed: a GPU where there is one, else the CPU, or what the user names."""

import torch

from echosweep import machine
from echosweep.errors import UsageError


def pick_device(name: str | None = None) -> torch.device:
    """Return the device `name`; by default this process's GPU where there is one, else the CPU.

    A GPU comes with its number: LOCAL_RANK where none is given. Raises UsageError if the device
    cannot be used.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"images are not made alike on {device.type}")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", machine.variable("LOCAL_RANK", 0))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UsageError(
            f"device {name!r} cannot be used ({reason}); write cpu or cuda, or leave it out"
        ) from None
    return device
