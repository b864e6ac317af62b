"""Registries: what EchoSweep has under a name, and what installed packages add to it.

A package adds under an entry point group `echosweep.REGISTRY`, as `echosweep.samplers`, so that its
names are known by its metadata alone and its code is imported when a name is used.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from echosweep.errors import EchoSweepError
from echosweep.text import is_name, printable

T = TypeVar("T")
OPEN = (
    *("networks", "frameworks", "samplers", "weightings", "discriminators", "objectives"),
    *("sources", "extractors", "metrics", "classifiers", "formats", "strategies", "backends"),
)
"""The registries that packages may add to."""


class Registry(Mapping[str, T]):
    """A mapping of EchoSweep's own rows and those of other packages, in this order.

    Args:
        name: The last word of the entry point group: samplers for `echosweep.samplers`.
        own: EchoSweep's own rows; a name of these cannot be taken by another package.

    Raises:
        EchoSweepError: When a row of a package is used that cannot be imported.
    """

    def __init__(self, name: str, own: Mapping[str, T]) -> None:
        self._name, self._own = name, dict(own)
        self._loaded: dict[str, T] = {}

    def __getitem__(self, key: str) -> T:
        if key in self._own:
            return self._own[key]
        if key not in self._loaded:
            self._loaded[key] = load(added(self._name)[key])
        return self._loaded[key]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from (name for name in added(self._name) if name not in self._own)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@cache
def added(registry: str) -> dict[str, EntryPoint]:
    """Return what installed packages add to a registry, by name, without importing any of it."""
    found = sorted(entry_points(group=f"echosweep.{registry}"), key=lambda point: point.name)
    return {point.name: point for point in found if is_name(point.name)}


def package(point: EntryPoint) -> str:
    """Return the name and version of the package that an entry point belongs to."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def load(point: EntryPoint) -> T:  # type: ignore[type-var]
    """Return the object of an entry point; raise EchoSweepError if it cannot be imported."""
    try:
        loaded: T = point.load()
    except Exception as error:
        raise EchoSweepError(
            f"{point.name!r} of {package(point)} ({point.value}) cannot be imported: "
            f"{printable(f'{type(error).__name__}: {error}')}; mend or uninstall that package"
        ) from error
    return loaded
