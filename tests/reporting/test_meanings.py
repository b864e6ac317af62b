import pytest

from echosweep.reporting.meanings import MEANINGS, UNKNOWN, meaning


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("fid", "fd"),
        ("fid768_floor", "fd_floor"),
        ("fd_efficientnet_lite0_above_floor", "fd_above_floor"),
        ("rfd_floor", "fd_floor"),
        ("rfd_real_redrawn_std", "fd_real_redrawn_std"),
        ("sector_iou_floor", "sector_iou"),
        ("mean_level_generated", "mean_level"),
    ],
)
def test_names_find_their_meaning(name: str, like: str) -> None:
    assert meaning(name) is MEANINGS[like]


@pytest.mark.parametrize("name", ["precision_floor", "fidelity", "afd", ""])
def test_other_names_have_none(name: str) -> None:
    assert meaning(name) is UNKNOWN
