"""What the commands share: options made from configs, small parsers, JSON on stdout."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

from cyclopts import Parameter

from echosweep.config import (
    Config,
    DiscriminatorConfig,
    FeatureConfig,
    PrepareConfig,
    Registry,
    SampleConfig,
    TrainConfig,
    registered,
)
from echosweep.text import printable


def options_of(config: type[Config]) -> Any:
    """Return a TypedDict with a config's fields: an option each, absent unless given."""
    # Types only: the limits are the config's to check, which says them in one line.
    fields, types = dict[str, Any](), get_type_hints(config)
    for name, field in config.model_fields.items():
        marks = [mark for mark in field.metadata if isinstance(mark, Registry)]
        choices = f" ({', '.join(marks[0].keys)})" if marks else ""
        default = "" if field.default in (None, ()) else f" [default: {_as_typed(field.default)}]"
        # Lists are one word, 1,2,2: the config splits it.
        kind = str if "tuple" in str(types[name]) else types[name]
        flag = "--" + name.replace("_", "-")
        mark = Parameter(name=flag, help=f"{field.description}{choices}{default}", negative=())
        fields[name] = Annotated[kind, mark]
    make: Any = TypedDict
    return make(config.__name__ + "Options", fields, total=False)


def _as_typed(value: Any) -> str:
    """Return a default as one would type it: lists with commas."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


if TYPE_CHECKING:
    Prepare = dict[str, Any]
    Train = dict[str, Any]
    Sample = dict[str, Any]
    Discriminate = dict[str, Any]
    Features = dict[str, Any]
else:
    Prepare = Annotated[options_of(PrepareConfig), Parameter(name="*")]
    Train = Annotated[options_of(TrainConfig), Parameter(name="*")]
    Sample = Annotated[options_of(SampleConfig), Parameter(name="*")]
    Discriminate = Annotated[options_of(DiscriminatorConfig), Parameter(name="*")]
    Features = Annotated[options_of(FeatureConfig), Parameter(name="*")]
Many = Parameter(negative=())
Metrics = Parameter(
    help=f"What to measure, several with commas: {', '.join(registered('evaluation', 'METRICS'))}; "
    "or all."
)


def read_config(kind: type[Config], path: Path | None, given: Any) -> Any:
    """Return the config of a YAML file, if there is one, with the given options on top."""
    return kind.read(path, **given) if path else kind.make(given)


def print_json(value: Any) -> None:
    """Print `value` to stdout as indented JSON."""
    print(printable(json.dumps(value, indent=2, ensure_ascii=False), "\n"))
