"""How it is measured what generated images are worth to learn a label from."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from echosweep.config.base import (
    Config,
    Count,
    Device,
    Free,
    KeyOf,
    Positive,
    PositiveInt,
    Seed,
)


class UtilityOptions(Config):
    """Every option of `echosweep utility`."""

    label: str = Field(
        description="what to learn: a word or a number of the videos, as EF. Generated images "
        "without it get it from a teacher that learnt from the real ones"
    )
    num: Count = Field(
        None,
        description="images of each store to learn from, drawn by seed; default: as many as the "
        "smaller has",
    )
    test_split: Literal["test", "val"] = Field("test", description="split of REFERENCE to test on")
    teacher: bool = Field(
        False,
        description="have the generated images labelled by a teacher although they have labels",
    )
    network: Annotated[str, KeyOf("evaluation", "CLASSIFIERS")] = Field(
        "resnet18", description="network that learns"
    )
    epochs: PositiveInt = Field(
        20,
        description="passes over the images; half of that for real and generated ones together",
    )
    lr: Positive = Field(3e-4, description="learning rate of Adam")
    batch: Annotated[int, Field(ge=2)] = Field(32, description="images per step")
    repeats: PositiveInt = Field(
        3, description="how often each network is trained, with another seed"
    )
    seed: Seed = Field(0, description="seed of every draw")
    out: Annotated[Path | None, Free] = Field(
        None,
        description="folder for utility.json, utility.png and what is needed to continue; "
        "default: GENERATED.utility",
    )
    device: Device = None
