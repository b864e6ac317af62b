"""Ask classifiers whether they can tell a candidate's images from real ones, guided or not."""

from typing import Any

from echosweep.commands.shift import shift
from echosweep.study.candidate import Candidate
from echosweep.study.tasks.measure import rows_in
from echosweep.study.workshop import Workshop


def shifts(
    workshop: Workshop, *, candidate: dict[str, Any], num: int, **options: Any
) -> dict[str, Any]:
    """Return the record of `echosweep shift`: without guidance, and with it where there is some.

    num: images a side, as many as the split has if those are fewer. options: of the command.
    """
    made, seed = Candidate.make(candidate), options["seed"]
    plain = workshop.images(made.unguided(), num, seed)
    record = shift(
        plain,
        workshop.data,
        after=workshop.images(made, num, seed) if made.sample.guidance else None,
        num=min(num, rows_in(workshop.data, options["split"])),
        out=workshop.study / "shift" / plain.name,
        show=workshop.show,
        **options,
    )
    assert record
    return record
