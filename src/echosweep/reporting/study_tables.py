"""A study's tables: one row a trial, and a table is a choice of rows and columns.

Numbers stay numbers here, under the names and units of their columns; pages, CSV and LaTeX are
three ways to write them. Invariant: a trial without a result has a row too, which says why.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from echosweep import runs
from echosweep.config import guidance_weights
from echosweep.reporting.study_records import Record, Study, chosen, of_role, score_name, trials_of
from echosweep.text import cell


class StudyRow(NamedTuple):
    """A trial: what it was, what it cost and how far its images are from real ones.

    share: of the stage's training budget. distance, low, high, floor: what the search is judged by,
    its 95 % interval, and halves of the real images against each other. hours: of training.
    """

    stage: str
    signature: str
    label: str
    state: str
    chosen: bool
    round: int
    share: float
    metric: str
    distance: float | None
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    n_generated: int | None = None
    n_reference: int | None = None
    network: str | None = None
    framework: str | None = None
    kimg: float | None = None
    parameters: int | None = None
    hours: float | None = None
    train_images_per_second: float | None = None
    ema: float | None = None
    sampler: str | None = None
    steps: int | None = None
    nfe: int | None = None
    sample_images_per_second: float | None = None
    guidance: str | None = None
    w1: float | None = None
    w2: float | None = None
    scale: float | None = None
    boost: bool | None = None
    weighting: str | None = None
    epoch: int | None = None
    weak: float | None = None
    error: str | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the distance, None where there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)


class ShiftRow(NamedTuple):
    """A classifier on one column: generated, guided, or the floor. Accuracies are shares."""

    column: str
    classifier: str
    accuracy: float
    accuracy_margin: float
    auc: float
    auc_margin: float
    generated_found: float
    reference_found: float
    verdict: str


class FloorRow(NamedTuple):
    """A distance between halves of the real images: the optimal one. n: images of a half."""

    metric: str
    by: str
    n: int
    splits: int
    mean: float
    std: float | None
    infinity: float


_CELL = ("stage", "label", "state", "chosen", "share", "metric", "distance", "low", "high", "floor")
_COUNTS = ("n_generated", "n_reference", "signature", "error")
TRAINED = ("network", "framework", "kimg", "parameters", "hours", "train_images_per_second")
SAMPLED = ("network", "framework", "sampler", "steps", "nfe", "sample_images_per_second")
GUIDED = ("guidance", "w1", "w2", "scale", "boost", "weighting", "epoch", "weak", "nfe")


def trial_rows(study: Study) -> list[StudyRow]:
    """Return a row of every trial of every stage, in their order."""
    return [row for stage in study.stages for row in stage_rows(study, stage)]


def stage_rows(study: Study, stage: Record) -> list[StudyRow]:
    """Return a row of every trial of a stage."""
    return [_row(stage, trial, study.results.get(trial["signature"])) for trial in trials_of(stage)]


def table1(study: Study) -> list[StudyRow]:
    """Return the last trial of each network and framework, the paper's Table 1: best first.

    Those of the whole budget come before those that were stopped, which have seen fewer images.
    """
    rows = [row for stage in of_role(study, "networks") for row in _last_rounds(study, stage)]
    return sorted(rows, key=lambda row: (-row.share, row.distance is None, row.distance or 0))


def sampler_rows(study: Study) -> list[StudyRow]:
    """Return the trials of samplers and steps, by network, framework, sampler, then NFE."""
    rows = _of(study, "sampler")
    return sorted(rows, key=lambda row: (*line_of(row), row.nfe is None, row.nfe or 0))


def training_rows(study: Study) -> list[StudyRow]:
    """Return the trials of how long to train and to average."""
    rows = _of(study, "training")
    return sorted(rows, key=lambda row: (row.kimg is None, row.kimg or 0, row.ema or 0))


def guidance_rows(study: Study) -> list[StudyRow]:
    """Return the trials of guidance: those without any first, then from the best on.

    What one stage kept and the next measured against is one row, as the last stage saw it.
    """

    def order(row: StudyRow) -> tuple[bool, bool, float]:
        return not is_control(row), row.distance is None, row.distance or 0

    rows = {row.signature: row for row in _of(study, "guidance")}
    return sorted(rows.values(), key=order)


def is_control(row: StudyRow) -> bool:
    """Say whether a trial was measured without guidance."""
    return row.distance is not None and row.guidance is None


def line_of(row: StudyRow) -> tuple[str, str, str]:
    """Return what makes trials points of one line against NFE."""
    return row.network or "", row.framework or "", row.sampler or ""


def table2(record: Record | None) -> list[ShiftRow]:
    """Return the rows of a record of `shift`, as in the paper's Table 2."""
    return [
        ShiftRow(
            column,
            classifier,
            found["accuracy"],
            record["chance"][column]["accuracy_margin"],
            found["auc"],
            record["chance"][column]["auc_margin"],
            found["generated_found"],
            found["reference_found"],
            record["verdicts"][column],
        )
        for column, rows in (record["table"] if record else {}).items()
        for classifier, found in rows.items()
        if record
    ]


def floors(record: Record | None) -> list[FloorRow]:
    """Return the rows of a record of `floor`: by frame as in the paper, and by video."""
    return [
        FloorRow(
            floor["metric"],
            by,
            record["n"],
            record.get("repeats") or record["splits"],  # its name of before
            curve["mean"],
            curve["std"],
            curve["infinity"],
        )
        for floor in (record["floors"] if record else {}).values()
        for by, curve in floor["by"].items()
        if record
    ]


def tables(study: Study) -> dict[str, str]:
    """Return every table as CSV, by the name of its file."""
    trained, sampled = (*_CELL, *TRAINED, *_COUNTS), (*_CELL, *SAMPLED, *_COUNTS)
    return {
        "table1.csv": write_csv(table1(study), trained),
        "sampler.csv": write_csv(sampler_rows(study), sampled),
        "training.csv": write_csv(training_rows(study), (*_CELL, *TRAINED, "ema", *_COUNTS)),
        "guidance.csv": write_csv(guidance_rows(study), (*_CELL, *GUIDED, *_COUNTS)),
        "table2.csv": write_csv(table2(study.result_of("shift")), ShiftRow._fields),
        "floors.csv": write_csv(floors(study.result_of("floor")), FloorRow._fields),
        "trials.csv": write_csv(trial_rows(study), StudyRow._fields),
    }


def write_csv(rows: Sequence[NamedTuple], columns: Sequence[str]) -> str:
    """Return those columns of the rows as CSV (RFC 4180); what is not known is left empty."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([cell(getattr(row, column)) for column in columns] for row in rows)
    return text.getvalue()


def _of(study: Study, wanted: Any) -> list[StudyRow]:
    return [row for stage in of_role(study, wanted) for row in stage_rows(study, stage)]


def _last_rounds(study: Study, stage: Record) -> Iterator[StudyRow]:
    """Yield the rows of trials whose changes were not tried again on a larger budget."""
    last = {_changes(trial): trial["round"] for trial in trials_of(stage)}
    rows = stage_rows(study, stage)
    for trial, row in zip(trials_of(stage), rows, strict=True):
        if trial["round"] == last[_changes(trial)]:
            yield row


def _changes(trial: Record) -> str:
    return runs.canonical_json(trial["changes"])


def _row(stage: Record, trial: Record, result: Record | None) -> StudyRow:
    """Return the row of a trial; without a result, what its changes say."""
    candidate = result["candidate"] if result else _nested(trial.get("changes", {}))
    train, sample = candidate.get("train", {}), candidate.get("sample", {})
    guided = sample.get("guidance")
    return StudyRow(
        stage=stage["name"],
        signature=trial["signature"],
        label=trial["label"],
        state=trial["state"],
        chosen=trial["signature"] in chosen(stage),
        round=trial.get("round", 0),
        share=trial.get("budget", 1.0),
        metric=score_name(stage) if stage.get("score") else "",
        network=train.get("network"),
        framework=train.get("framework"),
        ema=candidate.get("ema"),
        sampler=sample.get("sampler"),
        steps=sample.get("steps"),
        guidance=guided,
        **(weights(candidate) if guided else {}),
        error=trial.get("error"),
        **(_measured(stage["score"], trial, result) if result else {"distance": None}),
    )


def _measured(score: str, trial: Record, result: Record) -> dict[str, Any]:
    """Return what came out of a trial, by the names of a row."""
    low, high = result.get("intervals", {}).get(score) or (None, None)
    same = ("kimg", "parameters", "train_images_per_second", "nfe", "sample_images_per_second")
    return {
        "distance": trial["score"],
        "low": low,
        "high": high,
        "floor": result["values"].get("fd_floor") if score == "fd" else None,
        "hours": result.get("train_hours"),
        **{name: result.get(name) for name in (*same, "n_generated", "n_reference")},
    }


def weights(candidate: Record) -> dict[str, Any]:
    """Return the settings of a candidate's guidance, its defaults filled in."""
    sample = candidate["sample"]
    kind = sample["guidance"]
    given = sample.get("w1"), sample.get("w2")
    w1, w2 = guidance_weights(*given, discriminator=kind == "discriminator")
    own = ("epoch",) if kind == "discriminator" else ("weak",)
    return {
        "w1": w1,
        "w2": w2,
        "scale": sample.get("guidance_scale") or 1.0,
        "boost": sample.get("boost", False),
        "weighting": sample.get("weighting") or "constant",
        **{name: candidate.get(name) for name in own},
    }


def _nested(changes: Record) -> dict[str, Any]:
    """Return changes by path as a candidate has them."""
    values: dict[str, Any] = {}
    for path, value in changes.items():
        *part, name = path.split(".")
        (values.setdefault(part[0], {}) if part else values)[name] = value
    return values
