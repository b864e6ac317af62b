"""A study's records as they must be to be used: signed, of the right shape, in their own places.

A study may come from a colleague, or have lost files. Invariant: what is read here is whole and
leads nowhere else, or an error names the file and the fix.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from echosweep import runs
from echosweep.config import read_yaml
from echosweep.config.base import Name
from echosweep.errors import EchoSweepError, UsageError

FIX = "run the study again to write it anew"
_NO_SHAPE = (KeyError, TypeError, AttributeError, IndexError, ValidationError)


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Facts(_Record):
    """study.json."""

    identity: dict[str, Any] = {}
    data: dict[str, Any] = {}
    features: dict[str, Any] = {}
    gpus: int = 0


class _Trial(_Record):
    """A row of a stage's trials."""

    signature: Name
    state: Literal["complete", "failed", "running", "waiting"]
    label: str = ""
    changes: dict[str, Any] = {}
    budget: float = 1
    round: int = 0
    score: float | None = None


class _Selected(_Record):
    signature: Name


class _Stage(_Record):
    """stages/NN-NAME.json."""

    name: Name
    stage: str
    state: Literal["running", "done", "failed"]
    trials: list[_Trial] = []
    options: dict[str, Any] = {}
    selected: list[_Selected] | None = None
    score: str | None = None
    metric: str | None = None


class _Entry(_Record):
    name: Name
    stage: str = "search"


class _Recipe(_Record):
    """recipe.yaml."""

    stages: list[_Entry]


def read_facts(study: Path) -> dict[str, Any]:
    """Return study.json; raise UsageError where there is none, EchoSweepError where it is bad."""
    path = study / "study.json"
    try:
        return _checked(_Facts, runs.read_signed(path, FIX), path)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{study} is not a study: it has no study.json; give the folder that "
            "`echosweep study run` made"
        ) from None


def read_recipe(study: Path) -> dict[str, Any]:
    """Return recipe.yaml; raise EchoSweepError where it is not there, or no recipe."""
    path = study / "recipe.yaml"
    if not path.is_file():
        raise EchoSweepError(f"{path} is missing; {FIX}")
    try:
        return _checked(_Recipe, read_yaml(path), path)
    except UsageError as error:
        raise EchoSweepError(f"{error}; {FIX}") from None


def read_stages(study: Path) -> list[dict[str, Any]]:
    """Return the records of the stages that have begun, in their order.

    Raises EchoSweepError for a damaged one, one in another's place, or one that is missing although
    a later one, which depends on it, is there.
    """
    found = []
    for number, path in enumerate(sorted((study / "stages").glob("[0-9]*.json"))):
        record = _checked(_Stage, runs.read_signed(path, FIX), path)
        own, _, name = path.stem.partition("-")
        if name != record["name"]:
            raise EchoSweepError(f"{path} is of stage {record['name']!r}; {FIX}")
        if own != f"{number:02d}":
            raise EchoSweepError(
                f"{study / 'stages'} has {path.name} but no {number:02d}-*.json, on which it "
                f"depends; {FIX}"
            )
        found.append(record)
    return found


def read_result(study: Path, signature: str) -> dict[str, Any]:
    """Return what came out of a trial; raise EchoSweepError where it is missing or another's."""
    path = study / "trials" / signature / "result.json"
    try:
        result = runs.read_signed(path, FIX)
    except FileNotFoundError:
        raise EchoSweepError(f"{path} is missing although its trial is complete; {FIX}") from None
    if result.pop("trial", signature) != signature:
        raise EchoSweepError(f"{path} is of another trial; {FIX}")
    return result


@contextlib.contextmanager
def understood(study: Path) -> Iterator[None]:
    """Raise EchoSweepError where a signed record has not what a reader of it looks for.

    Another version, or a person, wrote it.
    """
    try:
        yield
    except _NO_SHAPE as error:
        raise EchoSweepError(
            f"a record of {study} is not as this version writes it ({type(error).__name__}: "
            f"{error}); {FIX}"
        ) from error


def _checked(kind: type[_Record], record: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        kind.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        said = str(first["msg"]).removeprefix("Value error, ")
        raise EchoSweepError(f"{path} is damaged ({where}: {said}); {FIX}") from None
    return record
