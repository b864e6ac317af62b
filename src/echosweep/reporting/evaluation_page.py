"""The page of an evaluation: one self-contained HTML file, made from its record and some images.

The answer comes first: the distance, real images' own distance beside it, and what makes both
doubtful; then everything that was measured, the images, and where it all came from.
Invariant: every value of the record is on the page once; what was not measured leaves no trace.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from echosweep import runs
from echosweep.reporting.echo_figures import plot_echo
from echosweep.reporting.figures import contact_sheet, draw_curve
from echosweep.reporting.meanings import MEANINGS, Meaning, exact_name, meaning
from echosweep.reporting.page import figure_uri, picture_uri, provenance, write_page

Images = NDArray[np.uint8]
_GENERATED, _REAL = "#d55e00", "#0072b2"  # told apart in print and by all eyes
_SHEET = 530  # pixels: two contact sheets side by side
_LEAST = 64  # pixels that an image takes in a sheet, where it has fewer
_SIDES = ("generated", "reference")
_REDRAWN = ("real", "generated")


class EvaluationPictures(NamedTuple):
    """Images (n, H, W[, 3]) that the page shows.

    near_generated[i] and near_reference[i] are the pairs that lie nearest by features.
    """

    generated: Images
    reference: Images
    near_generated: Images | None = None
    near_reference: Images | None = None


class MetricRow(NamedTuple):
    """A line of a table of metrics."""

    name: str
    value: float | None
    interval: tuple[float, float] | None
    meaning: Meaning


def write_report(folder: Path, record: Mapping[str, Any], pictures: EvaluationPictures) -> None:
    """Write evaluation.json and evaluation.html to `folder`.

    record: what `commands.evaluate` returns; sections of what it lacks are left out.
    """
    runs.write_json(folder / "evaluation.json", record)
    write_page(
        folder / "evaluation.html",
        "evaluation.html.j2",
        names=_names(record),
        record=record,
        real=record.get("provenance", {}).get("reference", {}),
        findings=list(_findings(record)),
        tables=metric_tables(record),
        curves=list(_curves(record)),
        noise=list(_noise(record)),
        sheets=_sheets(pictures),
        pairs=_pairs(pictures),
        echo=_echo(record),
        provenance=provenance(record),
    )


def metric_tables(record: Mapping[str, Any]) -> dict[str, list[MetricRow]]:
    """Return the rows of the table of all metrics by extractor; noise and echo have their own."""
    intervals = record.get("intervals", {})
    tables = {
        label: [
            MetricRow(name, value, intervals.get(label, {}).get(name), meaning(name))
            for name, value in values.items()
            if meaning(name).section == "metrics"
        ]
        for label, values in record.get("metrics", {}).items()
    }
    return {label: rows for label, rows in tables.items() if rows}


def _names(record: Mapping[str, Any]) -> dict[str, str]:
    sides = record.get("provenance", {})
    return {name: Path(sides.get(name, {}).get("path", name)).name for name in _SIDES}


def _distances(record: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Yield (label, exact name, values) of each extractor that has a Fréchet distance."""
    for label, values in record.get("metrics", {}).items():
        exact = next(filter(None, map(exact_name, values)), None)
        if exact:
            yield label, exact, values


def _findings(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the head of the page says of each distance."""
    for label, exact, values in _distances(record):
        if exact not in values:
            continue
        details = record.get("details", {}).get(label, {}).get("frechet", {})
        yield {
            "label": label,
            "name": exact,
            "value": values[exact],
            "interval": record.get("intervals", {}).get(label, {}).get(exact),
            "at_floor": values.get(f"{exact}_at_floor"),
            "floor": values.get(f"{exact}_floor"),
            "above": values.get(f"{exact}_above_floor"),
            "n": _number(details.get("interval")),
            "n_floor": details.get("n_floor"),
            "by": details.get("by"),
        }


def _number(interval: Mapping[str, Any] | None) -> str | None:
    """Return the numbers of images that an interval is of, as text; None where none says so."""
    if interval is None:
        return None
    made, real = interval["n_generated"], interval["n_reference"]
    return f"{made:,}" if made == real else f"{made:,} and {real:,}"


def _curves(record: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield a figure of each distance against N, generated images and the floor."""
    for label, exact, _ in _distances(record):
        details = record.get("details", {}).get(label, {}).get("frechet")
        if details and "floor" in details:
            yield {"label": label, "name": exact, "uri": figure_uri(plot_curves(details, exact))}


def plot_curves(details: Mapping[str, Any], name: str) -> Figure:
    """Return the distance `name` against N of generated images and of the floor, with lines."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.subplots()
    draw_curve(axes, details["generated"], _GENERATED, "generated")
    draw_curve(axes, details["floor"], _REAL, "real (floor)")
    axes.set(xlabel="number of images N on each side (axis even in 1/N)", ylabel=name)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _noise(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each side that was redrawn, with how far its draws overlap."""
    for label, exact, values in _distances(record):
        details = record.get("details", {}).get(label, {}).get("noise", {})
        for side in _REDRAWN:
            key = f"{exact}_{side}_redrawn"
            if f"{key}_mean" in values:
                yield {
                    "name": exact,
                    "says": meaning(f"{key}_mean").says,
                    "mean": values[f"{key}_mean"],
                    "std": values.get(f"{key}_std"),
                    "draws": details.get(side),
                }


def _sheets(pictures: EvaluationPictures) -> list[dict[str, Any]]:
    """Return the contact sheets, real images first."""
    sides = (("real", pictures.reference), ("generated", pictures.generated))
    return [
        {"title": title, "count": len(images), "uri": picture_uri(_sheet(images))}
        for title, images in sides
    ]


def _sheet(images: Images) -> Image.Image:
    zoom = max(1, _LEAST // images.shape[2])
    fitting = [n for n in (2, 3, 4, 6, 8, 12) if n * (images.shape[2] + 2) * zoom <= _SHEET]
    return contact_sheet(images, max(fitting, default=1), zoom)


def _pairs(pictures: EvaluationPictures) -> list[str]:
    """Return each nearest pair as a picture: generated, real."""
    if pictures.near_generated is None or pictures.near_reference is None:
        return []
    pairs = zip(pictures.near_generated, pictures.near_reference, strict=True)
    return [picture_uri(contact_sheet(np.stack(pair), columns=2)) for pair in pairs]


def _echo(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the echo section: numbers of each side, distances with their floors, the figure."""
    values = record.get("metrics", {}).get("images", {})
    intervals = record.get("intervals", {}).get("images", {})
    if not any(meaning(name).section == "echo" for name in values):
        return None

    def cell(name: str) -> tuple[float | None, Any]:
        return values.get(name), intervals.get(name)

    known = {name: row for name, row in MEANINGS.items() if row.section == "echo"}
    details = record.get("details", {}).get("images", {}).get("echo")
    return {
        "sides": [
            (name, row, *(cell(f"{name}_{side}") for side in _SIDES))
            for name, row in known.items()
            if any(f"{name}_{side}" in values for side in _SIDES)
        ],
        "distances": [
            (MetricRow(name, *cell(name), row), values.get(f"{name}_floor"))
            for name, row in known.items()
            if name in values or f"{name}_floor" in values
        ],
        "uri": figure_uri(plot_echo(details)) if details else None,
    }
