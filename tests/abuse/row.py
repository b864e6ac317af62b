"""A row of the table: one kind of abuse, done many times, and what did not hold."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from . import world

T = TypeVar("T")


class Found(NamedTuple):
    """What a row did, in words with counts, and what did not hold: nothing if all did."""

    done: str
    faults: list[str]


class Bench(NamedTuple):
    """Where a row works, and for how long.

    inputs: the folder of `world.make`; read only. folder: this row's own. quick: the form that is
    a test, of a second or two. seconds: what a row that can go on for ever takes.
    """

    inputs: Path
    folder: Path
    quick: bool
    seconds: float

    def times(self, quick: int, long: int) -> int:
        """Return how often to do something."""
        return quick if self.quick else long

    def fresh(self, name: str = "case") -> Path:
        """Return an empty folder of that name, with the caches of what runs next in it."""
        case = self.folder / name
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir(parents=True)
        world.use_cache(case / "cache")
        return case

    def words(self, line: str, out: Path) -> list[str]:
        """Return the words of a command's line on the inputs."""
        return world.words(line, self.inputs, out)

    def some(self, items: list[T], count: int, seed: int = 0) -> list[T]:
        """Return `count` of the items, drawn, in their order; in the long form all."""
        if not self.quick or count >= len(items):
            return items
        drawn = random.Random(seed).sample(range(len(items)), count)
        return [items[number] for number in sorted(drawn)]

    def until_late(self) -> Iterator[int]:
        """Yield 0, 1, ... until the seconds are over."""
        end, number = time.monotonic() + self.seconds, 0
        while number == 0 or time.monotonic() < end:
            yield number
            number += 1


Row = Callable[[Bench], Found]
