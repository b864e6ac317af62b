"""What generated images are worth: scores and intervals in closed form, trials, and small runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t

from echosweep.cli.measures import utility as command
from echosweep.commands.utility import utility
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.errors import UsageError
from echosweep.evaluation.utility import UtilityTrial, judge, labels_of, set_up
from echosweep.evaluation.utility_scores import (
    Gains,
    accuracy_gains,
    error_gains,
    estimate,
    fieller,
    r2_gains,
    scores,
    student,
    sums,
)
from echosweep.evaluation.utility_task import LabelTask

SIZE = 16
QUICK = {"network": "linear", "epochs": 8, "lr": 1e-2, "batch": 12, "repeats": 2}
Split = tuple[str, int]


def hearts(sides: list[str], seed: int, frames: int = 3) -> list[NDArray[np.uint8]]:
    """Images of each patient: noise, and light on the side it is called after."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 100, (len(sides), frames, SIZE, SIZE), dtype=np.uint8)
    for image, side in zip(images, sides, strict=True):
        half = image[..., : SIZE // 2] if side == "left" else image[..., SIZE // 2 :]
        half += np.uint8(80)
    return list(images)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write a store of patients in splits; label "side", and "EF", 70 for left and 50 for right."""

    def write(
        splits: list[Split],
        seed: int = 0,
        labels: bool = True,
        noise: bool = False,
        sides: tuple[str, ...] = ("left", "right"),
        **facts: Any,
    ) -> FrameStore:
        names = [split for split, count in splits for _ in range(count)]
        true = [sides[i % len(sides)] for i in range(len(names))]
        images = hearts(["none" if noise else side for side in true], seed)
        if noise:
            images = list(np.random.default_rng(seed).permuted(np.stack(images), axis=3))
        videos = [
            Video(
                f"v{i}",
                name,
                f"{seed}-{i}",
                {"side": side, "EF": 70.0 if side == "left" else 50.0} if labels else {},
            )
            for i, (name, side) in enumerate(zip(names, true, strict=True))
        ]
        path = tmp_path_factory.mktemp("utility") / "store"
        pairs = list(zip(videos, images, strict=True))
        return write_store(path, Preparation((SIZE, SIZE)), pairs, **facts)

    return write


@pytest.fixture(scope="module")
def real(make: Any) -> FrameStore:
    store: FrameStore = make([("train", 20), ("test", 24)], 1)
    return store


# Scores and intervals


def test_balanced_accuracy_is_the_mean_recall() -> None:
    truth = np.array([0, 0, 0, 1])
    chosen = np.array([[[0, 0, 1, 1]], [[0, 0, 0, 0]]], float)
    assert scores(accuracy_gains(chosen, truth)).ravel() == pytest.approx([5 / 6, 1 / 2])


def test_r2_is_zero_for_the_training_mean_and_one_for_the_truth() -> None:
    truth = np.array([40.0, 60, 70])
    predicted = np.array([[[55.0, 55, 55]], [[40, 60, 70]], [[50, 60, 70]]])
    found = scores(r2_gains(predicted, truth, baseline=55.0)).ravel()
    assert found == pytest.approx([0, 1, 1 - 100 / (225 + 25 + 225)])
    assert scores(error_gains(predicted, truth)).ravel() == pytest.approx([35 / 3, 0, 10 / 3])


def test_the_variance_of_a_mean_is_that_of_the_textbook() -> None:
    """One video a patient: s^2 / n over patients, plus the patient that nobody saw."""
    values = np.random.default_rng(0).normal(1, 1, (2, 1, 30))
    found = estimate(Gains(values, np.ones(30), np.zeros(30, np.int64)), np.arange(30))
    assert found.cov is not None
    more = np.diag((values.mean(axis=2)[:, 0] / 31) ** 2)
    assert found.cov == pytest.approx(np.cov(values[:, 0]) / 30 + more)
    assert found.df == 29


def test_repeats_add_the_variance_of_their_mean() -> None:
    values = np.random.default_rng(1).normal(1, 1, (2, 4, 30))
    size, stratum, groups = np.ones(30), np.zeros(30, np.int64), np.arange(30)
    several = estimate(Gains(values, size, stratum), groups)
    one = estimate(Gains(values.mean(axis=1, keepdims=True), size, stratum), groups)
    assert several.cov is not None
    assert one.cov is not None
    assert several.cov - one.cov == pytest.approx(np.cov(values.mean(axis=2)) / 4)


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_more_videos_of_the_same_patients_tell_nothing_more(seed: int, times: int) -> None:
    draw = np.random.default_rng(seed)
    truth, chosen = np.arange(12) % 3, draw.integers(0, 3, (3, 2, 12)).astype(float)
    once = estimate(accuracy_gains(chosen, truth), np.arange(12))
    many = estimate(
        accuracy_gains(chosen.repeat(times, axis=2), truth.repeat(times)),
        np.arange(12).repeat(times),
    )
    assert once.cov is not None
    assert many.cov is not None
    assert many.cov == pytest.approx(once.cov)
    assert (many.df, once.df) == (3, 3)


def test_a_handful_of_patients_all_told_right_is_not_certainty() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1])
    found = estimate(accuracy_gains(np.tile(truth, (2, 3, 1)).astype(float), truth), np.arange(6))
    low, high = found.interval(np.array([1.0, 0])) or (1, 1)
    assert low == pytest.approx(1 - student(2) * np.sqrt(2) / 8)
    assert high > 1


def test_a_class_with_one_patient_has_no_interval() -> None:
    found = estimate(accuracy_gains(np.zeros((1, 1, 4)), np.array([0, 0, 0, 1])), np.arange(4))
    assert found.cov is None
    assert found.interval(np.ones(1)) is None
    assert found.mean == pytest.approx([0.5])


def test_intervals_hold_the_truth() -> None:
    """20 patients of each class; half of what makes one hard is so for both arms."""
    draw, truth = np.random.default_rng(2), np.repeat([0, 1], 20)
    held, quantile = np.zeros(2), student(19)
    for _ in range(300):
        hard = draw.normal(size=40) + draw.normal(size=(2, 3, 40))
        right = hard / np.sqrt(2) < np.array([0.524, 1.036])[:, None, None]  # 0.70 and 0.85
        found = estimate(accuracy_gains(np.where(right, truth, 1 - truth), truth), np.arange(40))
        assert found.cov is not None
        gain = found.interval(np.array([-1.0, 1])) or (0, 0)
        worth = fieller(found.mean - 0.5, found.cov, quantile) or (0, 0)
        held += gain[0] < 0.15 < gain[1], worth[0] < 0.20 / 0.35 < worth[1]
        assert found.df == 19
    assert (held / 300 > 0.94).all()


@pytest.mark.parametrize("df", [1, 2, 5, 30, 1000])
def test_the_quantile_is_students(df: int) -> None:
    assert student(df) == pytest.approx(t.ppf(0.975, df), rel=1e-12)


def test_fieller_ends_where_the_difference_is_just_not_told_from_zero() -> None:
    above, cov, q = np.array([0.2, 0.3]), np.array([[4e-3, 2e-3], [2e-3, 3e-3]]), 2.1
    ends = fieller(above, cov, q)
    assert ends is not None
    for ratio in ends:
        away = np.array([1, -ratio])
        assert (away @ above) ** 2 == pytest.approx(q**2 * away @ cov @ away)
    assert ends[0] < 2 / 3 < ends[1]
    assert fieller(above, 0 * cov, q) == pytest.approx((2 / 3, 2 / 3))


def test_no_ratio_to_what_may_be_nothing() -> None:
    cov = np.diag([1e-3, 1e-2])
    assert fieller(np.array([0.2, 0.19]), cov, 2.0) is None
    assert fieller(np.array([0.2, -0.9]), cov, 2.0) is None
    assert fieller(np.array([0.2, 0.21]), cov, 2.0) is not None


def test_sums_are_over_parts() -> None:
    values = np.arange(12.0).reshape(2, 1, 6)
    found = sums(values, np.array([0, 2, 0, 2, 2, 0]), 4)
    assert found.tolist() == [[[7, 0, 8, 0]], [[25, 0, 26, 0]]]


# A label as a task


def test_frames_of_a_video_vote_by_their_probability() -> None:
    task, videos = LabelTask("side", ("left", "right")), np.array([0, 0, 0, 1])
    logits = np.log(np.array([[0.45, 0.55], [0.45, 0.55], [0.99, 0.01], [0.3, 0.7]], np.float32))
    assert task.predict(logits[None, None], videos).tolist() == [[[0, 1]]]
    assert task.predict(logits[None, None], np.arange(4)).tolist() == [[[1, 1, 0, 1]]]


def test_numbers_come_back_in_their_unit() -> None:
    task = LabelTask("EF", centre=60.0, scale=10.0)
    targets = task.targets([50.0, 60.0, 75.0])
    assert targets.tolist() == [-1.0, 0.0, 1.5]
    outputs = targets.numpy()[:, None]
    assert task.predict(outputs, np.arange(3)).tolist() == [50, 60, 75]
    assert task.predict(outputs, np.array([0, 0, 1])).tolist() == [55, 75]


def test_every_class_weighs_the_same() -> None:
    """Nine of ten images are left: who says left to all of them has half of the loss left."""
    task = LabelTask("side", ("left", "right"))
    targets = torch.tensor([0] * 9 + [1])
    loss = task.loss(targets)
    sure = torch.tensor([[20.0, 0.0]]).repeat(10, 1)
    assert float(loss(sure, targets)) == pytest.approx(10, rel=1e-5)
    assert float(loss(torch.zeros(10, 2), targets)) == pytest.approx(np.log(2), rel=1e-5)


# Trials


def test_arms_have_as_many_images_and_the_test_other_patients(make: Any, real: FrameStore) -> None:
    trial = set_up(make([("train", 8)], 2), real, "side")
    assert (len(trial.real), len(trial.generated), len(trial.test)) == (24, 24, 72)
    assert set(real.splits[trial.real.rows]) == {"train"}
    assert set(real.splits[trial.test.rows]) == {"test"}
    assert trial.task.classes == ("left", "right")
    assert (trial.by_teacher, trial.notes) == (False, ())
    number = set_up(make([("train", 8)], 2), real, "EF", num=24, seed=3)
    values = np.array(labels_of(number.real, "EF"))
    assert (number.task.centre, number.task.scale) == (values.mean(), values.std())


def test_what_has_no_label_is_left_out_and_said(make: Any, real: FrameStore) -> None:
    odd = make([("train", 9), ("test", 9)], 3, sides=("left", "right", "above"))
    trial = set_up(odd, real, "side")
    assert len(trial.generated) == 36
    assert trial.notes == (f"images of {odd.path} left out by their side (above: 18)",)
    assert set_up(make([("train", 4)], 4, labels=False), real, "side").by_teacher
    assert set_up(make([("train", 4)], 4), real, "side", teacher=True).by_teacher


def broken(make: Any, real: FrameStore, what: str) -> tuple[FrameStore, FrameStore, dict[str, Any]]:
    good = make([("train", 4)], 5)
    cases: dict[str, tuple[FrameStore, FrameStore, dict[str, Any]]] = {
        "no such label": (good, real, {"label": "view"}),
        "no test": (good, make([("train", 6)], 6), {"label": "side"}),
        "one class": (good, make([("train", 6), ("test", 1)], 6), {"label": "side"}),
        "one number": (good, make([("train", 6), ("test", 1)], 6), {"label": "EF"}),
        "too many": (good, real, {"label": "side", "num": 13}),
        "class lost": (good, real, {"label": "side", "num": 2}),
        "one generated": (make([("train", 4)], 7, sides=("left",)), real, {"label": "side"}),
        "itself": (real, real, {"label": "side"}),
        "trained": (good, real, {"label": "side", "test_split": "train"}),
    }
    return cases[what]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no such label", "label 'view' is on no video of a split; labels there are: EF, side"),
        ("no test", "no image in split 'test'"),
        ("one class", r"classes \['left', 'right'\] to learn .* \['left'\] to test .* --splits"),
        ("one number", "EF.* has one value in a whole split"),
        ("too many", "--num 13 must be 2 to 12: there are 60 images .* and 12"),
        ("class lost", "2 images .* all of .*; ask for a larger --num"),
        ("one generated", r"all of \['left'\]; sample without --label"),
        ("itself", "hold the same images"),
        ("trained", "--test-split train: networks learn from it; write test or val"),
    ],
)
def test_what_could_tell_nothing_is_refused(
    make: Any, real: FrameStore, what: str, message: str
) -> None:
    generated, reference, options = broken(make, real, what)
    with pytest.raises(UsageError, match=message):
        set_up(generated, reference, **options)


def test_a_number_that_is_none_is_no_label(tmp_path: Path, make: Any) -> None:
    images = np.zeros((2, SIZE, SIZE), np.uint8)
    values = [50.0, 60.0, float("nan"), 40.0, 70.0, float("nan")]
    videos = [
        (Video(f"v{i}", "train" if i < 3 else "test", labels={"EF": value}), images)
        for i, value in enumerate(values)
    ]
    store = write_store(tmp_path / "nan", Preparation((SIZE, SIZE)), videos)
    trial = set_up(make([("train", 4)], 5), store, "EF")
    assert (len(trial.real), len(trial.test), trial.task.centre) == (4, 4, 55.0)
    assert len(trial.notes) == 2


def test_a_patient_on_both_sides_is_refused(tmp_path: Path, make: Any) -> None:
    images = np.zeros((2, SIZE, SIZE), np.uint8)
    videos = [
        (Video(f"v{i}", "train" if i < 2 else "test", "p", {"side": "lr"[i % 2]}), images)
        for i in range(4)
    ]
    store = write_store(tmp_path / "leak", Preparation((SIZE, SIZE)), videos)
    with pytest.raises(UsageError, match=r"1 patients .* split train and in test; .*--patient"):
        set_up(make([("train", 4)], 5), store, "side")


# Worth, of made-up outputs


def outputs(trial: UtilityTrial, right: tuple[int, int, int]) -> NDArray[np.float32]:
    """Outputs of arms that tell the first `right` of the 24 test patients, and say left of all."""
    truth = trial.task.targets(labels_of(trial.test, "side")).numpy()
    patient = np.arange(len(truth)) // 3
    chosen = np.stack([np.where(patient < count, truth, 0) for count in right])
    return np.repeat(np.eye(2, dtype=np.float32)[chosen][:, None], 2, axis=1)


def test_worth_and_gain_in_closed_form(make: Any, real: FrameStore) -> None:
    trial = set_up(make([("train", 4)], 5), real, "side")
    found = judge(trial, outputs(trial, (20, 16, 24)))
    # Of the 12 patients that are right, the 10, 8, 12 first are told, and all that are left.
    assert [arm["score"] for arm in found["arms"].values()] == pytest.approx([11 / 12, 10 / 12, 1])
    assert found["worth"] == pytest.approx((4 / 12) / (5 / 12))
    assert found["gain"] == pytest.approx(1 / 12)
    assert found["worth_interval"][0] < 0.8 < found["worth_interval"][1]
    assert found["n_test"] == {"images": 72, "videos": 24, "groups": 24}
    assert found["arms"]["both"]["interval"][1] == 1.0
    assert found["warnings"] == []


def test_nothing_is_said_of_a_task_that_real_images_do_not_teach(
    make: Any, real: FrameStore
) -> None:
    trial = set_up(make([("train", 4)], 5, labels=False), real, "side")
    found = judge(trial, outputs(trial, (2, 24, 24)))
    assert found["worth"] is None
    assert found["worth_interval"] is None
    assert any("nothing can be said" in note for note in found["warnings"])
    assert any("labels from a teacher" in note for note in found["warnings"])


def test_one_patient_of_a_class_can_tell_nothing_of_others(make: Any) -> None:
    trial = set_up(make([("train", 4)], 5), make([("train", 4), ("test", 3)], 8), "side")
    found = judge(trial, np.zeros((3, 1, 9, 2), np.float32))
    assert (found["worth"], found["gain_interval"]) == (None, None)
    assert any("one test patient" in note for note in found["warnings"])
    assert any("one repeat" in note for note in found["warnings"])


# Runs


def test_other_real_images_are_worth_one_and_noise_nothing(
    make: Any, real: FrameStore, tmp_path: Path
) -> None:
    found = {}
    for name, label, options in (
        ("other", "side", {}),
        ("other", "EF", {}),
        ("noise", "side", {"noise": True}),
        ("noise", "EF", {"noise": True}),
        ("taught", "EF", {"labels": False}),
    ):
        store = make([("train", 12)], 9, **options)
        record = utility(store.path, real.path, label=label, out=tmp_path / name, **QUICK)
        assert record is not None
        found[name, label] = record
    for label in ("side", "EF"):
        low, high = found["other", label]["worth_interval"]
        assert low < 1 < high
        assert low > 0.5
        assert found["noise", label]["worth_interval"][1] < 0.5
    assert found["taught", "EF"]["worth"] > 0.5
    assert [found[name, "EF"]["labels"] for name in ("other", "taught")] == ["generated", "teacher"]
    assert found["other", "EF"]["arms"]["real"]["mae"] < 6
    written = json.loads((tmp_path / "other" / "utility.json").read_bytes())
    assert written["worth"] == found["other", "EF"]["worth"]
    assert (tmp_path / "other" / "utility.png").is_file()


def test_the_same_command_trains_only_what_is_missing(
    make: Any, real: FrameStore, tmp_path: Path
) -> None:
    made = make([("train", 4)], 11, labels=False)
    options = {"label": "side", "out": tmp_path, "repeats": 2, **QUICK}
    first = utility(made.path, real.path, **options)
    files = sorted((tmp_path / "fits").iterdir())
    assert len(files) == 8  # two repeats of a teacher and three arms
    before = {file.name: (file.read_bytes(), file.stat().st_ino) for file in files}
    files[0].unlink()
    files[1].write_bytes(before[files[1].name][0][:100])
    again = utility(made.path, real.path, **options)
    after = {f.name: (f.read_bytes(), f.stat().st_ino) for f in (tmp_path / "fits").iterdir()}
    assert first is not None
    assert again is not None
    assert first["arms"] == again["arms"]
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in before.items()
    }
    kept = [file.name for file in files[2:]]
    assert [after[name][1] for name in kept] == [before[name][1] for name in kept]
    utility(made.path, real.path, **(options | {"repeats": 3}))
    assert len(list((tmp_path / "fits").iterdir())) == 12


def test_a_resnet_learns_from_colour_and_a_small_batch(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)

    def store(name: str, splits: list[str]) -> Path:
        videos = [
            (Video(f"v{i}", split, f"{name}{i}", {"side": "lr"[i % 2]}), images)
            for i, split in enumerate(splits)
            for images in [draw.integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)]
        ]
        return write_store(tmp_path / name, Preparation((SIZE, SIZE), 3), videos).path

    record = utility(
        store("generated", ["train"] * 5),
        store("real", ["train"] * 6 + ["test"] * 4),
        label="side",
        epochs=1,
        repeats=1,
        batch=4,
    )
    assert record is not None
    assert record["n"] == 5
    assert all(0 <= arm["score"] <= 1 for arm in record["arms"].values())
    assert (tmp_path / "generated.utility" / "utility.json").is_file()


@pytest.mark.parametrize(
    ("split", "same", "warning"),
    [("all", True, "may show the test"), ("train", True, None), ("train", False, "another store")],
)
def test_a_generator_that_saw_the_test_is_warned_of(
    make: Any, real: FrameStore, tmp_path: Path, split: str, same: bool, warning: str | None
) -> None:
    trained_on = real.content if same else "0" * 64
    source = {"kind": "generated", "trained_on": trained_on, "train": {"split": split}}
    made = make([("train", 4)], 12, source=source)
    record = utility(made.path, real.path, label="side", out=tmp_path, **(QUICK | {"epochs": 1}))
    assert record is not None
    tested = record["seen"]["videos"]
    assert record["seen"]["trained"] == (tested if split == "all" else 0)
    for said in ("may show the test", "another store"):
        assert any(said in text for text in record["warnings"]) is (said == warning)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"repeats": 0}, {"batch": 1}, {"lr": 0.0}, {"seed": -1}, {"network": "vit"}],
)
def test_wrong_settings_are_refused(make: Any, real: FrameStore, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=rf"{next(iter(wrong))} "):
        utility(real.path, real.path, label="side", **wrong)


def test_the_command_prints_the_record(
    make: Any, real: FrameStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make([("train", 4)], 13)
    options = {"label": "EF", "network": "linear", "epochs": 1, "out": tmp_path}
    command(made.path, real.path, options=options)
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "utility.json").read_bytes())
    assert printed["score"] == "R^2"
