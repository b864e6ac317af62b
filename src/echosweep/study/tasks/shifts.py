"""Ask classifiers whether they can tell a candidate's images from real ones, guided or not."""

from typing import Any

from echosweep.commands.shift import shift
from echosweep.study.artifacts import Artifacts
from echosweep.study.candidate import Candidate
from echosweep.study.tasks.measure import rows_in


def shifts(
    artifacts: Artifacts, *, candidate: dict[str, Any], num: int, **options: Any
) -> dict[str, Any]:
    """Return the record of `echosweep shift`: without guidance, and with it where there is some.

    num: images a side, as many as the split has if those are fewer. options: of the command.
    """
    made, seed = Candidate.make(candidate), options["seed"]
    plain = artifacts.images(made.unguided(), num, seed)
    record = shift(
        plain,
        artifacts.data,
        after=artifacts.images(made, num, seed) if made.sample.guidance else None,
        num=min(num, rows_in(artifacts.data, options["split"])),
        out=artifacts.study / "shift" / plain.name,
        show=artifacts.show,
        **options,
    )
    assert record
    return record
