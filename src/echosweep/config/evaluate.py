"""How generated images are measured against real ones."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from echosweep.config.base import (
    Count,
    Free,
    KeyOf,
    Repeated,
    Seed,
    Split,
    all_or_some,
)
from echosweep.config.features import FeatureOptions

Metrics = Annotated[
    tuple[str, ...],
    KeyOf("evaluation", "METRICS"),
    BeforeValidator(all_or_some("evaluation", "METRICS")),
    Field(description="what to measure, several with commas, or all", min_length=1),
]


class EvaluateOptions(FeatureOptions):
    """Every option of `echosweep evaluate`."""

    metrics: Metrics = ("frechet",)
    num: Count = Field(
        None,
        description="images of each store: the first of GENERATED, drawn from REFERENCE by seed; "
        "default: all",
    )
    split: Split | None = Field(None, description="split of the reference; default: all")
    allow_difference: Annotated[tuple[str, ...], Repeated] = Field(
        (),
        description="compare although the stores differ in this (size, fit, filter, ...); may be "
        "given again",
    )
    seed: Seed = Field(0, description="seed of every draw")
    out: Annotated[Path | None, Free] = Field(
        None,
        description="folder for evaluation.json and the page evaluation.html; with --metrics all, "
        "by default GENERATED.evaluation",
    )
