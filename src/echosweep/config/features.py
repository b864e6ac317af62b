"""What images are compared by."""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from echosweep.config.base import (
    Config,
    Device,
    Free,
    KeyOf,
    PositiveInt,
    split_at_commas,
)
from echosweep.errors import UsageError

Features = Annotated[tuple[str, ...] | None, KeyOf("evaluation", "EXTRACTORS")]


class FeatureConfig(Config):
    """What images are compared by. Equal configs and weights give features that may be compared."""

    features: Features = Field(
        None,
        description="what images are compared by, several with commas; only inception with 2048 "
        "features gives a FID; default: inception, and dinov2 where its weights are known",
    )
    inception: Path | None = Field(
        None, description="Inception weights; default: the file named by ECHOSWEEP_INCEPTION"
    )
    dinov2: Path | None = Field(
        None, description="DINOv2 weights; default: the file named by ECHOSWEEP_DINOV2"
    )
    dims: PositiveInt | None = Field(
        None, description="Inception features: 64, 192, 768 or 2048; default: most the file gives"
    )
    resize: str = Field("edm", description="Inception input: edm, pytorch-fid or clean")
    allow_unknown_weights: bool = Field(
        False, description="use Inception weights whose SHA-256 is not known"
    )
    feature_precision: Literal["fp32", "fp16"] = Field(
        "fp32", description="of features; fp16: on a GPU, faster, not to be mixed with fp32"
    )

    _lists = field_validator("features", mode="before")(split_at_commas)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Return the extractors to use. Raises UsageError for options that none of them takes."""
        known = self.dinov2 or os.environ.get("ECHOSWEEP_DINOV2")
        chosen = self.features or (("inception", "dinov2") if known else ("inception",))
        if "inception" not in chosen and (self.inception or self.resize != "edm"):
            raise UsageError(
                f"--inception and --resize belong to --features inception; {', '.join(chosen)} "
                "has its own weights and resize: leave them out"
            )
        if "dinov2" not in chosen and self.dinov2:
            raise UsageError("--dinov2 belongs to --features dinov2: add it, or leave --dinov2 out")
        return chosen


class FeatureOptions(FeatureConfig):
    """The options of every command that compares images by features."""

    cache: Annotated[Path | None, Free] = Field(
        None, description="folder of cached features; default: ~/.cache/echosweep"
    )
    device: Device = None
