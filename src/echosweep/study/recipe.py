"""A recipe: a whole study as one typed YAML file, its stages in the order in which they run.

Each stage takes the candidates that the one before kept. Everything that can be wrong with it is
found when it is read: unknown keys, stages that need what none before them makes, cells of a grid
that no network can be. Invariant: what selects and what is reported are different types, of
different splits and seeds.
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from echosweep.config import Config, FeatureConfig, KeyOf, check_choice, read_yaml
from echosweep.config.base import Name, Positive, PositiveInt
from echosweep.errors import UsageError
from echosweep.study.candidate import Candidate

SEEDS = 2**31  # the index of a store holds seeds below it
DISCRIMINATOR_SEED = 20_000_000  # beyond those that choose and those that report
Seed = Annotated[int, Field(ge=0, lt=SEEDS)]


class Selection(Config):
    """What candidates are chosen by. Nothing that is measured so is reported as a result."""

    split: Literal["train", "val"] = Field("val", description="real images that choose")
    num: PositiveInt = Field(5000, description="generated images of a candidate")
    seed: Seed = 0
    score: Literal["fd", "fd_infinity", "kid"] = Field(
        "fd", description="what is lowest in the best; the others hold at small numbers too"
    )


class Reporting(Config):
    """What the winner is reported by: fresh seeds, and patients that chose nothing."""

    split: Literal["test"] = "test"
    num: PositiveInt = Field(50_000, description="generated images")
    seed: Seed = 10_000_000


class Phantom(Config):
    """The recipe's own data, where it has some: phantom hearts."""

    videos: PositiveInt = 160
    frames: PositiveInt = 32
    size: PositiveInt = 32
    every: PositiveInt = 2


class RecipeCost(Config):
    """What a recipe costs, and on what."""

    machine: str
    hours: Positive
    gpu_hours: Annotated[float, Field(ge=0)]
    disk_gb: Positive


class Range(Config):
    """A dimension of a search between two numbers."""

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @model_validator(mode="after")
    def _has_an_inside(self) -> Self:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise UsageError(
                f"range {self.low:g} to {self.high:g}: low must be below high, and above 0 with log"
            )
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise UsageError(f"range {self.low:g} to {self.high:g}: integer needs whole numbers")
        return self


Choices = tuple[str | int | float | bool | tuple[int, ...] | None, ...]
Dimension = Choices | Range


class StageEntry(Config):
    """A stage as a recipe has it: its name, its kind, and that kind's options."""

    model_config = ConfigDict(extra="allow")

    name: Name
    stage: Annotated[str, KeyOf("study", "STAGES")] = "search"

    @property
    def options(self) -> dict[str, Any]:
        """Return what belongs to the kind of stage."""
        return dict(self.model_extra or {})


class Recipe(Config):
    """A study: data, what chooses, what is reported, and the stages."""

    name: Name
    about: str
    cost: RecipeCost | None = None
    reached: str | None = Field(None, description="the number that it reached, and where; or null")
    data: Phantom | None = Field(None, description="data of its own; default: --data")
    seed: Seed = 0
    features: FeatureConfig = FeatureConfig()
    select: Selection = Selection()
    report: Reporting = Reporting()
    gpus: Annotated[int, Field(ge=0)] = Field(1, description="GPUs of a trial, where there are any")
    base: Candidate
    stages: tuple[StageEntry, ...] = Field(min_length=1)

    @field_validator("stages")
    @classmethod
    def _names_differ(cls, stages: tuple[StageEntry, ...]) -> tuple[StageEntry, ...]:
        names = [stage.name for stage in stages]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UsageError(f"stages {', '.join(sorted(twice))}: each stage needs its own name")
        return stages

    @classmethod
    def load(cls, name: str | Path) -> Self:
        """Return a shipped recipe by its name, or that of a YAML file."""
        path = Path(name)
        if path.suffix in (".yaml", ".yml"):
            return cls.make(read_yaml(path), where=f"key in the recipe {path}:")
        check_choice("recipe", str(name), shipped())
        text = resources.files("echosweep.recipes") / f"{name}.yaml"
        return cls.make(read_yaml(str(text)), where=f"key in the recipe {name}:")

    def identity(self) -> dict[str, Any]:
        """Return what every trial of a study depends on: a study's folder has one."""
        values = self.model_dump(mode="json", include={"name", "data", "seed", "select", "report"})
        return values | {"features": list(self.features.chosen), "dims": self.features.dims}


def shipped() -> list[str]:
    """Return the names of the recipes in the package."""
    files = resources.files("echosweep.recipes").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))
