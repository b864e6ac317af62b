"""Randomness as a function of names, never of order.

A training step draws from (seed, rank, nimg), image i of a sample from seed i alone. So a resumed
run draws what the uninterrupted one would have drawn, and batch size, worker count and order change
no image. Noise is always made on the CPU: devices have generators of their own, images should not.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(*keys: int | str) -> int:
    """Return a 63-bit seed that is a stable function of `keys` (SHA-256 of their text)."""
    text = "\x1f".join(map(str, keys)).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def generator(*keys: int | str) -> "torch.Generator":
    """Return a CPU generator seeded with `derive(*keys)`."""
    import torch

    return torch.Generator().manual_seed(derive(*keys))


class ImageNoise:
    """Standard normal noise for a batch of images, each from a generator of its own.

    Calling it n times gives image i the first n draws of seed i's stream, whatever the batch.
    """

    def __init__(self, seeds: Sequence[int], device: "torch.device | str" = "cpu") -> None:
        self._generators = [generator("image", seed) for seed in seeds]
        self._device = device

    def __call__(self, shape: Sequence[int]) -> "torch.Tensor":
        """Return float64 noise of (len(seeds), *shape)."""
        import torch

        draws = [torch.randn(*shape, generator=g, dtype=torch.float64) for g in self._generators]
        return torch.stack(draws).to(self._device)

    def labels(self, classes: int) -> "torch.Tensor":
        """Return one class index in [0, classes) per image, int64 (N,), from each one's stream."""
        import torch

        draws = [torch.randint(classes, (), generator=g) for g in self._generators]
        return torch.stack(draws).to(self._device)
