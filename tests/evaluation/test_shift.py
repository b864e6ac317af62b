"""The shift panel: closed forms of its numbers, fits that are done once, and the whole command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echosweep.commands.shift import shift
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.errors import UsageError
from echosweep.evaluation import shift as panel
from echosweep.evaluation.classify import FitSettings, build_linear
from echosweep.evaluation.sets import Side
from echosweep.evaluation.shift import (
    Chance,
    Fit,
    find_chance,
    find_fits,
    find_verdict,
    gradients,
    summarise,
)
from echosweep.evaluation.shift_chance import LEVEL
from echosweep.evaluation.shift_folds import Fold, make_folds

CPU = torch.device("cpu")
QUICK: dict[str, Any] = {"classifiers": ["linear"], "epochs": 2, "lr": 0.02, "batch": 32}


def noise(
    name: str, path: Path, videos: int, frames: int, lift: int = 0, **kind: Any
) -> FrameStore:
    """A store of smooth noise that frames of a video share; `lift` brightens the upper half."""
    draw = np.random.default_rng(sum(name.encode()))
    rows = []
    for i in range(videos):
        images = draw.integers(40, 160, (16, 16)) + draw.integers(0, 30, (frames, 16, 16))
        images[:, :8] += lift
        rows.append((Video(f"{name}{i}"), images.astype(np.uint8)))
    return write_store(path / name, Preparation((16, 16)), rows, source={"kind": "test"} | kind)


@pytest.fixture
def real(tmp_path: Path) -> FrameStore:
    return noise("real", tmp_path, 80, 2)


@pytest.fixture
def made(tmp_path: Path) -> FrameStore:
    return noise("made", tmp_path, 120, 1, lift=50)


def fit_of(generated: list[float], reference: list[float]) -> Fit:
    empty = np.zeros((1, 1))
    return Fit(np.array(generated), np.array(reference), empty, empty, empty)


def test_accuracies_are_means_of_both_sides_and_of_repeats():
    first = fit_of([2, 1, -1, 3], [-1, 0])  # 3 of 4 and 2 of 2
    second = fit_of([-2, -1], [-1, 4])  # 0 of 2 and 1 of 2
    found = summarise([first, second])
    assert found["accuracies"] == [0.875, 0.25]
    assert found["accuracy"] == 0.5625
    assert found["generated_found"] == 0.375
    assert found["reference_found"] == 0.75
    assert found["auc"] == pytest.approx((6.5 / 8 + 0.5 / 4) / 2)


def test_verdicts():
    def of(margin: float, *rows: tuple[float, float]) -> str:
        found = [{"accuracy": accuracy, "auc": area} for accuracy, area in rows]
        return find_verdict(found, Chance(margin, 0.3, 30, 30))

    assert of(0.2, (0.5, 0.5), (0.71, 0.5)) == "told apart"
    assert of(0.2, (0.5, 0.5), (0.69, 0.79)) == "chance"
    assert of(0.2, (0.5, 0.81)) == "told apart"
    assert of(0.2, (0.1, 0.1)) == "chance"
    assert of(0.3, (0.7, 0.5)) == "too few patients to tell"
    assert of(0.3, (0.9, 0.5)) == "told apart"


def test_chance_counts_patients_and_repeats(real: FrameStore, made: FrameStore):
    sides = Side(made, made.rows()), Side(real, real.rows())
    folds = make_folds(*sides, 10, 0)
    one, ten = find_chance(folds[:1], 3), find_chance(folds, 3)
    assert (one.effective_generated, one.effective_reference) == pytest.approx((12, 8))
    assert (ten.effective_generated, ten.effective_reference) == pytest.approx((120, 80))
    log = np.log(3 / LEVEL)
    assert ten.accuracy_margin == pytest.approx(np.sqrt(log / 8 * (1 / 120 + 1 / 80)))
    assert one.accuracy_margin == pytest.approx(np.sqrt(10) * ten.accuracy_margin)
    assert one.auc_margin == pytest.approx(np.sqrt(log / 6 * (1 / 12 + 1 / 8 + 1 / 96)))


def test_gradients_of_a_linear_network_are_its_weights():
    network = build_linear((2, 3, 4), 1)
    weight = torch.arange(24.0).reshape(1, 24) - 12
    next(iter(network.parameters())).data = weight
    images = torch.randint(0, 256, (70, 2, 3, 4), dtype=torch.uint8)
    mean, size = gradients(network, images, CPU)
    expected = weight.reshape(2, 3, 4).sum(0).numpy()
    np.testing.assert_allclose(mean, expected, rtol=1e-5)
    np.testing.assert_allclose(size, np.abs(expected), rtol=1e-5)


def a_fold(made: FrameStore, real: FrameStore, repeats: int = 1) -> list[Fold]:
    return make_folds(Side(made, made.rows()), Side(real, real.rows()), repeats, 0)


def test_fits_are_done_once_and_damaged_files_again(
    real: FrameStore, made: FrameStore, tmp_path: Path
):
    folds, settings = a_fold(made, real, 2), FitSettings(2, 0.02, 32)
    calls: list[tuple[int, int]] = []

    def ask(seed: int = 0) -> list[Fit]:
        calls.clear()
        chosen = FitSettings(2, 0.02, 32, seed)
        return find_fits(
            folds,
            "linear",
            chosen,
            tmp_path,
            CPU,
            lambda done, total, _: calls.append((done, total)),
        )

    first = ask()
    total = 2 * settings.epochs * sum(len(fold.generated.train) for fold in folds)
    assert calls[0] == (0, total)
    assert calls[-1] == (total, total)
    files = sorted(tmp_path.glob("*.npz"))
    assert len(files) == 2
    again = ask()
    assert calls == [(total, total)]
    files[0].write_bytes(files[0].read_bytes()[:100])
    mended = ask()
    assert calls[0] == (total // 2, total)
    swapped = [file.read_bytes() for file in files]
    for file, content in zip(files, swapped[::-1], strict=True):
        file.write_bytes(content)
    in_order = ask()
    assert calls[0] == (0, total)  # neither is taken for the other
    for other in (again, mended, in_order):
        for one, same in zip(first, other, strict=True):
            np.testing.assert_array_equal(one.generated, same.generated)
            np.testing.assert_array_equal(one.slope, same.slope)
    ask(seed=5)
    assert len(list(tmp_path.glob("*.npz"))) == 4


def test_the_linear_map_shows_where_the_images_differ(
    real: FrameStore, made: FrameStore, tmp_path: Path
):
    (fit,) = find_fits(a_fold(made, real), "linear", FitSettings(10, 0.002, 32), tmp_path, CPU)
    assert (fit.generated > 0).all()
    assert (fit.reference < 0).all()
    assert fit.slope[:8].mean() > 2 * abs(fit.slope[8:].mean())
    assert fit.slope[:8].min() > 0


def test_the_command_tells_apart_what_differs_and_not_what_does_not(
    real: FrameStore, made: FrameStore, tmp_path: Path
):
    alike = noise("alike", tmp_path, 120, 1)
    out = tmp_path / "out"
    record = shift(made.path, real.path, after=alike.path, repeats=6, out=out, **QUICK)
    assert record is not None
    assert record["verdicts"] == {"generated": "told apart", "guided": "chance", "floor": "chance"}
    assert record["table"]["generated"]["linear"]["accuracy"] == 1
    assert record["images"] == {"generated": 120, "guided": 120, "floor": 80}
    assert record["causes"]["generated"][0]["name"] == "mean_level"
    assert not any(row["told_apart"] for row in record["causes"]["guided"])
    assert json.loads((tmp_path / "out" / "shift.json").read_text()) == {
        name: value for name, value in record.items() if name != "page"
    }
    assert Path(record["page"]) == tmp_path / "out" / "shift.html"
    assert len(list((tmp_path / "out" / "fits").glob("*.npz"))) == 18
    assert any("the floor is of 80 images" in text for text in record["warnings"])
    assert any("a fit has" in text for text in record["warnings"])
    assert record["provenance"]["reference"]["images"] == 120


def test_equal_fits_are_shared_between_columns_and_commands(
    real: FrameStore, made: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    first = shift(made.path, real.path, out=out, floor=False, **QUICK)
    monkeypatch.setattr(panel, "_fit", lambda *_: pytest.fail("a fit was done twice"))
    again = shift(
        made.path,
        real.path,
        after=made.path,
        out=out,
        floor=False,
        html=tmp_path / "p.html",
        **QUICK,
    )
    assert first is not None
    assert again is not None
    assert again["table"]["guided"] == first["table"]["generated"]
    assert (tmp_path / "p.html").is_file()


def test_few_patients_cannot_tell_and_it_says_how_to(made: FrameStore, tmp_path: Path):
    few = noise("few", tmp_path, 4, 30)
    alike = noise("alike", tmp_path, 120, 1)
    record = shift(alike.path, few.path, repeats=1, out=tmp_path / "out", **QUICK)
    assert record is not None
    assert record["verdicts"]["generated"] == "too few patients to tell"
    assert any("--repeats 4 tests every patient once" in text for text in record["warnings"])


def test_no_floor_without_patients_to_halve(made: FrameStore, tmp_path: Path):
    two = noise("two", tmp_path, 2, 30)
    record = shift(made.path, two.path, repeats=2, out=tmp_path / "out", **QUICK)
    assert record is not None
    assert "floor" not in record["table"]
    assert any(text.startswith("no floor") for text in record["warnings"])


def test_images_that_were_trained_on_are_said(real: FrameStore, tmp_path: Path):
    trained = {"trained_on": real.content, "train": {"split": "train"}}
    copied = noise("copied", tmp_path, 30, 1, **trained)
    record = shift(copied.path, real.path, repeats=1, floor=False, out=tmp_path / "out", **QUICK)
    assert record is not None
    assert record["seen"]["generated"]["trained"] == len(real.videos)
    assert any("were trained on" in text for text in record["warnings"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classifiers": ["vgg"]}, "classifiers 'vgg' is not known"),
        ({"epochs": 0}, "epochs = 0: must be above 0"),
        ({"batch": 1}, "batch = 1: must be 2 or more"),
        ({"repeats": 0}, "repeats = 0: must be above 0"),
        ({"repeats": 11}, "--repeats 11: there are only 10 parts"),
        ({"lr": 0.0}, "lr = 0.0: must be above 0"),
        ({"num": 500}, "--num 500"),
        ({"split": "test"}, "no image in split 'test'"),
        ({"device": "tpu"}, "device 'tpu' cannot be used"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    real: FrameStore, made: FrameStore, tmp_path: Path, given: dict[str, Any], message: str
):
    with pytest.raises(UsageError, match=message):
        shift(made.path, real.path, out=tmp_path / "out", **given)
    assert not (tmp_path / "out" / "fits").exists()


def test_stores_made_differently_are_refused(real: FrameStore, tmp_path: Path):
    images = np.zeros((4, 20, 20), np.uint8)
    other = write_store(tmp_path / "other", Preparation((20, 20)), [(Video("a"), images)])
    with pytest.raises(UsageError, match="made differently"):
        shift(other.path, real.path)
