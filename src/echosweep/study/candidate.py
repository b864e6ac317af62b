"""A candidate: one complete way to make images, from the network to the last sampling step.

A search changes fields of a candidate by their paths (train.network, sample.steps, ema, ...), so
that every stage speaks of the same thing. Invariant: a candidate that exists is valid.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from echosweep.config import (
    Config,
    DiscriminatorConfig,
    SampleConfig,
    TrainConfig,
    check_choice,
    nearest,
)
from echosweep.config.base import PositiveInt
from echosweep.errors import UsageError

GUIDES = ("discriminator", "autoguidance")
_PARTS: dict[str, type[Config]] = {
    "train": TrainConfig,
    "sample": SampleConfig,
    "discriminator": DiscriminatorConfig,
}


class Candidate(Config):
    """How a model is trained, its weights averaged, its images drawn and guided."""

    train: TrainConfig
    ema: Annotated[float, Field(gt=0, le=0.25)] | None = Field(
        None,
        description="relative length of the weights' average, reconstructed after training (Karras "
        "et al. 2024); default: the average kept in training",
    )
    sample: SampleConfig = Field(
        SampleConfig(), description="sample.guidance: discriminator, autoguidance or null"
    )
    weak: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.25, description="autoguidance: by the same run after this share of its images"
    )
    discriminator: DiscriminatorConfig = Field(
        DiscriminatorConfig(), description="discriminator: how it is trained"
    )
    discriminator_images: PositiveInt = Field(
        50_000, description="discriminator: generated images that it learns from"
    )
    epoch: PositiveInt | None = Field(
        None, description="discriminator: epoch that guides; default: lowest held-out loss"
    )

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.sample.guidance:
            check_choice("sample.guidance", str(self.sample.guidance), GUIDES)
        if self.ema and not self.train.posthoc_ema:
            raise UsageError(
                f"ema {self.ema:g} needs train.posthoc_ema: true, so that what it is made of is "
                "kept in training"
            )
        return self

    @classmethod
    def paths(cls) -> list[str]:
        """Return every path that a search may change."""
        plain = [name for name in cls.model_fields if name not in _PARTS]
        return plain + [f"{part}.{name}" for part in _PARTS for name in _PARTS[part].model_fields]

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Return the candidate with values at paths; raise UsageError for an unknown path."""
        values = self.model_dump(mode="json", exclude_unset=True)
        for path, value in changes.items():
            if path not in self.paths():
                raise UsageError(f"unknown field {path!r}{nearest(path, self.paths())}")
            *part, name = path.split(".")
            (values.setdefault(part[0], {}) if part else values)[name] = value
        return self.make(values, where="candidate")

    def unguided(self) -> Self:
        """Return the same candidate without guidance."""
        plain = self.sample.model_dump(mode="json", exclude_unset=True)
        kept = {name: v for name, v in plain.items() if name not in SampleConfig.GUIDANCE}
        return self.model_copy(update={"sample": SampleConfig.make(kept)})

    def identity(self) -> dict[str, Any]:
        """Return what decides its images, as JSON: nothing that its guidance does not use."""
        ends = {"total_kimg": self.train.total_kimg, "budget_hours": self.train.budget_hours}
        values: dict[str, Any] = {
            "train": self.train.identity() | ends,
            "ema": self.ema,
            "sample": self.sample.plain(),
        }
        match str(self.sample.guidance):
            case "autoguidance":
                values |= {"weak": self.weak, "snapshots": self.train.snapshots}
            case "discriminator":
                values["discriminator"] = self.discriminator.model_dump(mode="json")
                values["discriminator_images"] = self.discriminator_images
                values["epoch"] = self.epoch
        return values

    def task(self) -> dict[str, Any]:
        """Return the candidate as JSON without what it does not use: `make` reads it back."""
        values = self.identity() | {"train": self.train.model_dump(mode="json")}
        values.pop("snapshots", None)
        return values
