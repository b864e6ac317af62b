"""Adam's moments under the names of the weights that they belong to, for checkpoints."""

import torch
from torch import Tensor, nn


def moments(optimizer: torch.optim.Adam, module: nn.Module) -> dict[str, Tensor]:
    """Return the optimizer's state of the module's parameters as tensors, adam.KEY.PARAMETER."""
    return {
        f"adam.{key}.{name}": value
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_moments(
    optimizer: torch.optim.Adam, module: nn.Module, tensors: dict[str, Tensor]
) -> None:
    """Take over what `moments` returned; parameters that have none are left alone."""
    for name, parameter in module.named_parameters():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if (moment := tensors.get(f"adam.{key}.{name}")) is not None:
                optimizer.state[parameter][key] = moment.to(parameter.device)
