"""Speckle and sharpness: the power spectrum, the autocorrelation and the SNR of each image.

Fully developed speckle has a Rayleigh envelope, SNR = mean / standard deviation = 1.91, and is as
wide as the resolution cell (Wagner et al. 1983); a display shows its logarithm, whose SNR differs.
Invariant: speckle is measured inside the sector alone; the spectrum is the whole image's.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from echosweep.evaluation.echo_sector import Images, Masks, local_mean, neighbourhood

WINDOW = 8  # pixels: the side of a window in which SNR is measured
EVEN = 0.25  # of a window's mean: its halves differ by less, or it is not homogeneous
RANGE_DB = 60.0  # what black to white is taken to span where the compression is undone
_CORNER = 0.66  # cycles a pixel: rings beyond hold too few frequencies and are one band
_ROUNDING = 1 / 12  # the variance of rounding to whole grey levels

Floats = NDArray[np.float64]


def spectra(images: Images) -> Floats:
    """Return the power of each image (N, H, W) by `frequencies`, (N, bands), in dB.

    Under a Hann window, without the mean; white noise of variance v has 10 lg(v + 1/12) throughout.
    """
    x, hann = torch.from_numpy(images), _hann(images.shape[1:])
    mean = (x * hann).sum((1, 2), keepdim=True) / hann.sum()
    power = torch.fft.fft2((x - mean) * hann).abs().square() / hann.square().sum()
    in_bands = power.flatten(1) @ _bands(images.shape[1:])
    decibels: Floats = 10 * np.log10(in_bands.double().numpy() + _ROUNDING)
    return decibels


def frequencies(shape: tuple[int, ...]) -> Floats:
    """Return the frequency of each band of `spectra` in cycles a pixel; the last is the corners."""
    return np.arange(1, 1 + _bands(shape).shape[1]) / min(shape)


def texture(images: Images, inside: Masks, around: Images) -> Images:
    """Return images (N, H, W) less their local mean `around`, over their local deviation.

    So a bright wall does not drown the speckle. Outside the sector it is 0.
    """
    detrended: Images = np.where(inside, images - around, 0)
    variance = local_mean(detrended**2, inside, neighbourhood(images.shape))
    return (detrended / np.sqrt(variance + 1)).astype(np.float32)


def autocorrelation(texture: Images, inside: Masks, axis: int) -> Floats:
    """Return the autocorrelation (N, lags) along `axis` (1 axial, 2 lateral), 1 at lag 0.

    Lags go up to half the neighbourhood that was detrended. All are 0 where there is no texture.
    """
    values, weights = (np.moveaxis(x, axis, 0) for x in (texture, inside.astype(np.float32)))
    length, found = len(values), []
    for lag in range(neighbourhood(texture.shape) // 2 + 1):
        product, pairs = (
            np.einsum("ink,ink->n", x[lag:], x[: length - lag], dtype=np.float64)
            for x in (values, weights)
        )
        found.append(product / np.maximum(pairs, 1))
    power = np.stack(found, 1)
    return power / np.where(power[:, :1] > 0, power[:, :1], 1)


def half_width(correlation: Floats) -> Floats:
    """Return the full width at half maximum (N,) in pixels of curves (N, lags) that are 1 at 0.

    Linear between lags; NaN where a curve stays above a half. White noise has 1 pixel, white
    noise under a Gaussian filter of sigma pixels 4 sqrt(ln 2) sigma.
    """
    below, row = correlation < 0.5, np.arange(len(correlation))
    after = np.maximum(below.argmax(1), 1)
    high, low = correlation[row, after - 1], correlation[row, after]
    crossed = below.any(1)
    step = np.where(crossed, high - low, 1)
    return np.where(crossed, 2 * (after - 1 + (high - 0.5) / step), np.nan)


def speckle_terms(images: Images, inside: Masks) -> Floats:
    """Return sums over homogeneous windows (N, 3): of (std / mean)^2, twice, and their number.

    First of grey levels, then of the envelope 10^(RANGE_DB / 20 (grey / 255 - 1)) behind them.
    A window is 8 x 8 pixels, all inside the sector, none black or saturated; the means of its
    halves, left and right, top and bottom, differ by less than a quarter of its mean.
    """
    grey = _windows(images)
    mean, half = grey.mean((2, 3)), WINDOW // 2
    tilt = np.maximum(
        np.abs(grey[:, :, :half].mean((2, 3)) - grey[:, :, half:].mean((2, 3))),
        np.abs(grey[..., :half].mean((2, 3)) - grey[..., half:].mean((2, 3))),
    )
    good = _windows(inside).all((2, 3)) & (grey.min((2, 3)) > 0) & (grey.max((2, 3)) < 255)
    good &= tilt < EVEN * mean
    envelope = 10 ** (RANGE_DB / 20 * (grey / 255 - 1))
    noise = [np.where(good, _squared_variation(x), 0).sum(1) for x in (grey, envelope)]
    return np.stack([*noise, good.sum(1)], 1)


def _squared_variation(windows: NDArray[np.floating]) -> Floats:
    mean = windows.mean((2, 3))
    ratio: Floats = windows.var((2, 3), ddof=1) / np.maximum(mean, np.finfo(np.float32).tiny) ** 2
    return ratio


def _windows(images: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the windows (N, windows, WINDOW, WINDOW) that tile the images from the top left."""
    count, height, width = images.shape
    rows, columns = height // WINDOW, width // WINDOW
    cut = images[:, : rows * WINDOW, : columns * WINDOW].astype(np.float64)
    tiles = cut.reshape(count, rows, WINDOW, columns, WINDOW).swapaxes(2, 3)
    return tiles.reshape(count, rows * columns, WINDOW, WINDOW)


def _hann(shape: tuple[int, ...]) -> torch.Tensor:
    rows, columns = (torch.hann_window(size, periodic=False) for size in shape)
    return torch.outer(rows, columns)


@lru_cache(maxsize=4)
def _bands(shape: tuple[int, ...]) -> torch.Tensor:
    """Return weights (H * W, bands) that average a spectrum over rings 1 / min(H, W) wide."""
    radius = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))
    ring = torch.from_numpy(np.rint(radius.clip(max=_CORNER) * min(shape)).astype(np.int64).ravel())
    member = torch.nn.functional.one_hot(ring)[:, 1:].float()
    return member / member.sum(0)
