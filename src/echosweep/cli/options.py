"""What the commands share: options made from configs, small parsers, JSON on stdout."""

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict, get_type_hints

from cyclopts import Parameter
from pydantic_core import PydanticUndefined

from echosweep.config import Config, KeyOf, Repeated, Spelling
from echosweep.text import printable

ConfigFile = Annotated[
    Path | None,
    Parameter(
        name="--config",
        help="YAML file with any of the options below; options given here win.",
    ),
]
AsJson = Annotated[
    bool,
    Parameter(
        name="--json", negative=(), show_default=False, help="Print JSON instead of a table."
    ),
]
DryRun = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Print what would be done, and what it would cost; then stop.",
    ),
]
Details = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Print the curves too, as the record's file has them.",
    ),
]


def takes(kind: type[Config]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command that takes `options` of this kind an option for each of its fields."""

    def give(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(
            *places: Any, from_file: Path | None = None, options: Any = None, **more: Any
        ) -> None:
            command(*places, options=_read(kind, from_file, options or {}), **more)

        made: dict[str, tuple[Any, Any]] = {
            "from_file": (ConfigFile, None),
            "options": (Annotated[options_of(kind), Parameter(name="*")], {}),
        }
        given = dict(inspect.signature(command).parameters)
        types = get_type_hints(command, include_extras=True)
        del given["options"], types["options"]
        parameters = {name: one for name, one in given.items() if one.default is one.empty}
        for name, (annotation, default) in made.items():
            parameters[name] = inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
            types[name] = annotation
        parameters |= given
        called.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        called.__annotations__ = types
        return called

    return give


def options_of(config: type[Config]) -> Any:
    """Return a TypedDict with a config's fields: an option each, absent unless given."""
    # Types only: the limits are the config's to check, which says them in one line.
    fields, types = dict[str, Any](), get_type_hints(config)
    for name in _in_order(config):
        field = config.model_fields[name]
        registries = [mark for mark in field.metadata if isinstance(mark, KeyOf)]
        choices = f" ({', '.join(registries[0].keys)})" if registries else ""
        # Lists are one word, 1,2,2: the config splits it.
        listed = list[str] if Repeated in field.metadata else str
        kind = listed if "tuple" in str(types[name]) else types[name]
        flags = ["--" + name.replace("_", "-")]
        flags += [mark.also for mark in field.metadata if isinstance(mark, Spelling)]
        text = f"{field.description}{choices}{_default(field.default, len(choices) > 0)}"
        text += " [required]" if field.is_required() else ""
        off = "--no-" + flags[0][2:] if field.default is True else ()
        fields[name] = Annotated[kind, Parameter(name=flags, help=text, negative=off)]
    for old, name in config.RENAMED.items():  # taken still, shown no more
        flag = "--" + old.replace("_", "-")
        fields[old] = Annotated[types[name], Parameter(name=flag, show=False, negative=())]
    make: Any = TypedDict
    return make(config.__name__ + "Options", fields, total=False)


def _in_order(config: type[Config]) -> list[str]:
    """Return the names of the fields: its own before its bases', but what of it is free last."""
    names = dict.fromkeys(n for kind in config.__mro__ for n in inspect.get_annotations(kind))
    last = config.free() & {*inspect.get_annotations(config)}
    return sorted((name for name in names if name in config.model_fields), key=last.__contains__)


def _default(value: Any, listed: bool) -> str:
    """Return a default as one would type it: lists with commas, all where all are listed."""
    if value in (None, (), PydanticUndefined) or value is False:
        return ""
    if value is True or isinstance(value, float):
        value = "yes" if value is True else f"{value:g}"
    if isinstance(value, tuple):
        value = "all" if listed and len(value) > 2 else ",".join(map(str, value))
    return f" [default: {value}]"


def _read(kind: type[Config], path: Path | None, given: Any) -> Any:
    """Return the config of a YAML file, if there is one, with the given options on top."""
    return kind.read(path, **given) if path else kind.make(given)


def print_json(value: Any) -> None:
    """Print `value` to stdout as indented JSON."""
    print(printable(json.dumps(value, indent=2, ensure_ascii=False), "\n"))


def use_best_threads() -> None:
    """Compute on as many threads as are fastest here (imports torch)."""
    from echosweep.threads import use_best_threads

    use_best_threads()


def prepare_process() -> None:
    """Prepare for training and sampling: threads, and memory that is kept (imports torch)."""
    from echosweep.compute import prepare_process

    prepare_process()


def without_details(record: dict[str, Any], details: bool) -> dict[str, Any]:
    """Return a record without its curves, unless they are asked for."""
    return record if details else {k: v for k, v in record.items() if k != "details"}
