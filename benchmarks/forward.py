"""A network's forward pass at 64 px beside what a user would pick instead.

physicsnemo has the same networks; those of diffusers and denoising-diffusion-pytorch are of like
size. Invariant: every side sees the same number of images in evaluation mode, without gradients.
"""

from pathlib import Path

import torch

import nets
from beside import beside
from echosweep import compute
from nets import Net
from pairs import Built, Options, Row, Work

SIZE = 64


def rows(options: Options) -> list[Row]:
    """Return the rows of ADM and NCSN++ against physicsnemo, of DDPM++ against the others."""
    images = 1 if options.quick else 4
    adm, ncsnpp = (
        against(twin.network, {}, images, SIZE, options, nets.physicsnemo, twin)
        for twin in (nets.ADM, nets.NCSNPP)
    )
    likes = [
        against("ddpmpp-small", nets.LIKE, images, SIZE, options, build) for build in nets.LIKES
    ]
    plain = against("ddpmpp-small", nets.LIKE, images, SIZE, options, our_plain_network)
    return [adm._replace(bar=1.4, share_bar=0.8), ncsnpp._replace(bar=1.4), *likes, plain]


def against(
    network: str,
    settings: dict[str, int],
    images: int,
    size: int,
    options: Options,
    build: nets.Build,
    *args: object,
) -> Row:
    """Return the row of a network of ours against a peer's."""
    ours = (our_forward, images, size, network, settings)
    peer = (forward, images, size, build, *args, options.peers)
    return beside(f"forward pass, {size} px", images, 1, options, ours, peer)


def our_forward(images: int, size: int, network: str, settings: dict[str, int]) -> Built:
    """Return a forward pass of ours."""
    compute.keep_memory()
    net = nets.ours(size, network, settings)
    compute.prepare(net.module)
    return passing(net, images, size), nets.facts(net, size)


def our_plain_network(size: int, folder: Path) -> Net:
    """Return a network of ours, prepared as ours is, with plain convolutions."""
    compute.keep_memory()
    net = nets.plain(size, "ddpmpp-small", nets.LIKE)
    compute.prepare(net.module)
    return net


def forward(images: int, size: int, build: nets.Build, *args: object) -> Built:
    """Return a forward pass of a peer."""
    net = build(size, *args)
    return passing(net, images, size), nets.facts(net, size)


def passing(net: Net, images: int, size: int) -> Work:
    """Return a forward pass of `images` in evaluation mode."""
    net.module.eval().requires_grad_(False)
    x, c_noise = torch.randn(images, 1, size, size), torch.rand(images)

    @torch.no_grad()
    def work() -> None:
        net.call(x, c_noise)

    return work
