"""The denoiser D(x; sigma): a network inside the factors of a framework, and its loss.

D estimates the clean image y from x = y + sigma n. The score, all that sampling needs, is
(D - x) / sigma^2. Invariant: D is combined in float32, whatever the network computes in.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor, nn

from echosweep.diffusion.frameworks import Framework
from echosweep.errors import UsageError


class DenoiserLike(Protocol):
    """What a sampler asks of a denoiser; guidance wraps one and is one."""

    @property
    def sigma_min(self) -> float:
        """The lowest noise level that it can take."""

    @property
    def sigma_max(self) -> float:
        """The highest noise level that it can take."""

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """Return the nearest levels that it can take."""

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return D (N,C,H,W) of x (N,C,H,W) at sigma (N,)."""


class NoiseDraw(NamedTuple):
    """The randomness of one training step: sigma float32 (N,), noise ~ N(0,1) of y's shape."""

    sigma: Tensor
    noise: Tensor


class Denoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) (Karras et al. 2022, equation 7).

    network: F, with attributes in_channels, out_channels, resolution (H, W) and label_dim. Raises
    `UsageError` where its output channels are not those of the framework.
    """

    network: Any  # a module, with attributes that `nn.Module` cannot declare

    def __init__(self, network: nn.Module, framework: Framework, sigma_data: float = 0.5):
        super().__init__()
        self.network, self.framework, self.sigma_data = network, framework, sigma_data
        wanted = self.image_shape[0] * framework.out_channel_factor
        if self.network.out_channels != wanted:
            raise UsageError(
                f"the network has {self.network.out_channels} output channels; {framework.name} on "
                f"images of {self.image_shape[0]} needs {wanted}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one image."""
        height, width = self.network.resolution
        return int(self.network.in_channels), int(height), int(width)

    @property
    def label_dim(self) -> int:
        """The number of classes; 0 if unconditional."""
        return int(self.network.label_dim)

    @property
    def sigma_min(self) -> float:
        """The framework's lowest noise level."""
        return self.framework.sigma_min

    @property
    def sigma_max(self) -> float:
        """The framework's highest noise level."""
        return self.framework.sigma_max

    def round_sigma(self, sigma: Tensor) -> Tensor:
        """Return the nearest levels that the network was trained on, in sigma's shape and dtype."""
        return self.framework.round_sigma(sigma)

    def forward(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """Return D in x's shape and dtype.

        x: (N,C,H,W), float32 or float64. sigma: a number or (N,). labels: one-hot (N,label_dim).
        """
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).expand(len(x))
        factors = self.framework.precondition(sigma, self.sigma_data)
        c_skip, c_out, c_in = (c[:, None, None, None] for c in factors[:3])
        x32 = x.to(torch.float32)
        F_x = self.network(c_in * x32, factors.c_noise, labels)[:, : x.shape[1]]
        D_x: Tensor = c_skip * x32 + c_out * F_x.to(torch.float32)
        return D_x.to(x.dtype)

    def draw_noise(self, y: Tensor, generator: Generator) -> NoiseDraw:
        """Draw sigma and unit noise for the images y from a CPU generator, on y's device."""
        sigma = self.framework.sample_sigma(generator, len(y))
        noise = torch.randn(y.shape, generator=generator)
        return NoiseDraw(sigma.to(y.device), noise.to(y.device))


def denoising_loss(
    denoiser: Denoiser, y: Tensor, sigma: Tensor, noise: Tensor, labels: Tensor | None = None
) -> Tensor:
    """Return w(sigma) (D(y + sigma n; sigma) - y)^2 summed over C, H, W: float32 (N,).

    y: clean images in [-1, 1], (N,C,H,W). sigma (N,), noise (N,C,H,W): from `draw_noise`.
    """
    x = y + sigma[:, None, None, None] * noise
    error: Tensor = (denoiser(x, sigma, labels) - y).square().sum(dim=(1, 2, 3))
    return denoiser.framework.weight(sigma, denoiser.sigma_data) * error
