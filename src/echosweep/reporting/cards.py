"""Cards: what goes with weights and images that are given away, as Markdown with a YAML header.

The layout is that of Hugging Face's model and dataset cards; the numbers are those of the study's
records, under their exact names. Invariant: every text of a record is escaped, so that a name can
be no heading, link or markup; `Verbatim` alone is not, and no record makes one.
"""

import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from echosweep.reporting.meanings import Meaning, meaning
from echosweep.reporting.page import count, fact, interval, number

Facts = Mapping[str, Any]
_MARKUP = re.compile(r"([\\`*_\[\]<>|~&$#])")
_PLAIN = re.compile(r"[\w .,:/+=-]+")
_TAGS = ("echocardiography", "ultrasound", "medical-imaging", "synthetic", "diffusion", "echosweep")
# Hugging Face's names of how many images there are.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


class Verbatim(str):
    """Text that is Markdown already."""


def model_card(facts: Facts) -> str:
    """Return the card of the winner's weights.

    facts: study, data, measure, evaluation, copies, shift and paper (records of the study, the last
    two or None), model and guide (what their JSON says; guide or None), source (of the images),
    sampling (as sample.yaml has it), num and available (images given, and to give), version.
    """
    header = _licence() | {
        "library_name": "echosweep",
        "pipeline_tag": "unconditional-image-generation",
        "tags": list(_TAGS),
        "model-index": [{"name": _title(facts), "results": [_result(facts)]}],
    }
    return _render("model_card.md.j2", header, facts)


def dataset_card(facts: Facts, about: str) -> str:
    """Return the card of the images. about: Markdown on the files beside it; facts: as above."""
    header = _licence() | {
        "pretty_name": _plain(f"Synthetic ultrasound images after {facts['data']['name']}"),
        "task_categories": ["unconditional-image-generation"],
        "size_categories": [_size(facts["num"])],
        "tags": list(_TAGS),
    }
    return _render("dataset_card.md.j2", header, facts, about=Verbatim(about))


def front_page(facts: Facts, folders: Mapping[str, str]) -> str:
    """Return README.md of an export. folders: the format of each folder of images."""
    return _render("export.md.j2", {}, facts, folders=folders)


class Score(NamedTuple):
    """A row of the table of measures."""

    name: str
    value: float | None
    interval: list[float] | None
    meaning: Meaning


def scores(evaluation: Facts) -> Iterator[Score]:
    """Yield distances, floors and the like of a record of `evaluate`, under their exact names."""
    for label, values in evaluation["metrics"].items():
        for name, value in values.items():
            row = meaning(name)
            if row.section == "metrics" or (row.section == "echo" and row.better):
                yield Score(name, value, evaluation["intervals"].get(label, {}).get(name), row)


def escape(value: Any) -> str:
    """Return a value as one line of Markdown that shows it as it is."""
    text = str(value)
    if isinstance(value, Verbatim):
        return text
    return _MARKUP.sub(r"\\\1", _plain(text))


def code(value: Any) -> Verbatim:
    """Return a name or a hash in the type of code, whatever is no such thing as escaped text."""
    text = str(value)
    return Verbatim(f"`{text}`" if _PLAIN.fullmatch(text) else escape(text))


def _plain(text: str) -> str:
    """Return text on one line, without characters that control how others are shown."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _licence() -> dict[str, Any]:
    return {"license": "other", "license_name": "to-be-decided"}


def _title(facts: Facts) -> str:
    config, size = facts["model"]["config"], facts["model"]["preparation"]["size"]
    name = f"{config['network']} {config['framework']}, {size[0]} x {size[1]}"
    return _plain(f"{name}, trained on {facts['data']['name']}")


def _size(num: int) -> str:
    return next((name for limit, name in _SIZES if num < limit), "n>1M")


def _result(facts: Facts) -> dict[str, Any]:
    """Return what was measured as a row of Hugging Face's model index."""
    name = _plain(facts["data"]["name"])
    found = [s for s in scores(facts["evaluation"]) if s.meaning.section == "metrics"]
    return {
        "task": {"type": "unconditional-image-generation"},
        "dataset": {
            "name": name,
            "type": re.sub(r"[^\w.-]+", "-", name).strip("-").lower(),
            "split": facts["measure"]["split"],
        },
        "metrics": [
            {"type": score.name, "value": score.value}
            for score in found
            if score.value is not None and math.isfinite(score.value)
        ],
    }


def _sides(facts: Facts) -> list[dict[str, Any]]:
    """Return how many real images and patients did what."""
    sides = facts["copies"]["provenance"]
    return [
        {"what": "trained the model", **sides["train"]},
        {"what": "calibrated the search for copies", **sides["holdout"]},
        {"what": "measured the distance", **facts["evaluation"]["provenance"]["reference"]},
    ]


def _panel(facts: Facts) -> dict[str, Any] | None:
    """Return what the shift panel says of images like the winner's, None where there is none."""
    shift = facts["shift"]
    if not shift:
        return None
    column = "guided" if facts["guide"] and "guided" in shift["table"] else "generated"
    return {
        "rows": shift["table"][column],
        "floor": shift["table"].get("floor", {}),
        "verdict": shift["verdicts"][column],
        "margin": shift["chance"][column]["accuracy_margin"],
        "guided": column == "guided",
    }


def _render(template: str, header: Mapping[str, Any], facts: Facts, **more: Any) -> str:
    """Return the card that a template makes of the facts, after its YAML header."""
    content = {
        **facts,
        "title": _title(facts),
        "sides": _sides(facts),
        "panel": _panel(facts),
        "scores": list(scores(facts["evaluation"])),
    }
    body = _templates().get_template(template).render(content | more)
    if not header:
        return body
    return f"---\n{yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)}---\n\n{body}"


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("echosweep.reporting"),
        autoescape=False,  # that is for HTML; `finalize` sees every value instead
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"number": number, "interval": interval, "count": count, "fact": fact}
    templates.filters |= {"code": code}
    return templates
