"""Measure the optimal distances: real against real, by frame and by video."""

from typing import Any

from echosweep.commands.floor import floor
from echosweep.study.workshop import Workshop


def floors(workshop: Workshop, **options: Any) -> dict[str, Any]:
    """Return the record of `echosweep floor` on all of the data, by these of its options."""
    record = floor(workshop.data, config=workshop.features, show=workshop.show, **options)
    assert record
    return record
