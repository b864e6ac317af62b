"""What a study found, before any detail: the winner, how good it is, and how it was arrived at.

Invariant: what is called the answer was measured on patients that chose nothing; the best so far
of a study that is not finished is said to be that, with the images that chose it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from echosweep.reporting.evaluation_page import metric_tables
from echosweep.reporting.page import number, provenance
from echosweep.reporting.study_records import Paper, Record, Study, paper
from echosweep.reporting.study_tables import StudyRow, stage_rows, trial_rows, weights

_GUIDED = {
    None: "without guidance",
    "discriminator": "guided by a discriminator",
    "autoguidance": "guided by a weaker self",
}


class AnswerSide(NamedTuple):
    """The winner, or the same without guidance, on fresh seeds and patients that chose nothing."""

    metric: str
    distance: float
    interval: tuple[float, float] | None
    at_floor: float | None
    floor: float | None
    above: float | None
    as_published: float | None  # real images of training on the other side, as in the paper
    copies: Record


class AnswerStep(NamedTuple):
    """What a search kept, and how far its best was from the real images that choose.

    inside: of `others`, trials of the whole budget, as many lie in the interval of what was kept;
    None where there is no interval.
    """

    stage: str
    kept: str
    metric: str
    distance: float | None
    interval: tuple[float, float] | None
    inside: int | None
    others: int
    why: str


class Answer(NamedTuple):
    """What the head of the report says of the winner, and what it takes to make it again.

    control: the same without guidance. guided: what can be said of guidance. groups: patients of
    the real images. metrics: by extractor, rows of the winner, each with that of the control.
    beside: (what, here, here by the paper's protocol, in the paper).
    """

    title: str
    winner: AnswerSide
    control: AnswerSide | None
    guided: str
    measure: Record
    groups: int | None
    settings: Mapping[str, str]
    cost: Mapping[str, str]
    published: Record
    beside: Sequence[tuple[str, float | None, float | None, float | None]]
    metrics: Sequence[tuple[str, Sequence[tuple[Any, Any]]]]
    warnings: Sequence[str]
    provenance: Record


def find_answer(study: Study) -> Answer | None:
    """Return the answer of a study, None as long as its winner is not measured."""
    final = study.result_of("final")
    if final is None or final["winner"] is None:
        return None
    record, measure = final["winner"]["record"], final["winner"]["measure"]
    winner = _side(final["winner"])
    control = _side(final["control"]) if final["control"] else None
    origin = provenance(record)
    return Answer(
        title=in_words(measure),
        winner=winner,
        control=control,
        guided=_compared(winner, control) if control else _unguided(study),
        measure=measure,
        groups=origin["sides"].get("reference", {}).get("groups"),
        settings=settings(measure),
        cost=cost(measure),
        published=final["winner"]["paper"],
        beside=list(_beside_paper(paper(study, winner.metric), winner, control)),
        metrics=list(_metrics(final)),
        warnings=record.get("warnings", []),
        provenance=origin,
    )


def _metrics(final: Record) -> Iterator[tuple[str, list[tuple[Any, Any]]]]:
    """Yield each extractor's metrics: rows of the winner beside those without guidance, or None."""
    plain = metric_tables(final["control"]["record"]) if final["control"] else {}
    for label, rows in metric_tables(final["winner"]["record"]).items():
        beside = {row.name: row for row in plain.get(label, ())}
        yield label, [(row, beside.get(row.name)) for row in rows]


def in_words(measure: Record) -> str:
    """Return a measured candidate as a title has it."""
    train, sample = measure["candidate"]["train"], measure["candidate"]["sample"]
    guidance = sample["guidance"]
    return (
        f"{train['network']} with {train['framework']}, {sample['sampler']} at {measure['nfe']} "
        f"NFE, {_GUIDED.get(guidance, guidance)}"
    )


def settings(measure: Record) -> dict[str, str]:
    """Return a candidate's settings, the parts that searches vary, as text by name."""
    candidate = measure["candidate"]
    train, sample, millions = candidate["train"], candidate["sample"], measure["parameters"] / 1e6
    facts = {
        "network": f"{train['network']}, {number(millions)} M parameters",
        "framework": train["framework"],
        "training": f"{number(measure['kimg'])} thousand images, batch {train['batch']}, "
        f"learning rate {train['lr']:g}, dropout {train['dropout']:g}",
        "average of weights": f"relative length {candidate['ema']:g}, made after training"
        if candidate["ema"]
        else f"half-life {train['ema_halflife_kimg']:g} thousand images, kept in training",
        "sampler": f"{sample['sampler']}, {sample['steps']} steps, {measure['nfe']} NFE",
        "guidance": "none",
    }
    if sample["guidance"]:
        known = {name: value for name, value in weights(candidate).items() if value is not None}
        details = ", ".join(f"{name} {_word(value)}" for name, value in known.items())
        facts["guidance"] = f"{sample['guidance']}: {details}"
    return facts


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(hours: float | None) -> str:
    """Return 36 s, 4.5 min or 24 h; a dash for none."""
    if hours is None:
        return number(None)
    for limit, factor, unit in ((1 / 60, 3600, "s"), (1, 60, "min")):
        if hours < limit:
            return f"{hours * factor:.3g} {unit}"
    return f"{number(round(hours, 1))} h"


def cost(measure: Record) -> dict[str, str]:
    """Return what it takes to train the winner and to draw as many images again."""
    rate, num = measure.get("sample_images_per_second"), measure["n_generated"]
    drawing = num / rate / 3600 if rate else None
    return {
        "training": duration(measure.get("train_hours")),
        "drawing": duration(drawing),
        "rate": f"{number(rate)} images/s",
        "images": f"{num:,}",
    }


def steps(study: Study) -> Iterator[AnswerStep]:
    """Yield what each search kept, in the order of the searches."""
    for stage in study.stages:
        whole = [row for row in stage_rows(study, stage) if row.distance is not None]
        whole = [row for row in whole if row.share == 1]
        kept = [row for row in whole if row.chosen]
        if kept:
            best, others = kept[0], [row for row in whole if not row.chosen]
            yield AnswerStep(
                stage["name"],
                "; ".join(row.label for row in kept),
                best.metric,
                best.distance,
                best.interval,
                _inside(best, others),
                len(others),
                stage["why"],
            )


def _inside(best: StudyRow, others: Sequence[StudyRow]) -> int | None:
    if best.interval is None:
        return None
    low, high = best.interval
    return sum(low <= (row.distance or 0) <= high for row in others)


def best_so_far(study: Study) -> StudyRow | None:
    """Return the best trial of the last search that has one, on its largest budget."""
    for stage in reversed(study.stages):
        known = [row for row in stage_rows(study, stage) if row.distance is not None]
        if known:
            return min(known, key=lambda row: (-row.share, row.distance))
    return None


def title_of(study: Study, answer: Answer | None, best: StudyRow | None) -> str:
    """Return the winner in words, or what is the best so far."""
    if answer:
        return answer.title
    if best is None:
        return "Nothing is measured yet"
    return f"Best so far: {in_words(study.results[best.signature])}"


def _beside_paper(
    known: Paper | None, winner: AnswerSide, control: AnswerSide | None
) -> Iterator[tuple[str, float | None, float | None, float | None]]:
    """Yield FIDs beside those of the paper; nothing where none may stand there."""
    if known is None or known.unguided is None:
        return
    plain = control or winner  # without a control, the winner itself is without guidance
    yield "FID without guidance", plain.distance, plain.as_published, known.unguided
    if control:
        yield "FID with guidance", winner.distance, winner.as_published, known.guided


def _side(record: Record) -> AnswerSide:
    measure = record["measure"]
    values = measure["values"]
    found = measure.get("intervals", {}).get("fd")
    return AnswerSide(
        measure["metric"],
        values["fd"],
        (found[0], found[1]) if found else None,
        values.get("fd_at_floor"),
        values.get("fd_floor"),
        values.get("fd_above_floor"),
        record["paper"]["values"].get("fd"),
        record["copies"],
    )


def _unguided(study: Study) -> str:
    tried = any(row.guidance for row in trial_rows(study))
    return "Guidance was tried: on the images that choose, none was better." if tried else ""


def _compared(winner: AnswerSide, control: AnswerSide) -> str:
    """Return what can be said of guidance: the two intervals are of the same real images."""
    if winner.distance >= control.distance:
        return (
            "On these patients guidance does not lower the distance: what the images that choose "
            "said for it does not hold here."
        )
    if winner.interval is None or control.interval is None:
        return "Guidance lowers the distance; without intervals nobody can say by how much."
    if winner.interval[1] < control.interval[0]:
        return "Guidance lowers the distance by more than both intervals allow for."
    return (
        "Guidance lowers the distance, but the two intervals overlap: with these patients the "
        "difference may be chance."
    )
