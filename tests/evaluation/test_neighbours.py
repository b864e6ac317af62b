"""Exact neighbours: against sums of differences, in bounded memory, equal rows at exactly 0."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echosweep.errors import UsageError
from echosweep.evaluation.neighbours import nearest, pair_distances


def brute(queries: NDArray[Any], base: NDArray[Any]) -> NDArray[np.float64]:
    """All distances (N, M), as sums of float64 differences."""
    x, y = (a.reshape(len(a), -1).astype(np.float64) for a in (queries, base))
    return np.sqrt(np.square(x[:, None] - y).sum(-1))


class Spied:
    """Rows that note how many of them are asked for at once."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        self.values, self.shape, self.most = values, values.shape, 0

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: Any) -> NDArray[np.float32]:
        found = self.values[chosen]
        self.most = max(self.most, len(found))
        return found


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 30),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(1, 6),
    st.integers(0, 9),
    st.sampled_from([10_000, 60_000, 2**30]),
)
def test_it_finds_what_the_sums_of_differences_say(
    n: int, m: int, width: int, k: int, seed: int, memory: int
) -> None:
    draw, k = np.random.default_rng(seed), min(k, m)
    queries = draw.normal(100, 1, (n, width)).astype(np.float32)
    base = draw.normal(100, 1, (m, width)).astype(np.float32)
    found = nearest(queries, base, k, memory=memory)
    all_distances = brute(queries, base)
    np.testing.assert_allclose(found.distances, np.sort(all_distances, 1)[:, :k], rtol=1e-12)
    np.testing.assert_allclose(
        np.take_along_axis(all_distances, found.rows, 1), found.distances, rtol=1e-12
    )


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_equal_images_are_at_exactly_0(shape: tuple[int, ...]) -> None:
    base = np.random.default_rng(0).integers(0, 256, (60, *shape), dtype=np.uint8)
    found = nearest(base[::-1], base)
    assert (found.distances == 0).all()
    assert found.rows[:, 0].tolist() == list(range(59, -1, -1))


def test_float32_does_not_swap_rows_that_only_float64_can_tell_apart() -> None:
    # 40 rows, more than the candidates kept, 1e-4 apart at a distance of 1e4: float32 sees one.
    base = np.zeros((40, 2))
    base[:, 0] = 1e4 + 1e-4 * np.random.default_rng(0).permutation(40)
    base = np.concatenate([base, -base])
    found = nearest(np.array([[1.0, 0.0]]), base, 3)
    assert found.distances[0].tolist() == np.sort(base[:40, 0] - 1)[:3].tolist()


def test_many_copies_of_one_row_are_all_at_0() -> None:
    base = np.repeat(np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32), 30, axis=0)
    found = nearest(base, base, 25)
    assert (found.distances == 0).all()
    assert (found.rows // 30 == np.arange(90)[:, None] // 30).all()


def test_rows_of_the_own_group_are_no_neighbours() -> None:
    x = np.array([[0.0], [1.0], [3.0]])
    groups = np.array([0, 0, 1])
    found = nearest(x, x, 2, apart=(groups, groups))
    assert found.rows.tolist() == [[2, -1], [2, -1], [1, 0]]
    assert found.distances.tolist() == [[3, np.inf], [2, np.inf], [2, 3]]


def test_pairs_are_those_that_were_asked_for() -> None:
    x = np.array([[0.0], [1.0], [5.0]])
    # Rows 0, 0, 2 span as many as they are: they are no slice.
    found = pair_distances(x, x, np.array([0, 0, 2]), np.array([[1, 2], [2, -1], [0, 2]]))
    assert found.tolist() == [[1, 5], [5, np.inf], [5, 0]]


def test_blocks_shrink_with_the_memory() -> None:
    values = np.random.default_rng(0).normal(size=(3000, 64)).astype(np.float32)
    queries, base = Spied(values), Spied(values + 1)
    small = nearest(queries, base, memory=2**20)
    # A block of each side and its distances, in float32: n (64 + 64) 4 + 4 n n bytes at least.
    assert max(queries.most, base.most) ** 2 * 4 <= 2**20
    assert (small.rows == nearest(values, values + 1).rows).all()


def test_what_cannot_be_asked_is_refused() -> None:
    x = np.zeros((3, 4), np.float32)
    with pytest.raises(UsageError, match="4 and 5 numbers"):
        nearest(x, np.zeros((3, 5), np.float32))
    with pytest.raises(UsageError, match="choose 1 to 3"):
        nearest(x, x, 4)
    with pytest.raises(UsageError, match="give at least"):
        nearest(x, x, memory=10)
