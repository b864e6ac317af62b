"""Ask classifiers whether they can tell a candidate's images from real ones, guided or not."""

from typing import Any

from echosweep.commands.shift import shift
from echosweep.study.candidate import Candidate
from echosweep.study.tasks.measure import rows_in
from echosweep.study.workshop import Workshop


def shifts(
    workshop: Workshop,
    *,
    candidate: dict[str, Any],
    num: int,
    seed: int,
    split: str,
    classifiers: list[str],
    epochs: int,
    batch: int,
    repeats: int,
) -> dict[str, Any]:
    """Return the record of `echosweep shift`: without guidance, and with it where there is some.

    num: images a side, as many as the split has if those are fewer.
    """
    made = Candidate.make(candidate)
    plain = workshop.images(made.unguided(), num, seed)
    guided = workshop.images(made, num, seed) if made.sample.guidance else None
    record = shift(
        plain,
        workshop.data,
        after=guided,
        classifiers=classifiers,
        epochs=epochs,
        batch=batch,
        repeats=repeats,
        num=min(num, rows_in(workshop.data, split)),
        split=split,
        seed=seed,
        out=workshop.study / "shift" / plain.name,
        show=workshop.show,
    )
    assert record
    return record
