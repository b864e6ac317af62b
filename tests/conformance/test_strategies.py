"""Every registered strategy keeps the contract; registering is testing."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echosweep import runs
from echosweep.study import STRATEGIES
from echosweep.study.candidate import Candidate
from echosweep.study.strategies import Proposal, Space, Strategy, StrategyOptions, cost

ALL = pytest.mark.parametrize("name", STRATEGIES)
SPACE: Space = {
    "train.framework": ("edm", "vp", "ve"),
    "train.channel_mult": ((1, 2), (1, 2, 2)),
    "sample.steps": (18, 30),
}
SETTINGS = StrategyOptions(trials=12, round_size=5)
Scores = list[float | None]


def replay(strategy: Strategy, scores: Scores, seed: int = 0) -> list[list[Proposal]]:
    """Return the rounds that a search makes when its proposals score so, one after another."""
    rounds, left = strategy(SPACE, SETTINGS, seed), iter(scores)
    found = [next(rounds)]
    try:
        while True:
            answers = list(itertools.islice(left, len(found[-1])))
            if len(answers) < len(found[-1]):
                return found
            found.append(rounds.send(answers))
    except StopIteration:
        return found


@ALL
def test_proposals_are_points_of_the_space_that_candidates_can_be(name: str) -> None:
    base = Candidate.make({"train": {"network": "ddpmpp", "total_kimg": 1}})
    rounds = replay(STRATEGIES[name], [0.0] * 100)
    for proposal in itertools.chain(*rounds):
        assert list(proposal.changes) == list(SPACE)
        assert all(value in SPACE[path] for path, value in proposal.changes.items())  # type: ignore[operator]
        assert 0 < proposal.budget <= 1
        assert base.changed(proposal.changes).sample.steps == proposal.changes["sample.steps"]
    assert all(proposals for proposals in rounds)
    assert max(proposal.budget for proposal in rounds[-1]) == 1
    said = [runs.canonical_json(proposal) for proposal in itertools.chain(*rounds)]
    assert len(set(said)) == len(said)


@ALL
@pytest.mark.parametrize("worst", [None, math.nan, math.inf])
def test_it_ends_where_everything_fails(name: str, worst: float | None) -> None:
    rounds = replay(STRATEGIES[name], [worst] * 1000)
    assert sum(map(len, rounds)) <= 12


@ALL
def test_its_cost_is_known_beforehand(name: str) -> None:
    rounds = replay(STRATEGIES[name], [float(i % 7) for i in range(100)])
    planned = cost(SPACE, SETTINGS, name)
    assert [r.proposals for r in planned] == [len(proposals) for proposals in rounds]
    assert [r.budget for r in planned] == [proposals[0].budget for proposals in rounds]


@ALL
@settings(max_examples=5, deadline=None)
@given(
    scores=st.lists(st.none() | st.floats(0, 9), min_size=24, max_size=24),
    seed=st.integers(0, 2**31 - 1),
    cut=st.integers(0, 24),
)
def test_a_replay_from_kept_scores_goes_on_as_the_whole(
    name: str, scores: Scores, seed: int, cut: int
) -> None:
    whole = replay(STRATEGIES[name], scores, seed)
    begun = replay(STRATEGIES[name], scores[:cut], seed)
    assert begun == whole[: len(begun)]
    assert sum(map(len, begun[:-1])) <= cut
