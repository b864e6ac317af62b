"""What chance leaves of an accuracy and an AUC: closed forms, and draws where nothing differs."""

from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep.evaluation.shift_chance import (
    LEVEL,
    accuracy_variance,
    auc,
    auc_variance,
    concentration,
    margin,
)

numbers = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


def test_concentration_is_one_over_the_number_of_equal_groups():
    assert concentration(np.repeat(np.arange(8), 5)) == pytest.approx(1 / 8)
    assert concentration(np.zeros(9, np.int64)) == 1
    assert concentration(np.array([7, 7, 7, 2])) == pytest.approx(0.75**2 + 0.25**2)


def test_variances_are_those_of_independent_images():
    n, m = 12, 30
    # A coin each: (1/4 / n + 1/4 / m) / 4; and Mann and Whitney's.
    assert accuracy_variance(1 / n, 1 / m) == pytest.approx((0.25 / n + 0.25 / m) / 4)
    assert auc_variance(1 / n, 1 / m) == pytest.approx((n + m + 1) / (12 * n * m))


def test_margin_is_the_bound_of_a_sub_gaussian():
    assert margin(0.01) == pytest.approx(0.1 * sqrt(2 * log(1 / LEVEL)))
    assert margin(0.01, 3) == pytest.approx(0.1 * sqrt(2 * log(3 / LEVEL)))


@given(numbers, numbers)
def test_auc_is_the_share_of_pairs(generated: list[int], reference: list[int]):
    pairs = [(g > r) + 0.5 * (g == r) for g in generated for r in reference]
    found = auc(np.array(generated), np.array(reference))
    assert found == pytest.approx(np.mean(pairs))
    assert found + auc(np.array(reference), np.array(generated)) == pytest.approx(1)


@pytest.mark.parametrize("patients", [2, 12])
@pytest.mark.parametrize("shared", [0.0, 1.0])
@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_alike_sides_leave_the_margins_in_fewer_than_one_panel_of_twenty(
    patients: int, shared: float, bias: float
):
    """Scores of frames that share a part of their variance with the other frames of a patient."""
    draw, panels, outside = np.random.default_rng(0), 300, np.zeros(2)
    for _ in range(panels):
        groups = np.repeat(np.arange(patients), draw.integers(1, 30, patients))
        of_patient = draw.normal(size=patients)[groups]
        real = sqrt(shared) * of_patient + sqrt(1 - shared) * draw.normal(size=len(groups)) + bias
        made = draw.normal(size=60) + bias
        accuracy = ((made > 0).mean() + (real <= 0).mean()) / 2
        both = 1 / 60, concentration(groups)
        outside += [
            accuracy - 0.5 > margin(accuracy_variance(*both)),
            abs(auc(made, real) - 0.5) > margin(auc_variance(*both), 2),
        ]
    assert (outside / panels < LEVEL).all()


def test_the_margin_is_not_idle():
    """Right on 19 of 20 patients is no chance; right on both of two may be."""
    assert margin(accuracy_variance(1 / 20, 1 / 20), 3) < 0.45
    assert margin(accuracy_variance(1 / 2, 1 / 2), 3) > 0.5
