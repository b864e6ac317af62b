"""The report of a study: which model won and why, a page with its tables and figures as files.

The answer comes first: the winner on patients that chose nothing, beside the floor and itself
without guidance; then every search, and where all of it came from. Invariant: made from records and
images alone, of a study that is finished or not; what is missing is named.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from echosweep import runs
from echosweep.reporting import figures, study_tables
from echosweep.reporting.latex import latex_table1, latex_table2
from echosweep.reporting.page import fact, figure_uri, picture_uri, write_page
from echosweep.reporting.shift_figures import NAMES, plot_panel
from echosweep.reporting.study_answer import (
    Answer,
    best_so_far,
    duration,
    find_answer,
    steps,
    title_of,
)
from echosweep.reporting.study_figures import plot_guidance, plot_nfe, plot_training
from echosweep.reporting.study_records import Paper, Record, Study, missing, paper
from echosweep.reporting.study_tables import StudyRow, stage_rows

Images = NDArray[np.uint8]
PAGE = "study.html"
_LISTED = 100  # trials in a table of the page; the CSV have all
_LEAST, _COLUMNS = 64, 6  # pixels that an image takes in a sheet, at least; images in a row
_DPI = 100
_HOW = {  # by the strategy of a search, by the kind of another stage
    "grid": "every combination",
    "halving": "every combination on a small budget, the best of them on more (successive halving)",
    "tpe": "one after another, where the scores so far promise most (Optuna's TPE)",
    "floor": "Real images against real ones.",
    "shift": "Classifiers against the images of what was kept.",
    "final": "What was kept, and the same without guidance, on patients that chose nothing.",
}


def write_study(
    folder: Path, study: Study, pictures: Mapping[str, Images], notes: Sequence[str]
) -> Path:
    """Write a study's tables (CSV, LaTeX), figures (PNG, PDF) and page, which is returned.

    pictures: images (n, H, W[, 3]) by what they are. notes: why some are not there.
    """
    texts = {
        **study_tables.tables(study),
        "table1.tex": latex_table1(study_tables.table1(study)),
        "table2.tex": latex_table2(study_tables.table2(study.result_of("shift"))),
    }
    for name, text in texts.items():
        runs.write_text(folder / name, text)
    drawn = draw(study)
    for name, figure in drawn.items():
        figures.save(figure, folder / f"{name}.png")
        _save_pdf(figure, folder / f"{name}.pdf")
    if pictures:
        sheet = figures.compare_sheets(pictures, _COLUMNS, _zoom(pictures))
        figures.save(sheet, folder / "figure2.png")
        _save_pdf(_as_figure(sheet), folder / "figure2.pdf")
    sheets = [_sheet(title, images, _zoom(pictures)) for title, images in pictures.items()]
    write_page(folder / PAGE, "study.html.j2", **_content(study, drawn), sheets=sheets, notes=notes)
    return folder / PAGE


def draw(study: Study) -> dict[str, Figure]:
    """Return the figures that the study has enough for, by the name of their files."""
    found: dict[str, Figure] = {}
    for name, rows, plot in (
        ("figure1", study_tables.sampler_rows(study), plot_nfe),
        ("training", study_tables.training_rows(study), plot_training),
        ("guidance", study_tables.guidance_rows(study), plot_guidance),
    ):
        if any(row.distance is not None for row in rows):
            found[name] = plot(rows)
    if shift := study.result_of("shift"):
        found["shift"] = plot_panel(shift)
    if floor := study.result_of("floor"):
        found["floors"] = figures.plot_floors(floor["floors"])
    return found


def _content(study: Study, drawn: Mapping[str, Figure]) -> dict[str, Any]:
    """Return what the template shows, but for the images."""
    answer, best = find_answer(study), best_so_far(study)
    shift, floor = study.result_of("shift"), study.result_of("floor")
    classifiers = study_tables.table2(shift)
    searched = {
        "samplers": study_tables.sampler_rows(study),
        "training": study_tables.training_rows(study),
        "guidance": study_tables.guidance_rows(study),
    }
    return {
        **{"study": study, "answer": answer, "best": best, "tried": len(study.results)},
        "title": title_of(study, answer, best),
        "warnings": list(_warnings(study, answer)),
        "steps": list(steps(study)),
        "networks": study_tables.table1(study),
        "row_commands": list(_commands(study)),
        **{name: rows[:_LISTED] for name, rows in searched.items()},
        "more": {name: len(rows[_LISTED:]) for name, rows in searched.items()},
        **{"fate": fate, "metric_of": metric_of, "duration": duration},
        "shift": shift,
        "names": NAMES,
        "classifiers": list(dict.fromkeys(row.classifier for row in classifiers)),
        "shift_heads": [NAMES[name] for name in dict.fromkeys(row.column for row in classifiers)],
        "floor": floor,
        "floors": study_tables.floors(floor),
        "published": _published(study),
        "figures": {name: figure_uri(figure) for name, figure in drawn.items()},
        "stages": list(_stages(study)),
        "settings": {
            "about": study.recipe.get("about"),
            **study.identity,
            **{f"data {name}": value for name, value in study.data.items() if name != "path"},
        },
        "machines": machines(study),
    }


def metric_of(rows: Sequence[StudyRow]) -> str:
    """Return the exact name of what the rows are judged by."""
    return ", ".join(dict.fromkeys(row.metric for row in rows if row.metric)) or "Distance"


def fate(row: StudyRow) -> str:
    """Return what became of a trial, in words."""
    if row.state != "complete":
        return row.state
    if row.chosen:
        return "chosen"
    if row.share < 1:
        return f"stopped at {100 * row.share:.0f} %"
    return "measured"


def machines(study: Study) -> dict[str, Any]:
    """Return on how many trials each processor, version and commit worked, as text."""
    found = [result["environment"] for result in study.results.values()]
    kinds = {
        "processors": [f"{entry.get('cpu')}, {entry.get('cores')} cores" for entry in found],
        "platforms": [fact(entry.get("platform")) for entry in found],
        "versions": [fact(entry.get("packages")) for entry in found],
        "commits": [fact(entry.get("commit")) for entry in found],
    }
    return {
        name: "; ".join(f"{what} ({n} trials)" for what, n in Counter(values).most_common())
        for name, values in kinds.items()
        if values
    }


def tried(space: Record) -> str:
    """Return a space as text: each field with its choices, or its range."""
    return ", ".join(f"{name} ({_dimension(values)})" for name, values in space.items())


def _dimension(values: Any) -> str:
    if isinstance(values, Mapping):
        log = ", log scale" if values.get("log") else ""
        return f"{values['low']:g} to {values['high']:g}{log}"
    return ", ".join("none" if value is None else str(value) for value in values)


def _stages(study: Study) -> Iterator[dict[str, Any]]:
    """Yield what each stage was and became."""
    for stage in study.stages:
        rows, options = stage_rows(study, stage), stage.get("options", {})
        fixed = {name: [value] for name, value in options.get("set", {}).items()}
        yield {
            "stage": stage,
            "tried": tried(fixed | options.get("space", {})),
            "how": _HOW.get(options.get("strategy", stage["stage"]), options.get("strategy")),
            "kept": [row.label for row in rows if row.chosen],
            "rows": rows[:_LISTED],
            "more": len(rows[_LISTED:]),
            "failed": [row for row in rows if row.state == "failed"],
            "states": dict(Counter(row.state for row in rows)),
        }


def _commands(study: Study) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the commands that make each row of Table 1 anew."""
    for row in study_tables.table1(study):
        if row.signature in study.results:
            yield row.label, study.results[row.signature]["commands"]


def _published(study: Study) -> Paper | None:
    """Return the paper's numbers, where the floor's distances may stand beside them."""
    metrics = {row.metric for row in study_tables.floors(study.result_of("floor"))}
    metrics |= {result["metric"] for result in study.results.values()}
    return paper(study, "fid") if "fid" in metrics else None


def _warnings(study: Study, answer: Answer | None) -> Iterator[str]:
    """Yield what a reader must know before using the numbers."""
    yield from missing(study)
    if answer:
        yield from answer.warnings
        if "error" in answer.winner.copies:
            yield f"copies were not searched for: {answer.winner.copies['error']}"
    failed = [row for row in study_tables.trial_rows(study) if row.state == "failed"]
    if failed:
        yield f"failed trials, which could not win: {len(failed)}; their errors are below"


def _zoom(pictures: Mapping[str, Images]) -> int:
    """Return one whole factor for all sheets."""
    width: int = min(images.shape[2] for images in pictures.values())
    return max(1, _LEAST // width)


def _sheet(title: str, images: Images, zoom: int) -> dict[str, Any]:
    sheet = figures.contact_sheet(images, _COLUMNS, zoom)
    return {"title": title, "count": len(images), "uri": picture_uri(sheet)}


def _as_figure(picture: Image.Image) -> Figure:
    """Return a picture as a figure of as many pixels, for a PDF."""
    figure = Figure(figsize=(picture.width / _DPI, picture.height / _DPI), dpi=_DPI)
    figure.figimage(np.asarray(picture))
    return figure


def _save_pdf(figure: Figure, path: Path) -> None:
    """Write a figure to `path` as PDF, the same bytes each time."""
    content = figures.drawn(figure, format="pdf", metadata={"CreationDate": None})
    runs.atomic_write(path, lambda file: file.write(content))
