"""Measure the optimal distances: real against real, by frame and by video."""

from typing import Any

from echosweep.commands.floor import floor
from echosweep.study.workshop import Workshop


def floors(workshop: Workshop, *, splits: int, num: int | None, seed: int) -> dict[str, Any]:
    """Return the record of `echosweep floor` on all of the data."""
    record = floor(
        workshop.data,
        num=num,
        splits=splits,
        seed=seed,
        config=workshop.features,
        show=workshop.show,
    )
    assert record
    return record
