"""The package's own words: commands, keys of registries, choices of options, recipes.

A record keeps the command that made it, for its numbers and choices, but no name of a file, a
person or a place. So what is kept is known, and all else goes. Invariant: nothing is imported; the
words are read from the source text, once.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
_OPTION = re.compile(r"--[a-z][a-z0-9-]*|-[a-z]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(x\d+)*")
_SPLITS = ("train", "val", "test", "all")
HIDDEN = "<path>"


def nameless(words: Sequence[str]) -> list[str]:
    """Return a command line with "<path>" in place of every word that may name a file or a person.

    Options, numbers and the package's own words stay, also in lists with commas.
    """
    program = [Path(word).name for word in words[:1]]
    return program + [_nameless(word) for word in words[1:]]


def _nameless(word: str) -> str:
    option, equals, value = word.partition("=")
    if _OPTION.fullmatch(option) and not _NUMBER.fullmatch(word):
        return option + equals + (_nameless(value) if equals else "")
    known = all(_NUMBER.fullmatch(part) or part in _own() for part in word.split(","))
    return word if known else HIDDEN


@cache
def _own() -> frozenset[str]:
    recipes = (path.stem for path in (_PACKAGE / "recipes").glob("*.yaml"))
    found = {word for path in _PACKAGE.rglob("*.py") for word in _words_of(path)}
    return frozenset({*found, *recipes, *_SPLITS})


def _words_of(path: Path) -> Iterator[str]:
    """Yield the commands, keys of registries and choices that a source file declares."""
    text = path.read_text()
    registry, commands = path.name == "__init__.py", path.parent.name == "cli"
    if not (registry or commands or "Literal[" in text):
        return
    for node in ast.walk(ast.parse(text)):
        if registry and isinstance(node, ast.Dict):
            yield from _texts(key for key in node.keys if key)
        elif commands and isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name.replace("_", "-")
        elif isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "Literal":
            yield from _texts(ast.walk(node.slice))


def _texts(nodes: Iterator[ast.AST]) -> Iterator[str]:
    values = (node.value for node in nodes if isinstance(node, ast.Constant))
    return (value for value in values if isinstance(value, str))
