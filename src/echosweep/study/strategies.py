"""How a search goes through its space: generators that propose rounds and receive scores.

A strategy is a deterministic function of the space, its settings, the seed and the scores so far,
so a study that was interrupted replays it from the kept results and goes on. Invariant: it sees
scores alone, never time nor the order in which trials ended.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from echosweep.config import Config
from echosweep.study.recipe import Dimension


class Proposal(NamedTuple):
    """What to try: values by path, and the share of the training budget to try it with."""

    changes: dict[str, Any]
    budget: float = 1.0


class Settings(Config):
    """What strategies can be told; each looks at its own."""

    eta: int = 3
    keep: int = 1
    trials: int = 16
    round_size: int = 4
    start: tuple[dict[str, Any], ...] = ()


class Round(NamedTuple):
    """What a round will cost, known beforehand."""

    proposals: int
    budget: float


Space = Mapping[str, Dimension]
Scores = Sequence[float | None]  # of the last round, in its order; None: it failed. Lower is better
Strategy = Callable[[Space, Settings, int], Generator[list[Proposal], Scores, None]]


def grid(space: Space, settings: Settings, seed: int) -> Generator[list[Proposal], Scores, None]:
    """Propose every combination in one round."""
    raise NotImplementedError


def halving(space: Space, settings: Settings, seed: int) -> Generator[list[Proposal], Scores, None]:
    """Propose all on a small budget, the best of them on more, by successive halving."""
    raise NotImplementedError


def tpe(space: Space, settings: Settings, seed: int) -> Generator[list[Proposal], Scores, None]:
    """Propose where the scores so far promise most: Optuna's TPE."""
    raise NotImplementedError


def cost(space: Space, settings: Settings, strategy: str) -> list[Round]:
    """Return the rounds that a strategy of STRATEGIES will propose if nothing fails."""
    raise NotImplementedError
