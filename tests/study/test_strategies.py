import itertools
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep.errors import UsageError
from echosweep.study.recipe import Range
from echosweep.study.strategies import (
    Proposal,
    Rounds,
    Space,
    StrategyOptions,
    cost,
    grid,
    halving,
    outlay,
    tpe,
)

Score = Callable[[Proposal], float | None]
SCORES = st.one_of(st.none(), st.just(math.nan), st.integers(0, 5).map(float))


def search(rounds: Rounds, score: Score) -> list[list[Proposal]]:
    """Return the rounds of a search whose proposals score so."""
    found = [next(rounds)]
    try:
        while True:
            found.append(rounds.send([score(proposal) for proposal in found[-1]]))
    except StopIteration:
        return found


def space_of(*sizes: int) -> Space:
    return {f"d{i}": tuple(range(size)) for i, size in enumerate(sizes)}


def total(changes: dict[str, Any]) -> float:
    return sum((i + 1) * abs(value - 1) for i, value in enumerate(changes.values()))


def winner(rounds: Sequence[Sequence[Proposal]], score: Score) -> dict[str, Any]:
    return min((score(p), i, p.changes) for i, p in enumerate(rounds[-1]))[2]  # type: ignore[type-var]


@given(st.lists(st.integers(1, 4), max_size=4))
def test_a_grid_has_every_cell_once(sizes: list[int]) -> None:
    (cells,) = search(grid(space_of(*sizes), StrategyOptions(), 0), lambda proposal: None)
    assert [tuple(cell.changes.values()) for cell in cells] == list(
        itertools.product(*map(range, sizes))
    )
    assert {cell.budget for cell in cells} == {1.0}


@pytest.mark.parametrize("strategy", [grid, halving])
@pytest.mark.parametrize(
    ("dimension", "says"),
    [
        (Range(low=0, high=1), r"d: \w+ cannot try all of 0 to 1; list the values"),
        ((), "d: no values to try; list at least one"),
        ((1, 2, 1), "d: 1 is listed twice"),
    ],
)
def test_what_cannot_be_listed_is_refused(strategy: Any, dimension: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        cost({"d": dimension}, StrategyOptions(), strategy.__name__)


@pytest.mark.parametrize(("k", "eta"), [(0, 3), (1, 2), (2, 3), (3, 3), (2, 4)])
def test_halving_costs_what_the_sum_says(k: int, eta: int) -> None:
    """n = eta^k: rung j trains eta^j candidates from eta^-(j+1) to eta^-j, 1 + k (1 - 1/eta)."""
    rounds = cost(space_of(eta**k), StrategyOptions(eta=eta), "halving")
    assert [(r.proposals, r.budget) for r in rounds] == [
        (eta**j, pytest.approx(eta**-j)) for j in range(k, -1, -1)
    ]
    assert sum(r.training for r in rounds) == pytest.approx(1 + k * (1 - 1 / eta))


def test_halving_finds_the_grids_winner_where_budgets_agree() -> None:
    """Less training adds the same to all, so their order is that of the full budget."""

    def score(proposal: Proposal) -> float:
        return total(proposal.changes) + 1 / proposal.budget

    space = space_of(3, 3, 3)
    whole, rungs = (search(s(space, StrategyOptions(), 0), score) for s in (grid, halving))
    assert winner(rungs, score) == winner(whole, score) == {"d0": 1, "d1": 1, "d2": 1}
    share = sum(r.training for r in outlay(rungs)) / sum(r.training for r in outlay(whole))
    assert share == pytest.approx(1 / 9)


def test_halving_loses_a_winner_that_starts_slowly() -> None:
    """What it risks: candidate 4 is the best of nine once trained, and bad before."""

    def score(proposal: Proposal) -> float:
        changes, budget = proposal
        return 20 * (1 - budget) if changes["d0"] == 4 else 1.0 + changes["d0"]

    space = space_of(9)
    assert winner(search(grid(space, StrategyOptions(), 0), score), score) == {"d0": 4}
    assert winner(search(halving(space, StrategyOptions(), 0), score), score) == {"d0": 0}


@given(st.data(), st.integers(1, 40), st.integers(2, 5), st.integers(1, 6))
def test_halving_keeps_its_promises(data: st.DataObject, n: int, eta: int, keep: int) -> None:
    given_scores: dict[tuple[int, float], float | None] = {}

    def score(proposal: Proposal) -> float | None:
        key = (proposal.changes["d0"], proposal.budget)
        return given_scores.setdefault(key, data.draw(SCORES))

    rounds = search(halving(space_of(n), StrategyOptions(eta=eta, keep=keep), 0), score)
    for before, after in itertools.pairwise(rounds):
        assert before[0].budget < after[0].budget
        ended = {
            p.changes["d0"]: s
            for p in before
            if (s := given_scores[p.changes["d0"], p.budget]) is not None and not math.isnan(s)
        }
        kept = [p.changes["d0"] for p in after]
        assert kept == sorted(kept)
        assert set(kept) <= set(ended)
        assert len(kept) == min(len(ended), max(keep, len(before) // eta))
        assert max((ended[i], i) for i in kept) <= min(
            ((s, i) for i, s in ended.items() if i not in kept), default=(math.inf, 0)
        )
    for before in rounds:
        assert len({p.budget for p in before}) == 1
        if keep == 1:
            assert len(before) * before[0].budget < eta  # full budgets, however many n are
    full = rounds[-1][0].budget == 1
    everything_failed = all(
        (s := given_scores[p.changes["d0"], p.budget]) is None or math.isnan(s) for p in rounds[-1]
    )
    assert full or everything_failed


def test_a_rung_after_which_none_would_go_is_left_out() -> None:
    rounds = cost(space_of(9), StrategyOptions(keep=3), "halving")
    assert [(r.proposals, r.budget) for r in rounds] == [(9, pytest.approx(1 / 9)), (3, 1.0)]
    assert [
        (r.proposals, r.budget) for r in cost(space_of(9), StrategyOptions(keep=9), "halving")
    ] == [(9, 1.0)]


def test_training_goes_on_from_what_was_trained() -> None:
    a, b = {"d": 1}, {"d": 2}
    rounds = outlay(
        [[Proposal(a, 0.25), Proposal(b, 0.25)], [Proposal(a, 1.0)], [Proposal(a, 0.5)]]
    )
    assert [r.training for r in rounds] == [0.5, 0.75, 0.0]


SQUARE: Space = {"x": Range(low=0, high=1), "y": Range(low=1e-4, high=1, log=True)}


def bowl(proposal: Proposal) -> float:
    """Return the squared distance to (0.3, 0.7) of the unit square, y on its log scale."""
    x, y = proposal.changes["x"], 1 + math.log10(proposal.changes["y"]) / 4
    return float((x - 0.3) ** 2 + (y - 0.7) ** 2)


def best(rounds: Sequence[Sequence[Proposal]], score: Score) -> float:
    return min(value for p in itertools.chain(*rounds) if (value := score(p)) is not None)


def test_tpe_beats_chance_on_a_bowl() -> None:
    """The least of n uniform draws has a median squared distance of ln 2 / (pi n)."""
    settings = StrategyOptions(trials=32)
    found = [best(search(tpe(SQUARE, settings, seed), bowl), bowl) for seed in range(5)]
    assert statistics.median(found) < math.log(2) / (math.pi * 32)


SMALL: Space = {
    "a": ("x", None, "y"),
    "b": ((1, 2), (2, 2)),
    "n": Range(low=1, high=3, integer=True),
}
POINTS = set(itertools.product(("x", None, "y"), ((1, 2), (2, 2)), (1, 2, 3)))


@pytest.mark.parametrize("fails", [False, True])
def test_tpe_proposes_a_small_space_whole(fails: bool) -> None:
    def score(proposal: Proposal) -> float | None:
        return None if fails and proposal.changes["a"] == "x" else float(proposal.changes["n"])

    rounds = search(tpe(SMALL, StrategyOptions(trials=50, round_size=5), 3), score)
    assert [len(proposals) for proposals in rounds] == [5, 5, 5, 3]
    points = [tuple(p.changes.values()) for p in itertools.chain(*rounds)]
    assert len(points) == len(POINTS)
    assert set(points) == POINTS


def total_of_n(proposal: Proposal) -> float:
    return float(proposal.changes["n"])


def test_tpe_starts_where_it_is_told() -> None:
    start = ({"a": "y", "b": [2, 2], "n": 3}, {"n": 2})
    first = next(tpe(SMALL, StrategyOptions(start=start, round_size=2), 0))
    assert first[0].changes == {"a": "y", "b": (2, 2), "n": 3}
    assert first[1].changes["n"] == 2


def test_tpe_starts_across_rounds() -> None:
    start = tuple({"a": "x", "b": (1, 2), "n": n} for n in (3, 1, 2))
    rounds = search(tpe(SMALL, StrategyOptions(start=start, round_size=2, trials=4), 0), total_of_n)
    assert [p.changes for p in itertools.chain(*rounds)][:3] == list(start)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ({"m": 1}, r"start: path 'm' is not known \(a, b, n\)"),
        ({"n": 4}, r"start: n = 4 is outside the space \(1 to 3\)"),
        ({"n": 1.5}, r"start: n = 1.5 is outside the space \(1 to 3\)"),
        ({"a": "z"}, r"start: a = 'z' is outside the space \(x, None, y\)"),
        ({"b": [1, 1]}, r"start: b = \[1, 1\] is outside the space"),
    ],
)
def test_a_start_outside_the_space_is_refused(start: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        cost(SMALL, StrategyOptions(start=(start,)), "tpe")


def test_tpe_without_optuna_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'echosweep\[study\]'"):
        cost(SMALL, StrategyOptions(), "tpe")


def test_tpe_is_silent(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    cost(SMALL, StrategyOptions(), "tpe")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(UsageError, match="strategy 'halve' is not known; did you mean 'halving'"):
        cost(SMALL, StrategyOptions(), "halve")


@pytest.mark.parametrize("wrong", [{"eta": 1}, {"keep": 0}, {"trials": 0}, {"round_size": 0}])
def test_settings_that_search_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        StrategyOptions.make(wrong)
