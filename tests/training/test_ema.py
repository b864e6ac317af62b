import pytest
import torch

from echosweep.training.ema import ema_beta, update_ema


def test_half_of_the_old_is_left_after_a_half_life() -> None:
    average, weight = [torch.ones(3, dtype=torch.float64)], [torch.zeros(3, dtype=torch.float64)]
    for step in range(50):  # 50 steps of 10 images: half a thousand
        update_ema(average, weight, ema_beta(10**9 + step, 10, halflife_kimg=0.5, rampup=0.05))
    assert average[0].tolist() == pytest.approx([0.5] * 3, rel=1e-12)


def test_ramp_up_bounds_the_half_life_by_a_share_of_the_images_seen() -> None:
    assert ema_beta(0, 8, 500, 0.05) == 0
    assert ema_beta(1000, 8, 500, 0.05) == pytest.approx(0.5 ** (8 / 50))
    assert ema_beta(10**8, 8, 500, 0.05) == pytest.approx(0.5 ** (8 / 500_000))
    assert ema_beta(0, 8, 500, 0) == pytest.approx(0.5 ** (8 / 500_000))
