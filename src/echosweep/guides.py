"""From a config to guidance: discriminators and weaker models loaded, their weights bound.

Invariant: what cannot guide the model (other images, other classes, no such setting) is refused
before the first image is drawn.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echosweep import compute
from echosweep.build import load_discriminator, load_model, model_path
from echosweep.config import SampleConfig, guidance_weights
from echosweep.diffusion.denoiser import Denoiser, DenoiserLike
from echosweep.diffusion.guidance import (
    WEIGHTINGS,
    BatchDenoisers,
    Boost,
    Guide,
    Interval,
    Measured,
    Weight,
    autoguidance,
    discriminator,
    unguided,
    value_and_gradient,
)
from echosweep.diffusion.schedule import vp_sigma
from echosweep.errors import UsageError
from echosweep.sampling import FixedBatch, chunk, fixed_batches
from echosweep.training import checkpoint

_Interval = tuple[float, float]


def build_guide(config: SampleConfig, denoiser: Denoiser) -> Guide:
    """Return what guides `denoiser` under a config, to be called for each batch of images.

    Raises UsageError for a guidance that does not fit the model.
    """
    if config.guidance is None:
        return unguided
    facts = checkpoint.read_facts(model_path(config.guidance))
    build = _by_discriminator if facts.get("kind") == "discriminator" else _by_weaker_model
    return build(config, denoiser, str(next(denoiser.parameters()).device))


def check_guides(guidance: Path, model: str) -> None:
    """Raise UsageError for a discriminator of another model than that of SHA-256 `model`."""
    guides = checkpoint.read_facts(model_path(guidance)).get("guides", {}).get("sha256", model)
    if guides != model:
        raise UsageError(
            f"{guidance} guides the model with SHA-256 {guides[:12]}..., not {model[:12]}...: it "
            "was trained for another model and knows what that one gets wrong. Give the run that "
            "it was trained for, or train one for this run with `echosweep discriminate`"
        )


def published_interval() -> _Interval:
    """Return sigma at VP's times 0.01 and 1, between which Kim et al. 2023 guide."""
    low, high = vp_sigma(torch.tensor([0.01, 1.0], dtype=torch.float64)).tolist()
    return low, high


def _by_discriminator(config: SampleConfig, denoiser: Denoiser, device: str) -> Guide:
    log_ratio, facts = load_discriminator(str(config.guidance), device)
    height, width = facts["guides"]["preparation"]["size"]
    _check_shape(config, (facts["guides"]["preparation"]["channels"], height, width), denoiser)
    interval = _interval(config, published_interval())
    weigh = _weights(config, interval, Measured(facts["accuracy"], facts["best_weight"]))
    w1, w2 = guidance_weights(config.w1, config.w2, discriminator=True)
    # A gradient keeps every layer: of half as many images it takes no more memory than D does.
    evaluate = fixed_batches(value_and_gradient(log_ratio), chunk(device) // 2)

    def guided(plain: DenoiserLike, w: float, boost: Boost | None) -> DenoiserLike:
        if w == 0:
            return plain
        inside = discriminator(plain, evaluate, weigh(w), boost)
        return Interval(plain, inside, *interval)

    def guide(plain: DenoiserLike) -> BatchDenoisers:
        boost = Boost(*interval) if config.boost and w1 else None
        churned = boost.churned if boost else None
        return BatchDenoisers(guided(plain, w1, boost), guided(plain, w2, None), churned)

    return guide


def _by_weaker_model(config: SampleConfig, denoiser: Denoiser, device: str) -> Guide:
    weak = load_model(str(config.guidance), device)
    precision = compute.choose_precision(config.precision, torch.device(device))
    compute.prepare(weak.network, precision)
    _check_shape(config, weak.image_shape, denoiser)
    if weak.label_dim != denoiser.label_dim:
        raise UsageError(
            f"--guidance {config.guidance} knows {weak.label_dim} classes, the model "
            f"{denoiser.label_dim}; guide with a model of the same classes"
        )
    if config.boost or config.weighting in ("accuracy", "error"):
        raise UsageError(
            f"--guidance {config.guidance} is a model; --boost, --weighting accuracy and error go "
            "by a discriminator: leave them out, or guide with what `echosweep discriminate` made"
        )
    interval = _interval(config, (denoiser.sigma_min, denoiser.sigma_max))
    weigh = _weights(config, interval, Measured())
    w1, w2 = guidance_weights(config.w1, config.w2, discriminator=False)
    fixed = FixedBatch(weak, chunk(device))

    def guided(plain: DenoiserLike, w: float) -> DenoiserLike:
        if w == 0:
            return plain
        inside = autoguidance(plain, fixed, weigh(w))
        return Interval(plain, inside, *interval)

    return lambda plain: BatchDenoisers(guided(plain, w1), guided(plain, w2))


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _interval(config: SampleConfig, default: _Interval) -> _Interval:
    low, high = _or(config.guidance_min, default[0]), _or(config.guidance_max, default[1])
    if low >= high:
        raise UsageError(
            f"no noise level is guided from {low:g} to {high:g}; give --guidance-min and "
            "--guidance-max, the first below the second"
        )
    return low, high


def _weights(
    config: SampleConfig, interval: _Interval, measured: Measured
) -> Callable[[float], Weight]:
    """Return w -> (sigma -> w times the scale, times the share that the weighting gives)."""
    share = WEIGHTINGS[config.weighting or "constant"]

    def weigh(w: float) -> Weight:
        factor = w * _or(config.guidance_scale, 1.0)

        def weight(sigma: Tensor) -> Tensor:
            return factor * share(sigma, interval, measured)

        return weight

    return weigh


def _check_shape(config: SampleConfig, shape: tuple[int, int, int], denoiser: Denoiser) -> None:
    if shape != denoiser.image_shape:
        raise UsageError(
            f"--guidance {config.guidance} is for images of (channels, height, width) {shape}, the "
            f"model makes {denoiser.image_shape}; guide with one made for this model"
        )


def describe(config: SampleConfig) -> Mapping[str, Any]:
    """Return the sample settings as JSON, what guides named by its content, not by its path."""
    settings = config.plain()
    if config.guidance is None:
        return settings
    facts = checkpoint.read_facts(model_path(config.guidance))
    return settings | {"guidance": {"kind": facts.get("kind", "model"), "sha256": facts["sha256"]}}
