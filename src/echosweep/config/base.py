"""One frozen, typed value per run: checked when made, hashed, written, read back.

What a run computes is a function of its config and its data, so a config has a signature and equal
signatures mean equal work. A bad value says what it was, what is allowed and what to write.
Nothing here imports torch: names are checked against the registries' source text.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from echosweep import runs
from echosweep.config.messages import explain, nearest, shorten
from echosweep.config.yaml_files import read_yaml
from echosweep.errors import UsageError
from echosweep.registry import OPEN, added
from echosweep.text import NAME_RULE, is_name

_PACKAGE = Path(__file__).parents[1]
C = TypeVar("C", bound="Config")
_SWITCHES = {"true": "on", "yes": "on", "on": "on", "false": "off", "no": "off", "off": "off"}


@cache
def registered(package: str, registry: str) -> tuple[str, ...]:
    """Return the keys of the registry of that name in `echosweep/package/__init__.py`.

    Its own are read from the source, so that choices are known in milliseconds, before torch is
    imported; those that other packages add, from their metadata.
    """
    tree = ast.parse((_PACKAGE / package / "__init__.py").read_bytes())
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == registry for t in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            rows = node.value.args[1] if isinstance(node.value, ast.Call) else node.value
            assert isinstance(rows, ast.Dict)
            own = [ast.literal_eval(key) for key in rows.keys if key is not None]
            others = added(registry.lower()) if registry.lower() in OPEN else ()
            return tuple(dict.fromkeys([*own, *others]))
    raise AssertionError(f"no literal dict {registry} in {package}/__init__.py")


def check_choice(what: str, name: str, allowed: tuple[str, ...] | list[str]) -> str:
    """Return `name` if it is allowed; raise UsageError with the choices and the nearest one."""
    if name in allowed:
        return name
    name = shorten(name)
    raise UsageError(f"{what} {name!r} is not known{nearest(name, allowed)} ({', '.join(allowed)})")


class KeyOf(NamedTuple):
    """Marks a field whose value is a key, or a tuple of keys, of that registry, or in `also`."""

    package: str
    name: str
    also: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the names that the field may have."""
        return (*self.also, *registered(self.package, self.name))


class Free:
    """Marks a field that may change between two calls of one run.

    It says where, how long, how fast or on which device, and is no part of `identity`.
    """


class Spelling(NamedTuple):
    """Marks a field whose option has another spelling too, as -n beside --num."""

    also: str


class Repeated:
    """Marks a list whose option is given once for each value, as values may hold commas."""


class Config(BaseModel):
    """The base of every config: frozen, no unknown field, one-line errors with the fix."""

    RENAMED: ClassVar[Mapping[str, str]] = {}  # names of before, which are still read

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def make(cls, values: Mapping[str, Any], where: str = "option") -> Self:
        """Return the config of `values`; raise UsageError that names each wrong one and the fix."""
        values = cls._renamed({**values})
        try:
            return cls(**values)
        except ValidationError as error:
            raise UsageError(explain(error.errors(), cls, values, where)) from None

    @classmethod
    def merge(cls, config: "Config | None", settings: Mapping[str, Any]) -> Self:
        """Return `config`, or the default one, with `settings` on top."""
        given = config.model_dump(exclude_unset=True) if config else {}
        return cls.make({**given, **settings})

    @classmethod
    def _renamed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {cls.RENAMED.get(name, name): value for name, value in values.items()}

    @model_validator(mode="before")
    @classmethod
    def _take_words(cls, values: Any) -> Any:
        """Take names of before, and true and yes for on, false and no for off, where it is on."""
        if not isinstance(values, Mapping):
            return values
        taken = cls._renamed(values)
        for name, field in cls.model_fields.items():
            if name in taken and {"on", "off"} <= {*get_args(field.annotation)}:
                taken[name] = _SWITCHES.get(str(taken[name]).lower(), taken[name])
        return taken

    @model_validator(mode="after")
    def _check_registered(self) -> Self:
        for name, field in type(self).model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, KeyOf):
                    value = getattr(self, name) or ()
                    for chosen in (value,) if isinstance(value, str) else value:
                        check_choice(name, chosen, mark.keys)
        return self

    @classmethod
    def read(cls, path: str | Path, **overrides: Any) -> Self:
        """Read a config from a YAML file, `overrides` on top."""
        return cls.make(read_yaml(path) | overrides, where=f"option in {path}:")

    @classmethod
    def free(cls) -> set[str]:
        """Return the names of the fields that are marked as free."""
        return {name for name, field in cls.model_fields.items() if Free in field.metadata}

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide the result, as JSON: all that are not free."""
        return self.model_dump(mode="json", exclude=self.free())

    def words(self) -> list[str]:
        """Return the options that make this config, as words of a command line: no defaults."""
        return [word for name in type(self).model_fields for word in self._words_of(name)]

    def _words_of(self, name: str) -> Iterator[str]:
        field, flag = type(self).model_fields[name], "--" + name.replace("_", "-")
        value = self.model_dump(mode="json", include={name})[name]
        if getattr(self, name) == field.default or value is None:
            return
        if isinstance(value, bool):
            yield flag if value else "--no-" + flag[2:]
        elif Repeated in field.metadata:
            for part in value:
                yield from (flag, part)
        else:
            yield from (flag, ",".join(map(str, value)) if isinstance(value, list) else str(value))

    def part(self, kind: type[C]) -> C:
        """Return the fields of this config that another kind has too, as a config of that kind."""
        given = self.model_dump(exclude_unset=True)
        return kind.make({name: given[name] for name in kind.model_fields if name in given})

    def write(self, path: Path) -> None:
        """Write the config to `path` as YAML, atomically."""
        import yaml

        runs.write_text(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def split_at_commas(value: Any) -> Any:
    """Return the parts of 1,2,2: lists are one word on the command line."""
    return value.split(",") if isinstance(value, str) else value


def _is_name(value: str) -> str:
    if not is_name(value):
        raise UsageError(f"must be {NAME_RULE}")
    return value


def all_or_some(package: str, registry: str) -> Callable[[Any], Any]:
    """Return a validator that splits a list at commas, and takes all for every name there is."""

    def names(value: Any) -> Any:
        chosen = split_at_commas(value)
        return registered(package, registry) if list(chosen) == ["all"] else chosen

    return names


Name = Annotated[str, AfterValidator(_is_name)]  # may be part of a path
Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[PositiveInt | None, Spelling("-n")]  # of images; torchrun takes --num itself
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Split = Literal["train", "val", "test"]
Device = Annotated[
    str | None,
    Field(description="cpu, cuda, cuda:1, ...; default: a GPU where there is one"),
    Free,
]
