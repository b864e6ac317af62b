"""From names in a config to objects: the only file that sees every registry."""

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from echosweep.config import DiscriminatorConfig, FeatureConfig, SampleConfig, TrainConfig
from echosweep.data.store import Preparation
from echosweep.devices import pick_device
from echosweep.diffusion import FRAMEWORKS
from echosweep.diffusion.denoiser import Denoiser
from echosweep.diffusion.discriminators import DISCRIMINATORS, Discriminator, Model, regularise
from echosweep.diffusion.frameworks import Framework
from echosweep.diffusion.samplers import SAMPLERS, Sampler, options
from echosweep.errors import EchoSweepError, UsageError
from echosweep.evaluation import EXTRACTORS
from echosweep.evaluation.features import Extractor, Options
from echosweep.networks import NETWORKS
from echosweep.training import checkpoint


def build_framework(config: TrainConfig) -> Framework:
    """Return the training framework, with the config's settings where it has them."""
    framework = FRAMEWORKS[config.framework]
    return framework.configure(**{name: getattr(config, name) for name in framework.settings})


def build_denoiser(
    config: TrainConfig, preparation: Preparation, classes: Sequence[str] = ()
) -> Denoiser:
    """Return an untrained denoiser for images of that preparation.

    Raises UsageError where the network cannot take the image size, or a setting does not fit it.
    """
    framework, channels = build_framework(config), preparation.channels
    network = NETWORKS[config.network](
        resolution=preparation.size,
        in_channels=channels,
        out_channels=channels * framework.out_channel_factor,
        label_dim=len(classes),
        dropout=config.dropout,
        **_overrides(config),
    )
    return Denoiser(network, framework, sigma_data=config.sigma_data)


def _overrides(config: TrainConfig) -> dict[str, Any]:
    """Return the settings of the network that replace its preset's."""
    names = ("model_channels", "channel_mult", "num_blocks", "attention_factors", "num_heads")
    chosen = {name: getattr(config, name) for name in names}
    given = {name: value for name, value in chosen.items() if value is not None}
    allowed = inspect.signature(NETWORKS[config.network]).parameters
    if wrong := sorted(given.keys() - allowed):
        raise UsageError(f"network {config.network!r} has no {', '.join(wrong)}; leave it out")
    return given


def build_sampler(config: SampleConfig, framework: Framework) -> Sampler:
    """Return the sampler as `(denoiser, latents, noise=..., labels=...)`, its settings bound.

    Raises UsageError for a setting that the sampler does not have.
    """
    given = config.model_dump(
        exclude={
            *("sampler", "steps", "label", "sampler_setting"),
            *(*config.GUIDANCE, *config.COMPUTE),
        },
        exclude_unset=True,
    )
    given = {name: value for name, value in given.items() if value is not None}
    given |= config.settings
    allowed = options(config.sampler)
    if wrong := sorted(given.keys() - allowed):
        raise UsageError(
            f"sampler {config.sampler!r} has no {', '.join(wrong)}; it has {', '.join(allowed)}"
        )
    if config.sampler == "ode":
        given = framework.ode._asdict() | given
    return partial(SAMPLERS[config.sampler], num_steps=config.steps, **given)


def build_extractors(config: FeatureConfig, device: str | None = None) -> list[Extractor]:
    """Return the feature extractors of a config, their weights read.

    Raises UsageError for missing weights, or an option that an extractor or the device has not.
    """
    chosen, precision = config.chosen, config.feature_precision
    if precision == "fp16" and pick_device(device).type == "cpu":
        raise UsageError(
            "--feature-precision fp16 needs a GPU: a CPU would be slower; leave it out"
        )
    extractors = [
        EXTRACTORS[name](
            Options(
                inception=config.inception,
                dinov2=config.dinov2,
                resize=config.resize,
                # With several, the width is Inception's: the others have one only.
                dims=config.dims if name == "inception" or len(chosen) == 1 else None,
                allow_unknown_weights=config.allow_unknown_weights,
                device=device,
            )
        )
        for name in chosen
    ]
    return [replace(extractor, precision=precision) for extractor in extractors]


def build_extractor(config: FeatureConfig, device: str | None = None) -> Extractor:
    """Return the first extractor of a config, for a command that compares images by one."""
    first = config.model_copy(update={"features": config.chosen[:1]})
    return build_extractors(first, device)[0]


def load_model(path: str | Path, device: str = "cpu") -> Denoiser:
    """Return the denoiser D(x, sigma) of a run: its averaged weights, in evaluation mode.

    x is (N, C, H, W) in [-1, 1] plus noise, sigma (N,) or a number.

    Args:
        path: A run's folder, or NAME.safetensors inside it (a snapshot).
        device: Where to put it: cpu, cuda, cuda:1, ...

    Raises:
        UsageError: Where no model is.
        EchoSweepError: Where its file is damaged, or not safetensors.
    """
    tensors, facts = checkpoint.load(model_path(path))
    with _described(path):
        _check_kind(path, facts, "model")
        denoiser = _untrained(facts)
        denoiser.load_state_dict(tensors)
    return denoiser.eval().requires_grad_(False).to(device)


def _untrained(facts: Mapping[str, Any], classes: bool = True) -> Denoiser:
    config, made = TrainConfig.make(facts["config"]), Preparation.from_json(facts["preparation"])
    return build_denoiser(config, made, facts["classes"] if classes else ())


@contextlib.contextmanager
def _described(path: str | Path) -> Iterator[None]:
    """Turn what goes wrong between weights and their description into one error."""
    try:
        yield
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise EchoSweepError(
            f"{path}: the weights are not those that their JSON describes ({reason}); "
            "copy the run again"
        ) from None


def _check_kind(path: str | Path, facts: Mapping[str, Any], wanted: str) -> None:
    found = facts.get("kind", "model")
    if found != wanted:
        made_by = {"model": "train", "discriminator": "discriminate"}[wanted]
        raise UsageError(
            f"{path} holds a {found}, not a {wanted}; give what `echosweep {made_by}` made"
        )


def model_path(path: str | Path) -> Path:
    """Return the checkpoint name that `path` means: RUN -> RUN/model, NAME.safetensors -> NAME."""
    path = Path(path)
    if path.suffix in (".safetensors", ".json"):
        return path.with_suffix("")
    return path / "model"


def build_discriminator(
    config: DiscriminatorConfig,
    guides: Mapping[str, Any],
    tensors: Mapping[str, Tensor] | None = None,
) -> Discriminator:
    """Return an untrained discriminator for the model that `guides` describes.

    guides: config, preparation and classes of the model, as its JSON has them. tensors: its
    weights, for a discriminator that builds on them.
    """

    def trained() -> Denoiser:
        denoiser = _untrained(guides)
        if tensors is not None:
            denoiser.load_state_dict(tensors)
        return denoiser

    made = Preparation.from_json(guides["preparation"])
    model = Model((made.channels, *made.size), lambda: _untrained(guides, classes=False), trained)
    return regularise(DISCRIMINATORS[config.kind](config, model), config)


class TrainedDiscriminator(NamedTuple):
    """A discriminator from a file, and what its JSON says."""

    log_ratio: Discriminator
    facts: dict[str, Any]


def load_discriminator(path: str | Path, device: str = "cpu") -> TrainedDiscriminator:
    """Return log r(x, sigma) of a folder of `discriminate`, or of an epoch in it.

    Raises UsageError where no discriminator is, EchoSweepError where its files are damaged.
    """
    name = model_path(path)
    tensors, facts = checkpoint.load(name)
    with _described(path):
        _check_kind(path, facts, "discriminator")
        if facts["features"]:  # what is not trained lies beside the epochs, once
            tensors |= checkpoint.load(checkpoint.features_of(name, facts["features"]))[0]
        discriminator = build_discriminator(
            DiscriminatorConfig.make(facts["config"]), facts["guides"]
        )
        discriminator.load_state_dict(tensors)
    return TrainedDiscriminator(discriminator.eval().requires_grad_(False).to(device), facts)
