"""Folds: no patient on both sides, every one tested once, equal numbers to train on."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep.errors import UsageError
from echosweep.evaluation.sets import Side
from echosweep.evaluation.shift_folds import check_folds, count_parts, deal, make_folds

sizes = st.lists(st.integers(1, 9), min_size=1, max_size=30)


class Grouped(Side):
    """A side of which only the groups are known."""

    def __init__(self, groups: Any) -> None:
        object.__setattr__(self, "rows", np.arange(len(groups)))
        self.__dict__["groups"] = np.asarray(groups)


@given(sizes, st.integers(1, 10), st.integers(0, 5))
def test_groups_are_dealt_whole_and_evenly(sizes: list[int], parts: int, seed: int):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    dealt = deal(groups, parts, seed)
    assert all(len(set(dealt[groups == group])) == 1 for group in range(len(sizes)))
    counts = np.bincount(dealt, minlength=parts)
    assert counts.max() - counts.min() <= max(sizes)
    assert (counts > 0).sum() == min(parts, len(sizes))


@given(sizes.filter(lambda s: len(s) > 1), st.integers(0, 5))
def test_every_group_is_tested_once_and_never_trained_on_then(sizes: list[int], seed: int):
    real = Grouped(np.repeat(np.arange(len(sizes)), sizes))
    made = Grouped(np.arange(sum(sizes)))
    folds = make_folds(made, real, count_parts(made, real), seed)
    for side, place in ((made, 0), (real, 1)):
        tested = np.concatenate([fold[place].test for fold in folds])
        assert sorted(tested) == list(range(sum(sizes)))
        for fold in folds:
            part = fold[place]
            assert not set(side.groups[part.train]) & set(side.groups[part.test])
            assert len(set(part.train)) == len(part.train)
    assert all(len(fold.generated.train) == len(fold.reference.train) for fold in folds)


def test_other_images_of_the_generated_side_leave_the_reference_its_folds():
    real = Grouped(np.repeat(np.arange(12), 5))
    once = make_folds(Grouped(np.arange(60)), real, 3, 0)
    again = make_folds(Grouped(np.arange(60)), real, 3, 0)
    other = make_folds(Grouped(np.arange(60)), real, 3, 1)
    for fold, same in zip(once, again, strict=True):
        np.testing.assert_array_equal(fold.reference.train, same.reference.train)
        np.testing.assert_array_equal(fold.reference.test, same.reference.test)
    assert set(once[0].reference.test) != set(other[0].reference.test)


def test_few_patients_are_fewer_parts():
    made = Grouped(np.arange(90))
    assert count_parts(made, Grouped(np.arange(90) % 40)) == 10
    assert count_parts(made, Grouped(np.arange(90) % 7)) == 7
    check_folds(made, Grouped(np.arange(90) % 7), 7)


def test_what_cannot_be_held_out_is_refused(stores: Any, lung: np.ndarray):
    store = stores("one", lung)
    side = Side(store, store.rows("train"))
    with pytest.raises(UsageError, match="of one patient or video cannot be both trained"):
        check_folds(side, side, 1)
    both = Side(store, store.rows())
    with pytest.raises(UsageError, match="--repeats 3: there are only 2 parts"):
        check_folds(both, both, 3)
