from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echosweep.evaluation.epoch_choice import Choice
from echosweep.reporting.epoch_figures import plot_epochs
from echosweep.reporting.figures import save

DISTANCES = np.array([[[5.0, 6.0], [5.5, 4.0]], [[4.0, 7.0], [5.0, 5.0]], [[6.0, 6.5], [7.0, 8.0]]])


@pytest.fixture
def record() -> dict[str, Any]:
    found = Choice([1, 5, 10], DISTANCES, np.full((2, 2), 6.5)).record()
    for row, accuracy in zip(found["epochs"], (0.6, None, 0.8), strict=True):
        row["accuracy"] = accuracy
    facts = {"metric": "rfd", "n": 32, "verdict": "guidance helps", "floor": {"mean": 1.5}}
    return found | facts


def test_every_half_is_drawn_and_what_it_chose(record: dict[str, Any]) -> None:
    above, below = plot_epochs(record).axes
    lines = {str(line.get_label()): line for line in above.get_lines()}
    drawn = [np.asarray(line.get_ydata()).tolist() for line in above.get_lines()]
    for s, h in np.ndindex(2, 2):
        assert DISTANCES[:, s, h].tolist() in drawn
    mean = lines["guided, mean of the halves ± error"]
    assert mean.get_xydata().tolist() == [[1, 5.125], [5, 5.25], [10, 6.875]]
    same = lines["reported on the half that chose: 4.75"]
    assert same.get_xydata().tolist() == [[5, 4.0], [1, 6.0], [5, 5.0], [1, 4.0]]
    other = lines["reported on the other half: 5.625"]
    assert other.get_xydata().tolist() == [[5, 7.0], [1, 5.0], [5, 5.0], [1, 5.5]]
    assert list(lines["unguided: 6.5 ± error"].get_ydata()) == [6.5, 6.5]
    assert list(lines["real: 1.5"].get_ydata()) == [1.5, 1.5]
    assert below.get_lines()[0].get_xydata().tolist() == [[1, 0.6], [10, 0.8]]


def test_a_single_epoch_and_no_accuracy_can_be_drawn(
    record: dict[str, Any], tmp_path: Path
) -> None:
    one = Choice([3], DISTANCES[:1], np.full((2, 2), 6.5)).record()
    one["epochs"][0]["accuracy"] = None
    save(plot_epochs(record | one), tmp_path / "epochs.png")
    with Image.open(tmp_path / "epochs.png") as picture:
        assert picture.width == 1200
