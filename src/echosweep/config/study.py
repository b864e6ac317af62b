"""Where and how the trials of a study run; its recipe says what they are."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from echosweep.config.base import Free, KeyOf, PositiveInt, Repeated
from echosweep.config.features import FeatureConfig, Features
from echosweep.errors import UsageError


class StudyOptions(FeatureConfig):
    """Every option of `echosweep study run`; those of features replace the recipe's."""

    features: Features = Field(
        None,
        description="what images are compared by, several with commas; default: the recipe's",
    )
    data: Path | None = Field(None, description="frame store; not for a recipe that makes its own")
    backend: Annotated[str, KeyOf("study", "BACKENDS"), Free] = Field(
        "local", description="where trials run"
    )
    workers: Annotated[PositiveInt | None, Free] = Field(
        None, description="trials at a time; default: one a GPU, or one a CPU core"
    )
    gpus: Annotated[int | None, Field(ge=0), Free] = Field(
        None, description="GPUs of a trial; default: the recipe's"
    )
    address: Annotated[str | None, Free] = Field(
        None, description="ray: address of a running cluster; default: a local one"
    )
    slurm: Annotated[tuple[str, ...], Free, Repeated] = Field(
        (), description="slurm: an option of its jobs, as partition=gpu; may be given again"
    )
    storage: Annotated[str | None, Free] = Field(
        None,
        description="database of the search, as postgresql://USER@HOST/NAME; default: a journal "
        "in OUT",
    )
    exhaustive: bool = Field(False, description="train every cell to the end: no pruning")
    retry_failed: Annotated[bool, Free] = Field(False, description="do again what failed")

    @field_validator("slurm")
    @classmethod
    def _are_pairs(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if "=" not in option:
                raise UsageError(f"--slurm {option!r} must be NAME=VALUE, as partition=gpu")
        return options
