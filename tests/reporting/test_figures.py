from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from echosweep.reporting import figures


@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 4, 6, 3)])
def test_sheet_holds_every_image_unchanged(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    sheet = np.asarray(figures.contact_sheet(images, columns=2))
    assert sheet.shape == (3 * 6 - 2, 2 * 8 - 2, 3)
    for i, image in enumerate(images):
        y, x = 6 * (i // 2), 8 * (i % 2)
        shown = sheet[y : y + 4, x : x + 6]
        assert np.array_equal(shown if image.ndim == 3 else shown[..., 0], image)


def test_zoom_repeats_pixels() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    sheet = np.asarray(figures.contact_sheet(images, 1, zoom=3))[..., 0]
    assert np.array_equal(sheet[::3, ::3], images[0])
    assert np.array_equal(sheet[1::3, 2::3], images[0])


def test_loss_curve_shows_what_was_recorded() -> None:
    records = [
        {"nimg": 1000, "loss": 2.0},
        {"nimg": 2000, "loss": 1.0, "held_out_loss": 1.5},
    ]
    lines = figures.plot_loss(records).axes[0].get_lines()
    assert lines[0].get_xydata().tolist() == [[1, 2], [2, 1]]
    assert lines[1].get_xydata().tolist() == [[2, 1.5]]


def test_pictures_are_written_as_png(tmp_path: Path) -> None:
    figures.save(figures.plot_loss([{"nimg": 1, "loss": 1.0}]), tmp_path / "a" / "loss.png")
    assert Image.open(tmp_path / "a" / "loss.png").format == "PNG"


def test_a_name_is_no_formula_of_a_figure_and_logarithms_have_plain_numbers() -> None:
    curve = {"counts": [4, 8], "values": [[1.0, 2.0]], "infinity": 1.0, "slope": 1.0}
    curve |= {"mean": 1.0, "std": 0.5}
    for name in (r"$\frac{", "$a$ b$", "\x1b[2J", "\ud800"):
        text = figures.drawn(
            figures.plot_floors({"a": {"metric": name, "by": {name: curve}}}), format="svg"
        )
        ElementTree.fromstring(text)
    loss = figures.drawn(
        figures.plot_loss([{"nimg": n, "loss": n} for n in (1, 1000)]), format="svg"
    ).decode()
    assert "mathdefault" not in loss
