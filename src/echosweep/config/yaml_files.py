"""YAML files of users: plain values within bounds, in the words of YAML 1.2.

An alias can stand for a list of aliases, each for another such list: a file of some lines then
unfolds to more than any memory. So nodes are counted as if aliases were written out. Invariant:
what is returned has at most `_MOST_NODES` values, none is an object, and no key was given twice.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from echosweep import bounded
from echosweep.config.messages import shorten
from echosweep.errors import UsageError

_MOST_BYTES, _MOST_NODES, _MOST_DEPTH = 1 << 18, 10_000, 40
_LONGEST_NUMBER = 40  # characters
_LONGEST_MESSAGE = 300
_WORDS = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")  # of more than YAML 1.2 has
_MERGE, _INT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:int"


class _Refused(Exception):
    """What a file holds is not read, though it is YAML."""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    As in YAML 1.2, on, off, yes and no are words, and 1e-3 is a number.

    Args:
        path: The file.

    Raises:
        UsageError: It cannot be read, holds no mapping, is too large, or has a key twice.
    """
    import yaml  # here, not above: `--help` need not wait for it

    try:
        loader = _loader()(bounded.read_bytes(path, _MOST_BYTES))
        node = loader.get_single_node()
        _count(node, {})
        values = loader.construct_document(node) if node else None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except _Refused as problem:
        raise UsageError(f"{path} {problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        message = shorten(" ".join(str(error).split()), _LONGEST_MESSAGE)
        raise UsageError(f"{path} is not YAML: {message}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold `name: value` lines, not {type(values).__name__}")
    return {str(name): value for name, value in values.items()}


def _count(node: Any, known: dict[int, int]) -> int:
    """Return how many values `node` has, aliases written out; raise _Refused for too many.

    known: the numbers of nodes that were counted, by identity; 0 while one is being counted.
    """
    if id(node) in known or node is None or isinstance(node.value, str):
        if known.get(id(node)) == 0:
            raise _Refused(f"line {node.start_mark.line + 1}: an alias stands within itself")
        return known.get(id(node), 1)
    known[id(node)] = 0
    parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
    known[id(node)] = total = 1 + sum(_count(part, known) for part in parts)
    if total > _MOST_NODES:
        raise _Refused(f"holds more than {_MOST_NODES:,} values, aliases written out")
    return total


@cache
def _loader() -> Any:
    """Return PyYAML's safe loader, which reads YAML 1.1, with the plain words of YAML 1.2."""
    import yaml

    class Loader(yaml.SafeLoader):
        nodes = depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            line = event.start_mark.line + 1
            self.nodes, self.depth = self.nodes + 1, self.depth + 1
            if self.nodes > _MOST_NODES:
                raise _Refused(f"holds more than {_MOST_NODES:,} values")
            if self.depth > _MOST_DEPTH:
                raise _Refused(f"line {line}: more than {_MOST_DEPTH} lists within each other")
            if tag := getattr(event, "tag", None):
                raise _Refused(f"line {line}: the tag {shorten(tag)!r} is not read; leave it out")
            node: Any = super().compose_node(parent, index)
            self.depth -= 1
            if node.tag == _INT and len(node.value) > _LONGEST_NUMBER:
                raise _Refused(f"line {line}: a number of {len(node.value)} digits")
            return node

        def compose_mapping_node(self, anchor: Any) -> Any:
            node, names = super().compose_mapping_node(anchor), set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.tag != _MERGE:
                    if key.value in names:
                        raise _Refused(
                            f"line {key.start_mark.line + 1}: {shorten(key.value)!r} stands there "
                            "twice; keep one"
                        )
                    names.add(key.value)
            return node

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag not in _WORDS]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    truth, power = re.compile("(?i:true|false)$"), re.compile(r"[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", truth, list("tTfF"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", power, list("-+0123456789"))
    return Loader
