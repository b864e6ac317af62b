"""What is wrong with a config, in one line for each value: the path, the value, what is allowed.

pydantic names the branches of a union within a path and says what each branch wanted; here a path
is that of the user's own file, and a value that fits no branch is said once. Invariant: no message
holds a whole mapping, and every value in one is cut.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, get_args

from pydantic import BaseModel

_LONGEST = 60  # characters of a value
_LONGEST_LINE = 600  # characters of all that is said of a value
_MOST = 5  # wrong values that are named
_TYPES = {  # what a branch wants, by pydantic's name of the error
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "`name: value` lines",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a number that is not infinite",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number with fewer digits",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "`name: value` lines",
    "model_attributes_type": "`name: value` lines",
    "model_type": "`name: value` lines",
    "none_required": "null",
    "path_type": "a path",
    "string_type": "text",
    "tuple_type": "a list",
}
_LIMITS = {
    "greater_than": "above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "below {lt}",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "multiple_of": "a multiple of {multiple_of}",
    "too_long": "a list of at most {max_length}",
    "too_short": "a list of at least {min_length}",
}
Path = tuple[str | int, ...]


def nearest(name: str, allowed: Sequence[str]) -> str:
    """Return "; did you mean 'x'?" where an allowed name is close to `name`, else ""."""
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def explain(
    errors: Sequence[Any], kind: type[BaseModel], values: Mapping[str, Any], where: str
) -> str:
    """Return what pydantic's errors say, in one line.

    Args:
        errors: as `ValidationError.errors()` returns them.
        kind: the config that could not be made.
        values: what it was to be made of.
        where: what a name in it is, as "option", or "key in FILE:".
    """
    by_path = _by_path(errors, values)
    lines = islice(_lines(by_path, kind, where), _MOST)
    more = [f"and {len(by_path) - _MOST} more"] if len(by_path) > _MOST else []
    return "; ".join([*(shorten(line, _LONGEST_LINE) for line in lines), *more])


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return "name was x, now y" for each value that differs, by its path within mappings."""
    before, after = dict(_leaves(was)), dict(_leaves(now))
    return [
        f"{name} was {shorten(repr(before.get(name)))}, now {shorten(repr(after.get(name)))}"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]


def _leaves(values: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value


def _lines(
    by_path: Mapping[Path, Sequence[Any]], kind: type[BaseModel], where: str
) -> Iterator[str]:
    for path, same in by_path.items():
        name, first = ".".join(shorten(str(part)) for part in path), same[0]
        if first["type"] == "extra_forbidden":
            allowed = _names(kind, path[:-1])
            hint = nearest(shorten(str(path[-1])), allowed) or f"; known: {', '.join(allowed)}"
            yield f"unknown {where} {name!r}{hint}"
        elif first["type"] == "missing":
            yield f"{_holder(kind, where)} lacks {name}; add it"
        elif not path:
            yield _wanted(same)
        else:
            yield f"{where} {name}{_value(same)}: {_wanted(same)}"


def _by_path(errors: Sequence[Any], values: Mapping[str, Any]) -> dict[Path, list[Any]]:
    """Return the errors of each path, without those of branches that a deeper one speaks for."""
    found: dict[Path, list[Any]] = {}
    for error in errors:
        found.setdefault(_path(error, values), []).append(error)
    above = {path[:end] for path in found for end in range(1, len(path))}
    deepest = {path: same for path, same in found.items() if path not in above}
    # What a validator of ours says is more than that another branch wanted another type.
    return {path: _only(same, "value_error") or same for path, same in deepest.items()}


def _only(errors: Sequence[Any], name: str) -> list[Any]:
    return [error for error in errors if error["type"] == name]


def _path(error: Any, values: Mapping[str, Any]) -> Path:
    """Return where a value lies in what was given: pydantic's path without branches of unions."""
    path: list[str | int] = []
    here: Any = values
    for part in error["loc"]:
        inside = isinstance(here, Mapping) and part in here
        if inside or isinstance(part, int):
            path.append(part)
            listed = isinstance(here, list | tuple) and part < len(here)
            here = here[part] if inside or listed else None
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    return tuple(path)


def _names(kind: type[BaseModel], path: Path) -> list[str]:
    """Return the names of fields that the config at a path has."""
    here: Any = kind
    for part in path:
        if isinstance(part, str) and (field := here.model_fields.get(part)):
            here = next(_models(field.annotation), here)
        elif isinstance(part, str):
            break
    return list(here.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _holder(kind: type[BaseModel], where: str) -> str:
    """Return what lacks a value: the file or stage of `where`, else the kind of config."""
    place = where.partition(" in ")[2].rstrip(":")
    return place or f"the {kind.__name__.removesuffix('Config').lower()}"


def _value(errors: Sequence[Any]) -> str:
    """Return " = value" where the value is short enough to be shown and is not in the message."""
    value = errors[0]["input"]
    if isinstance(value, Mapping | BaseModel) or _as_list(errors):
        return ""
    return f" = {shorten(repr(value))}"


def shorten(text: str, longest: int = _LONGEST) -> str:
    """Return a text of at most so many characters: what a file says has no bound."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _as_list(errors: Sequence[Any]) -> str:
    """Return "[value]" where a single value stands for a list."""
    value = errors[0]["input"]
    wanted = any(error["type"] in ("tuple_type", "list_type") for error in errors)
    if not wanted or isinstance(value, Mapping | BaseModel | list | tuple | set):
        return ""
    word = {None: "null", True: "true", False: "false"}.get(value) if _is_word(value) else value
    return shorten(f"[{word}]")


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _wanted(errors: Sequence[Any]) -> str:
    """Return what is allowed where these errors, of one value, were found."""
    if listed := _as_list(errors):
        return f"write a list, as {listed}"
    wanted = list(dict.fromkeys(_TYPES[e["type"]] for e in errors if e["type"] in _TYPES))
    if wanted:
        *others, last = wanted
        quoted = "; write it in quotes" if wanted == ["text"] and _is_plain(errors[0]) else ""
        return f"must be {' or '.join(filter(None, (', '.join(others), last)))}{quoted}"
    error = errors[0]
    if error["type"] in _LIMITS:
        hint = nearest(shorten(str(error["input"])), re.findall(r"'([^']+)'", error["msg"]))
        limits = {k: f"{v:g}" if isinstance(v, float) else v for k, v in error["ctx"].items()}
        return f"must be {_LIMITS[error['type']].format(**limits)}{hint}"
    return str(error["msg"]).removeprefix("Value error, ")


def _is_plain(error: Any) -> bool:
    return isinstance(error["input"], bool | int | float)
