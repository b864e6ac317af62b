"""Which average of a run's weights is made after training."""

from typing import Annotated

from pydantic import Field

from echosweep.config.base import Config


class EmaOptions(Config):
    """Every option of `echosweep ema`."""

    length: Annotated[float, Field(gt=0, le=0.25)] = Field(
        description="length of the average as a share of the training so far (its standard "
        "deviation), to 0.25"
    )
    at_kimg: float | None = Field(
        None,
        description="average up to this point, one of those stored; default: the last one, the "
        "run's end",
    )
