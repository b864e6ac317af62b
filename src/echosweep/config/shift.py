"""How classifiers try to tell generated images from real ones."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from echosweep.config.base import (
    Config,
    Count,
    Device,
    Free,
    KeyOf,
    PositiveInt,
    Seed,
    Split,
    all_or_some,
    registered,
)


class ShiftOptions(Config):
    """Every option of `echosweep shift`."""

    after: Annotated[Path | None, Free] = Field(
        None, description="frame store of images of the same model with guidance"
    )
    classifiers: Annotated[tuple[str, ...], KeyOf("evaluation", "CLASSIFIERS")] = Field(
        registered("evaluation", "CLASSIFIERS"),
        description="which to train, several with commas, or all",
        min_length=1,
    )
    epochs: PositiveInt = Field(50, description="passes over the images of every fit")
    lr: Annotated[float, Field(gt=0, lt=1)] = Field(1e-4, description="learning rate of Adam")
    batch: Annotated[int, Field(ge=2)] = Field(128, description="images per step")
    repeats: PositiveInt = Field(
        3,
        description="fits of each classifier, each with another seed and another tenth of the "
        "patients to test",
    )
    num: Count = Field(None, description="images of each store; default: as many as all have")
    split: Split | None = Field(None, description="split of the reference; default: all")
    floor: bool = Field(
        True, description="also tell real images from real images of other patients"
    )
    seed: Seed = Field(0, description="seed of every draw")
    out: Annotated[Path | None, Free] = Field(
        None,
        description="folder for shift.json, the page shift.html and the finished fits; default: "
        "GENERATED.shift",
    )
    html: Annotated[Path | None, Free] = Field(None, description="write the page here instead")
    device: Device = None

    _lists = field_validator("classifiers", mode="before")(all_or_some("evaluation", "CLASSIFIERS"))
