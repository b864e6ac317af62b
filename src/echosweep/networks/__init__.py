"""Networks: `F(x, c_noise, labels=None)`, the trainable part of a denoiser.

To add one, write `networks/mine.py` and name it here: the command line, the config check and the
conformance tests follow. Invariant: each value of `NETWORKS` is a function of the image's size and
channels alone; everything else has a default.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from echosweep.networks.adm_unet import adm
from echosweep.networks.song_unet import ddpmpp, ncsnpp
from echosweep.networks.unet import UNet
from echosweep.registry import Registry

__all__ = ["NETWORKS", "Preset", "UNet", "adm", "ddpmpp", "describe", "ncsnpp"]


# (resolution, in_channels, out_channels, label_dim=0, dropout=0.0, **widths and depths) -> network
Preset = Callable[..., nn.Module]

_TINY: dict[str, Any] = {
    "model_channels": 16,
    "channel_mult": (1, 2, 4),
    "num_blocks": 1,
    "attention_factors": (4,),
}
_SMALL: dict[str, Any] = {
    "model_channels": 64,
    "channel_mult": (1, 2, 2, 2),
    "num_blocks": 3,
    "attention_factors": (4,),
}

NETWORKS: Mapping[str, Preset] = Registry(
    "networks",
    {
        "adm": adm,
        "adm-small": partial(adm, **_SMALL | {"attention_factors": (4, 8)}),
        "adm-tiny": partial(adm, **_TINY, num_heads=1),
        "ddpmpp": ddpmpp,
        "ddpmpp-64": partial(ddpmpp, channel_mult=(1, 2, 2, 2)),
        "ddpmpp-small": partial(ddpmpp, **_SMALL),
        "ddpmpp-tiny": partial(ddpmpp, **_TINY),
        "ncsnpp": ncsnpp,
        "ncsnpp-64": partial(ncsnpp, channel_mult=(1, 2, 2, 2)),
        "ncsnpp-small": partial(ncsnpp, **_SMALL),
        "ncsnpp-tiny": partial(ncsnpp, **_TINY),
    },
)


def describe(network: nn.Module) -> dict[str, int]:
    """Return parameters, attention blocks and multiply-adds of one image's forward pass.

    Nothing is computed: the network runs on the meta device, where tensors have shapes only.
    """
    net: Any = network
    meta = {name: t.to("meta") for name, t in network.state_dict().items()}
    x = torch.empty(1, net.in_channels, *net.resolution, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        functional_call(network, meta, (x, torch.empty(1, device="meta")))
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "attention_blocks": net.num_attention_blocks,
        "multiply_adds": counter.get_total_flops() // 2,
    }
