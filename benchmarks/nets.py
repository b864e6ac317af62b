"""Networks of ours, and what a user would pick instead.

physicsnemo has the same networks: the same arguments give the same parameters and arithmetic. Of
diffusers and denoising-diffusion-pytorch we take ones of like size, which do a little less.
Invariant: every network is called alike, F(x, c_noise), whatever its own arguments are.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import peers
from echosweep.networks import NETWORKS, UNet, describe
from echosweep.networks.winograd import Conv2d


class Net(NamedTuple):
    """A network and how it is called. name: whose, and which."""

    name: str
    module: nn.Module
    call: Callable[[Tensor, Tensor], Tensor]


Build = Callable[..., Net]  # (size, ...)


class Facts(NamedTuple):
    """What a network is. flops: of one image's forward pass."""

    name: str
    parameters: int
    flops: float


class Twin(NamedTuple):
    """A network of ours by its name, and physicsnemo's class and arguments for the same.

    factors: the downsampling factors with attention; theirs are sizes in pixels.
    """

    network: str
    peer: str
    factors: tuple[int, ...]
    arguments: dict[str, Any]


ADM = Twin("adm", "DhariwalUNet", (2, 4, 8), {})
NCSNPP = Twin(
    "ncsnpp",
    "SongUNet",
    (4,),
    {
        "channel_mult": [2, 2, 2],
        "embedding_type": "fourier",
        "encoder_type": "residual",
        "channel_mult_noise": 2,
        "resample_filter": [1, 3, 3, 1],
    },
)
DROPOUT = 0.05
# Ours beside networks that have no twin here: 28.5 M parameters.
LIKE = {"model_channels": 96}


def ours(size: int, network: str, settings: dict[str, int]) -> Net:
    """Return a network of ours for grey images."""
    module = NETWORKS[network](size, 1, 1, **settings)
    return Net(network, module, module)


def plain(size: int, network: str, settings: dict[str, int]) -> Net:
    """Return the same network with every convolution in PyTorch's own form."""
    net = ours(size, network, settings)
    for layer in net.module.modules():
        if isinstance(layer, Conv2d):
            layer.forward = partial(nn.Conv2d.forward, layer)  # type: ignore[method-assign]
    return net._replace(name=f"{network}, plain convolutions")


def physicsnemo(size: int, twin: Twin, folder: Path) -> Net:
    """Return physicsnemo's network of the same arguments as ours."""
    peers.add(folder / "physicsnemo", peers.PHYSICSNEMO, peers.NO_PHYSICS)
    unets = import_module("physicsnemo.models.diffusion_unets")
    attention = [size // factor for factor in twin.factors]
    arguments = {"attn_resolutions": attention, "dropout": DROPOUT, **twin.arguments}
    module = getattr(unets, twin.peer)(size, 1, 1, **arguments)
    name = f"{peers.version(peers.PHYSICSNEMO)} {twin.peer}"
    return Net(name, module, lambda x, c_noise: module(x, c_noise, None))


def diffusers(size: int, folder: Path) -> Net:
    """Return a U-Net of diffusers with attention at the third of four levels, one head."""
    peers.add(folder / "diffusers", peers.DIFFUSERS, peers.NO_HUB)
    down, up, attention = ("DownBlock2D",), ("UpBlock2D",), ("AttnDownBlock2D", "AttnUpBlock2D")
    module = import_module("diffusers").UNet2DModel(
        size,
        1,
        1,
        block_out_channels=(96, 192, 192, 192),
        layers_per_block=3,
        down_block_types=(*down * 2, attention[0], *down),
        up_block_types=(*up, attention[1], *up * 2),
        attention_head_dim=192,
    )
    name = f"{peers.version(peers.DIFFUSERS)} UNet2DModel"
    return Net(name, module, lambda x, c_noise: module(x, c_noise).sample)


def denoising(size: int, folder: Path) -> Net:
    """Return a U-Net of denoising-diffusion-pytorch, its width and depth as they come."""
    peers.add(folder / "denoising", peers.DENOISING, peers.NO_TRAINER)
    module = import_module("denoising_diffusion_pytorch").Unet(
        128, dim_mults=(1, 2, 2, 2), channels=1
    )
    return Net(f"{peers.version(peers.DENOISING)} Unet", module, module)


LIKES = (diffusers, denoising)


def facts(net: Net, size: int) -> Facts:
    """Return what a network is; its arithmetic is counted in a pass of one image.

    Of ours in the plain form, whatever form is faster here.
    """
    parameters = sum(p.numel() for p in net.module.parameters())
    if isinstance(net.module, UNet):
        return Facts(net.name, parameters, 2 * describe(net.module)["multiply_adds"])
    device = next(net.module.parameters()).device
    x, c_noise = torch.zeros(1, 1, size, size, device=device), torch.zeros(1, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.call(x, c_noise)
    return Facts(net.name, parameters, counter.get_total_flops())


def alike(ours: Facts, theirs: Facts) -> str:
    """Say how alike two networks are."""
    if ours.parameters == theirs.parameters:
        return f"{ours.parameters:,} parameters each"
    sizes = (f"{f.parameters / 1e6:.1f} M, {f.flops / 1e9:.1f} GFLOP" for f in (ours, theirs))
    return "parameters and arithmetic of an image: ours {}; theirs {}".format(*sizes)
