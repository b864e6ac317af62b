"""What phantom videos are made."""

from typing import Annotated

from pydantic import Field

from echosweep.config.base import Config, Free, PositiveInt, Seed


class PhantomOptions(Config):
    """Every option of `echosweep phantom`."""

    videos: PositiveInt = Field(64, description="number of videos")
    frames: PositiveInt = Field(64, description="frames per video")
    size: Annotated[int, Field(ge=32, le=1024, multiple_of=2)] = Field(
        112, description="height and width in pixels"
    )
    seed: Seed = Field(0, description="video i is a function of the seed and i")
    workers: Annotated[PositiveInt | None, Free] = Field(
        None, description="processes; default: every core"
    )
