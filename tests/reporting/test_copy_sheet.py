import numpy as np
import pytest

from echosweep.reporting.copy_sheet import copy_sheet, difference


@pytest.mark.parametrize("shape", [(2, 6, 60), (2, 6, 60, 3)])
def test_each_row_shows_both_images_and_their_difference(shape: tuple[int, ...]) -> None:
    first, second = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    page = np.asarray(copy_sheet(first, second, ["one", "two"], zoom=2, gain=3))
    assert page.shape == (22 + 2 * (12 + 20 + 8) - 8, 3 * 128 - 8, 3)
    for i in range(2):
        y = 22 + i * 40
        for x, shown in enumerate((first[i], second[i], difference(first, second, 3)[i])):
            part = page[y : y + 12 : 2, 128 * x : 128 * x + 120 : 2]
            assert (part if shown.ndim == 3 else part[..., 0]).tolist() == shown.tolist()
        assert page[y + 14 : y + 30, :40].max() > 100  # the caption is drawn


def test_a_long_caption_widens_the_page() -> None:
    images = np.zeros((1, 8, 8), np.uint8)
    assert copy_sheet(images, images, ["x" * 200], zoom=1).width > 800


def test_difference_is_amplified_around_mid_grey_and_clipped() -> None:
    first, second = np.array([10, 10, 255, 0], np.uint8), np.array([10, 7, 0, 255], np.uint8)
    assert difference(first, second, 4).tolist() == [128, 140, 255, 0]
