"""Measure the optimal distances: real against real, by frame and by video."""

from typing import Any

from echosweep.commands.floor import floor
from echosweep.study.artifacts import Artifacts


def floors(artifacts: Artifacts, **options: Any) -> dict[str, Any]:
    """Return the record of `echosweep floor` on all of the data, by these of its options."""
    record = floor(artifacts.data, config=artifacts.features, show=artifacts.show, **options)
    assert record
    return record
