"""Pages: one self-contained HTML file each, made from a template and what a record holds.

A page carries its style and pictures itself, and follows the reader's light or dark. Its own
policy forbids scripts and the network. Invariant: every text of a record is escaped; no template
marks anything as safe.
"""

import base64
import io
import math
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from echosweep import runs
from echosweep.reporting.figures import drawn

MISSING = "–"


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write the page that `template` makes of `content` to `path`, atomically."""
    runs.write_text(path, _templates().get_template(template).render(content))


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("echosweep.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"number": number, "interval": interval, "count": count, "fact": fact}
    return templates


def number(value: float | None) -> str:
    """Return a value to four digits, 10,000 and more in full; a dash for none."""
    if value is None or not math.isfinite(value):
        return MISSING
    return (f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}").replace("-", "−")


def interval(bounds: Sequence[float] | None) -> str:
    """Return "low to high"; a dash for none."""
    return f"{number(bounds[0])} to {number(bounds[1])}" if bounds else MISSING


def count(value: int) -> str:
    """Return 50,000 of 50000."""
    return f"{value:,}"


def fact(value: Any) -> str:
    """Return a piece of provenance as text: a command as typed, a mapping as "name value, ..."."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {fact(part)}" for name, part in value.items())
    if isinstance(value, list):
        return shlex.join(map(str, value))
    return MISSING if value is None else str(value)


def provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the provenance part of a page shows.

    sides: the stores under comparison, in order; facts: the names that any of them has. A page may
    be shared, so a store has a name there, and no path.
    """
    known = dict(record.get("provenance", {}))
    environment = known.pop("environment", {})
    known = {name: _without_path(side) for name, side in known.items()}
    facts = list(dict.fromkeys(name for side in known.values() for name in side))
    features = record.get("features", {})
    return {"sides": known, "facts": facts, "features": features, "environment": environment}


def _without_path(side: Mapping[str, Any]) -> dict[str, Any]:
    named = {"store": Path(side["path"]).name} if "path" in side else {}
    return named | {name: value for name, value in side.items() if name != "path"}


def figure_uri(figure: Figure) -> str:
    """Return a figure as SVG in a data URI, the same bytes each time."""
    return _uri("svg+xml", drawn(figure, format="svg", metadata={"Date": None}))


def picture_uri(picture: Image.Image) -> str:
    """Return a picture as PNG in a data URI, its pixels unchanged."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return _uri("png", buffer.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
