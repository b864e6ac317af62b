"""What all pages share: numbers as text, colours that can be read, no torch."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from echosweep.reporting import page
from echosweep.reporting.page import fact, number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *((0.0, "0"), (0.040697, "0.0407"), (-43.323, "−43.32"), (1e-5, "1e−05")),
        *((50000, "50,000"), (None, "–"), (float("nan"), "–")),
    ],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (["echosweep", "a b"], "echosweep 'a b'"),
        ({"torch": "2", "av": None}, "torch 2, av –"),
        (0, "0"),
    ],
)
def test_facts(value: object, shown: str) -> None:
    assert fact(value) == shown


def test_pages_need_no_torch() -> None:
    code = (
        "import sys, echosweep.reporting.evaluation_page, echosweep.reporting.copies_page;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("scheme", [0, 1])
def test_texts_stand_out_from_their_ground(scheme: int) -> None:
    """WCAG 2.1, 1.4.3: a contrast of 4.5 to 1 or more, in light and dark."""
    style = (Path(page.__file__).parent / "templates" / "style.css").read_text()
    root = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", root))
    for ground, texts in {
        "paper": ("ink", "quiet", "accent"),
        "soft": ("ink", "quiet"),
        "warn-soft": ("ink", "warn"),
    }.items():
        for text in texts:
            lights = sorted(_luminance(colours[name]) + 0.05 for name in (ground, text))
            assert lights[1] / lights[0] >= 4.5, (text, ground)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    s = np.frombuffer(bytes.fromhex(digits), np.uint8) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
