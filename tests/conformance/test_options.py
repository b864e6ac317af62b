"""Every option of every command is declared once: as a field of a config."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from cyclopts import App
from pydantic import Field

from echosweep.cli import app
from echosweep.cli.options import AsJson, Details, DryRun, takes
from echosweep.config import Config, Free, Repeated, Spelling
from echosweep.errors import UsageError

# How results are printed, and whether the work is done at all: declared in cli/options.py.
SHARED = (AsJson, Details, DryRun)


def commands(of: App) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield each command that can be called, by its name."""
    for name in of:
        if name.startswith("-"):
            continue
        if of[name].default_command:
            yield name, of[name].default_command
        else:
            yield from commands(of[name])


COMMANDS = dict(commands(app))


def test_all_commands_are_walked() -> None:
    assert {"run", "train", "shift", "choose-epoch", "prepare", "report"} <= COMMANDS.keys()
    assert len(COMMANDS) >= 19


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_is_a_field_of_a_config(name: str) -> None:
    for parameter in inspect.signature(COMMANDS[name]).parameters.values():
        if parameter.default is parameter.empty or parameter.name == "out":
            continue  # what is read, and where the results go
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.annotation not in SHARED:
            assert parameter.name in ("from_file", "options")


@pytest.mark.parametrize("kind", sorted(Config.__subclasses__(), key=lambda kind: kind.__name__))
def test_every_option_has_a_help_text(kind: type[Config]) -> None:
    if not kind.__module__.startswith("echosweep.config"):
        return  # of a recipe, not of a command
    for each in (kind, *kind.__subclasses__()):
        for name, field in each.model_fields.items():
            assert field.description, f"{each.__name__}.{name}"


class Toy(Config):
    """Options of a command of a test."""

    RENAMED: ClassVar = {"how_many": "amount"}

    amount: Annotated[int | None, Field(gt=0), Spelling("-a")] = Field(
        None, description="how many; default: all"
    )
    names: tuple[str, ...] = Field(("x",), description="several with commas")
    given: Annotated[tuple[str, ...], Repeated] = Field((), description="may be given again")
    whole: bool = Field(True, description="the whole of it")
    where: Annotated[Path | None, Free] = Field(None, description="a folder")


@pytest.fixture
def toy() -> tuple[App, list[Toy]]:
    called: list[Toy] = []

    @takes(Toy)
    def toy(source: str, /, *, options: Toy, details: Details = False) -> None:
        """Do nothing."""
        called.append(options)

    made = App()
    made.default(toy)
    return made, called


def test_options_come_from_the_fields_and_from_a_file(
    toy: tuple[App, list[Toy]], tmp_path: Path
) -> None:
    app, called = toy
    (tmp_path / "a.yaml").write_text("amount: 3\nnames: [p, q]\n")

    def call(*words: str) -> Toy:
        app(["source", *words], exit_on_error=False, result_action="return_value")
        return called.pop()

    assert call() == Toy()
    assert call("-a", "2", "--no-whole") == Toy(amount=2, whole=False)
    assert call("--how-many", "4") == Toy(amount=4)
    assert call("--given", "a,b", "--given", "c").given == ("a,b", "c")
    read = call("--config", str(tmp_path / "a.yaml"), "--amount", "5", "--where", "x")
    assert read == Toy(amount=5, names=("p", "q"), where=Path("x"))
    with pytest.raises(UsageError, match="option amount = 0: must be above 0"):
        call("-a", "0")


def test_free_fields_are_no_part_of_what_decides_the_result() -> None:
    assert "where" not in Toy(where=Path("x")).identity()
    assert Toy(where=Path("x")).identity() == Toy().identity()
