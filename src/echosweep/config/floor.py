"""How the optimal FID is measured: real images against real ones."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from echosweep.config.base import (
    Free,
    PositiveInt,
    Seed,
    Spelling,
    Split,
    split_at_commas,
)
from echosweep.config.features import FeatureOptions


class FloorOptions(FeatureOptions):
    """Every option of `echosweep floor`."""

    RENAMED: ClassVar = {"splits": "repeats"}

    by: tuple[Literal["frame", "video"], ...] = Field(
        ("frame", "video"),
        description="how to halve: frame (as in the paper), video (no patient on both sides), or "
        "both with a comma",
        min_length=1,
    )
    num: Annotated[int | None, Field(ge=2), Spelling("-n")] = Field(
        None, description="images in each half; default: as many as there are"
    )
    repeats: PositiveInt = Field(
        5, description="how often the halves are drawn, for mean and standard deviation"
    )
    split: Split | None = Field(None, description="split of the store; default: all")
    seed: Seed = Field(0, description="seed of the first draw")
    plot: Annotated[Path | None, Free] = Field(
        None,
        description="PNG of the distance against the number of images, with the fitted line",
    )

    _by = field_validator("by", mode="before")(split_at_commas)
