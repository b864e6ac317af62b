"""How the epoch of a discriminator is chosen."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from echosweep.config.base import (
    Free,
    PositiveInt,
    Spelling,
    Split,
    split_at_commas,
)
from echosweep.config.features import FeatureOptions
from echosweep.config.sample import SampleConfig
from echosweep.errors import UsageError


class ChooseEpochOptions(FeatureOptions, SampleConfig):
    """Every option of `echosweep choose-epoch`."""

    RENAMED: ClassVar = {"splits": "repeats"}

    num: Annotated[int | None, Field(ge=4), Spelling("-n")] = Field(
        None,
        description="images of each epoch, half of them to choose and half to report; default: as "
        "many as DATA has for its halves, at most 50,000. More take over those that are there",
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        1_000_000,  # discriminators learn from images of seeds 0, 1, ...: these are new to them
        description="image i has seed SEED + i; the default is beyond the seeds of a "
        "discriminator's training",
    )
    repeats: PositiveInt = Field(10, description="how often patients and seeds are halved")
    split: Split | None = Field(None, description="split of DATA; default: all")
    epochs: tuple[PositiveInt, ...] | None = Field(
        None, description="epochs to choose from, as 1,5,10, or all"
    )
    batch: Annotated[PositiveInt, Free] = Field(
        64, description="images drawn at a time; changes no image"
    )

    @field_validator("epochs", mode="before")
    @classmethod
    def _all_or_some(cls, value: Any) -> Any:
        return None if value in ("all", "every") else split_at_commas(value)

    @model_validator(mode="after")
    def _has_one_guide_and_extractor(self) -> Self:
        if self.guidance is None:
            raise UsageError("give --guidance, the folder that `echosweep discriminate` made")
        if self.features and len(self.features) > 1:
            raise UsageError(f"--features {','.join(self.features)}: epochs are compared by one")
        return self
