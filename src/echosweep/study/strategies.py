"""How a search goes through its space: generators that propose rounds and receive scores.

A strategy is a deterministic function of the space, its settings, the seed and the scores so far,
so a study that was interrupted replays it from the kept results and goes on. Invariant: it sees
scores alone, never time nor the order in which trials ended.
"""

import contextlib
import itertools
import math
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from echosweep import rng, runs
from echosweep.config import Config, check_choice
from echosweep.config.base import PositiveInt
from echosweep.errors import UsageError
from echosweep.study.recipe import Dimension, Range

if TYPE_CHECKING:
    import optuna

_AT_RANDOM = 10


class Proposal(NamedTuple):
    """What to try: values by path, and the share of the training budget to try it with."""

    changes: dict[str, Any]
    budget: float = 1.0


class StrategyOptions(Config):
    """What strategies can be told; each looks at its own."""

    eta: Annotated[int, Field(ge=2)] = Field(
        3, description="halving: one in eta goes on, with eta times the budget"
    )
    keep: PositiveInt = Field(1, description="halving: at least so many reach the full budget")
    trials: PositiveInt = Field(16, description="tpe: proposals in all")
    round_size: PositiveInt = Field(4, description="tpe: proposals made at once, so run at once")
    start: tuple[dict[str, Any], ...] = Field(
        (), description="tpe: points to propose first; what they leave open is drawn"
    )


class Round(NamedTuple):
    """What a round costs: proposals, each one's share of the training budget, and all they train.

    training counts full budgets. What was trained on less before goes on from there.
    """

    proposals: int
    budget: float
    training: float


Space = Mapping[str, Dimension]
Scores = Sequence[float | None]  # of the last round, in its order; None: it failed. Lower is better
Rounds = Generator[list[Proposal], Scores, None]
# At its first round a strategy raises UsageError for what it cannot search.
Strategy = Callable[[Space, StrategyOptions, int], Rounds]


def grid(space: Space, settings: StrategyOptions, seed: int) -> Rounds:
    """Propose every combination in one round, the last dimension changing fastest."""
    yield [Proposal(changes) for changes in combinations(space, "grid")]


def halving(space: Space, settings: StrategyOptions, seed: int) -> Rounds:
    """Propose all on a small budget, the best of them on more, by successive halving.

    Rung k of n combinations has the budget eta^-k, from k = floor(log_eta n) down to 0; the best
    1/eta go on, a tie to the earlier, what failed never. A rung after which as many would go on is
    left out. Jamieson & Talwalkar 2016, arXiv 1502.07943; in Hyperband (Li et al. 2018, arXiv
    1603.06560, algorithm 1) the bracket that stops earliest.
    """
    left = combinations(space, "halving")
    rung = next(k for k in itertools.count() if settings.eta ** (k + 1) > len(left))
    while left:
        if len(left) <= settings.keep:
            rung = 0
        scores = yield [Proposal(changes, float(settings.eta) ** -rung) for changes in left]
        if rung == 0:
            return
        best = sorted((score, i) for i, score in enumerate(scores) if is_finite(score))
        going_on = max(len(left) // settings.eta, settings.keep)
        left = [left[i] for i in sorted(i for _, i in best[:going_on])]
        rung -= 1


def tpe(space: Space, settings: StrategyOptions, seed: int) -> Rounds:
    """Propose where the scores so far promise most: Optuna's TPE, multivariate.

    Tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023, arXiv 2304.11127): of
    points drawn near the better part of those scored, the one likeliest to be of that part. Until
    ten have a score it draws at random. A round's own count as bad ones, which spreads them.
    Nothing is proposed twice. A space of fewer points than trials is proposed whole.
    """
    import_optuna()
    starts = [_checked_start(space, start) for start in settings.start]
    trials = int(min(settings.trials, _size(space)))
    done: list[tuple[dict[str, Any], float | None]] = []
    while len(done) < trials:
        size = min(settings.round_size, trials - len(done))
        first = starts[len(done) : len(done) + size]
        points = _ask(space, done, first, size, rng.derive("tpe", seed, len(done)))
        scores = yield [Proposal(values(space, point)) for point in points]
        done += zip(points, scores, strict=True)


def cost(space: Space, settings: StrategyOptions, strategy: str) -> list[Round]:
    """Return the rounds that a strategy of STRATEGIES will propose if nothing fails.

    Raises UsageError for all that the strategy cannot do with this space and these settings.
    """
    from echosweep.study import STRATEGIES  # here, not above: it names the functions above

    check_choice("strategy", strategy, list(STRATEGIES))
    return outlay(_rehearse(STRATEGIES[strategy](space, settings, 0)))


def outlay(rounds: Iterable[Sequence[Proposal]]) -> list[Round]:
    """Return what rounds cost, planned ones or those that were run."""
    trained: dict[str, float] = {}
    costs = []
    for proposals in rounds:
        training = 0.0
        for changes, budget in proposals:
            key = runs.canonical_json(changes)
            training += max(0.0, budget - trained.get(key, 0.0))
            trained[key] = max(budget, trained.get(key, 0.0))
        costs.append(Round(len(proposals), max(p.budget for p in proposals), training))
    return costs


def _rehearse(search: Rounds) -> Iterable[list[Proposal]]:
    """Yield a search's rounds when every score is 0."""
    with contextlib.suppress(StopIteration):
        proposals = next(search)
        while True:
            yield proposals
            proposals = search.send([0.0] * len(proposals))


def combinations(space: Space, strategy: str) -> list[dict[str, Any]]:
    """Return every combination of choices; raise UsageError for a range or a bad list."""
    for path, dimension in space.items():
        if isinstance(dimension, Range):
            raise UsageError(
                f"{path}: {strategy} cannot try all of {dimension.low:g} to {dimension.high:g}; "
                "list the values to try, or use strategy: tpe"
            )
        _check_choices(path, dimension)
    lists = [dimension for dimension in space.values() if not isinstance(dimension, Range)]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*lists)]


def _check_choices(path: str, choices: Sequence[Any]) -> None:
    """Raise UsageError for no choices, or one that is there twice."""
    if not choices:
        raise UsageError(f"{path}: no values to try; list at least one")
    if twice := [value for value in choices if choices.count(value) > 1]:
        raise UsageError(f"{path}: {twice[0]!r} is listed twice; list each value once")


def is_finite(score: float | None) -> bool:
    """Say whether there is a score to rank by."""
    return score is not None and math.isfinite(score)


def import_optuna() -> None:
    """Raise UsageError where Optuna is missing; keep it quiet where it is not."""
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "strategy tpe and the ledger need Optuna; pip install 'echosweep[study]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def distributions(space: Space) -> dict[str, "optuna.distributions.BaseDistribution"]:
    """Return the space as Optuna has it."""
    import optuna.distributions as of

    def distribution(dimension: Dimension) -> of.BaseDistribution:
        if not isinstance(dimension, Range):
            return of.CategoricalDistribution([param(value) for value in dimension])
        low, high, log = dimension.low, dimension.high, dimension.log
        if dimension.integer:
            return of.IntDistribution(int(low), int(high), log=log)
        return of.FloatDistribution(low, high, log=log)

    return {path: distribution(dimension) for path, dimension in space.items()}


def param(value: Any) -> Any:
    """Return a value as Optuna keeps it: a list, which it has not, as its JSON."""
    return runs.canonical_json(value) if isinstance(value, list | tuple) else value


def values(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return Optuna's parameters as values of the space, in its order."""

    def value(dimension: Dimension, kept: Any) -> Any:
        if isinstance(dimension, Range):
            return kept
        return next(choice for choice in dimension if param(choice) == kept)

    return {path: value(dimension, params[path]) for path, dimension in space.items()}


def _size(space: Space) -> float:
    """Return how many points a space has, infinitely many where a dimension is continuous."""

    def points(path: str, dimension: Dimension) -> float:
        if not isinstance(dimension, Range):
            _check_choices(path, dimension)
            return len(dimension)
        return int(dimension.high) - int(dimension.low) + 1 if dimension.integer else math.inf

    return math.prod(points(path, dimension) for path, dimension in space.items())


def _checked_start(space: Space, start: Mapping[str, Any]) -> dict[str, Any]:
    """Return a start point as Optuna's parameters; raise UsageError where it is outside."""
    for path, value in start.items():
        check_choice("start: path", path, list(space))
        dimension = space[path]
        if isinstance(dimension, Range):
            allowed = f"{dimension.low:g} to {dimension.high:g}"
            inside = isinstance(value, int if dimension.integer else int | float)
            inside = inside and dimension.low <= value <= dimension.high
        else:
            allowed = ", ".join(map(str, dimension))
            inside = param(value) in map(param, dimension)
        if not inside:
            raise UsageError(f"start: {path} = {value!r} is outside the space ({allowed})")
    return {path: param(value) for path, value in start.items()}


def _ask(
    space: Space,
    done: Iterable[tuple[dict[str, Any], float | None]],
    starts: Iterable[dict[str, Any]],
    size: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return `size` new points, as Optuna's parameters, from a study that holds those done."""
    import optuna
    from optuna.trial import TrialState, create_trial

    found, inside = [], distributions(space)
    seen = {runs.canonical_json(params) for params, _ in done}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study()
        seed %= 2**32  # NumPy's
        chance = optuna.samplers.RandomSampler(seed)
        learned = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_AT_RANDOM
        )
        for params, score in done:
            ended = {"value": score} if is_finite(score) else {"state": TrialState.FAIL}
            study.add_trial(create_trial(params=params, distributions=inside, **ended))
        for start in starts:
            study.enqueue_trial(start)
        for _ in range(size):
            study.sampler = learned
            trial = study.ask(inside)
            while (key := runs.canonical_json(trial.params)) in seen:
                study.tell(trial, state=TrialState.FAIL)
                study.sampler = chance
                trial = study.ask(inside)
            seen.add(key)
            found.append(trial.params)
    return found
