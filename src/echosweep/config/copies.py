"""How copies of training images (memorisation) are searched for."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from echosweep.config.base import Free, Positive, Seed, Spelling, Split
from echosweep.config.features import FeatureOptions
from echosweep.errors import UsageError

Rate = Annotated[
    float,
    Field(gt=0, lt=1, description="share of images that are no copies but are flagged"),
]


class CopiesOptions(FeatureOptions):
    """Every option of `echosweep copies`."""

    holdout: Path | None = Field(
        None,
        description="frame store of real images of other patients, to calibrate on; default: those "
        "of TRAIN outside its training split",
    )
    train_split: Split | None = Field(
        None,
        description="split of TRAIN that was trained on; default: train where HOLDOUT is TRAIN "
        "itself, else all",
    )
    holdout_split: Split | None = Field(
        None, description="split of HOLDOUT to calibrate on; default: all that is not trained on"
    )
    rate: Rate = 0.01
    drop: Annotated[Path | None, Free] = Field(
        None, description="write a new store here, without the flagged images"
    )
    out: Annotated[Path | None, Free] = Field(
        None,
        description="folder for copies.json and the page copies.html; default: GENERATED.copies",
    )
    memory_gb: Annotated[Positive, Free, Spelling("--memory")] = Field(
        1.0, description="memory for the blocks of the search"
    )
    seed: Seed = Field(0, description="seed of the cells of C_T and of the intervals")

    @model_validator(mode="after")
    def _one_extractor(self) -> "CopiesOptions":
        if self.features and len(self.features) > 1:
            raise UsageError(
                f"--features {','.join(self.features)}: copies are compared by one; choose it"
            )
        return self
