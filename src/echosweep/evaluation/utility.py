"""What a synthetic set is worth for a task: train on generated images, test on real ones.

Networks learn from real images, from as many generated ones, and from both, and are tested on real
patients (Esteban et al. 2017; Ravuri & Vinyals 2019). Of what real images teach, generated teach

    worth = (score_generated - chance) / (score_real - chance)

Invariant: only the images to learn from differ between arms; no patient is learnt from and tested.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep import rng
from echosweep.data.store import FrameStore, check_comparable
from echosweep.errors import UsageError
from echosweep.evaluation.sets import FEW_GROUPS, Interval, Side
from echosweep.evaluation.utility_scores import UtilityEstimate, estimate, fieller, scores, student
from echosweep.evaluation.utility_task import Label, LabelTask

ARMS = ("real", "generated", "both")
_LEAST = 16  # pixels: less than a ResNet can halve
_GAIN = np.array([-1.0, 0, 1])


class UtilityTrial(NamedTuple):
    """What is compared: as many images of `real` and `generated` to learn from, and the test.

    by_teacher: the labels of the generated images are those of a teacher that learnt from `real`.
    """

    task: LabelTask
    real: Side
    generated: Side
    test: Side
    by_teacher: bool
    notes: tuple[str, ...]


def labels_of(side: Side, label: str) -> list[Any]:
    """Return the label of each image of a side; None where its video has none."""
    of_video = [video.labels.get(label) for video in side.store.videos]
    return [of_video[video] for video in side.store.index["video"][side.rows]]


def set_up(
    made: FrameStore,
    real: FrameStore,
    label: str,
    *,
    num: int | None = None,
    test_split: str = "test",
    teacher: bool = False,
    seed: int = 0,
) -> UtilityTrial:
    """Return the trial of `label`: split "train" of `real` to learn from, `test_split` to test on.

    num: images to learn from, of each store, drawn by `seed`; None for as many as the smaller has.
    teacher: have the generated images labelled anew, even where they have labels. Raises UsageError
    where such a trial could tell nothing.
    """
    check_comparable(made, real)
    if min(real.preparation.size) < _LEAST:
        raise UsageError(
            f"{real.path}: images of {real.preparation.size} are too small to be learnt from; "
            f"prepare them with --size {_LEAST} or more, better 64"
        )
    if made.content == real.content:
        raise UsageError(f"{made.path} and {real.path} hold the same images, those of the test too")
    sides = _split(real, test_split)
    task = _find_task(label, *sides)
    by_teacher = teacher or all(label not in video.labels for video in made.videos)
    generated, notes = Side(made, made.rows()), list[str]()
    train, test = (_usable(side, task, notes) for side in sides)
    if not by_teacher:
        generated = _usable(generated, task, notes)
        _check_classes(generated, task, "sample without --label, so that every class is drawn")
    n = _number(num, train, generated)
    train, generated = (_draw(side, n, seed) for side in (train, generated))
    _check_classes(train, task, "ask for a larger --num", len(task.classes))
    return UtilityTrial(_scaled(task, train), train, generated, test, by_teacher, tuple(notes))


def _split(real: FrameStore, test_split: str) -> tuple[Side, Side]:
    """Return the images to learn from and those to test on, which share no patient."""
    if test_split == "train":
        raise UsageError("--test-split train: networks learn from it; write test or val")
    whole = Side(real, real.rows())
    rows = real.rows("train"), real.rows(test_split)
    shared = np.intersect1d(whole.groups[rows[0]], whole.groups[rows[1]])
    if len(shared):
        raise UsageError(
            f"{len(shared)} patients of {real.path} are in split train and in {test_split}; split "
            "by patient (`echosweep prepare` does, with --patient-regex)"
        )
    return Side(real, rows[0]), Side(real, rows[1])


def _find_task(label: str, train: Side, test: Side) -> LabelTask:
    """Return the task of a label: its classes are those that can be both learnt and tested."""
    found = [{v for v in labels_of(side, label) if _is_given(v)} for side in (train, test)]
    where = f"{train.store.path}: label {label!r}"
    if not all(found):
        names = sorted({name for video in train.store.videos for name in video.labels})
        raise UsageError(
            f"{where} is on no video of a split; labels there are: {', '.join(names) or 'none'}"
        )
    words = {isinstance(value, str) for value in found[0] | found[1]}
    if len(words) > 1:
        raise UsageError(
            f"{where} is a word on some videos and a number on others; mend the labels"
        )
    if words == {False}:
        if min(map(len, found)) < 2:
            raise UsageError(f"{where} has one value in a whole split; there is nothing to learn")
        return LabelTask(label)
    classes = tuple(sorted(found[0] & found[1]))
    if len(classes) < 2:
        raise UsageError(
            f"{where} has classes {sorted(found[0])} to learn from and {sorted(found[1])} to test "
            "on; two must be in both: prepare with other --splits or --seed, or more patients"
        )
    return LabelTask(label, classes)


def _usable(side: Side, task: LabelTask, notes: list[str]) -> Side:
    """Return the images of a side whose label belongs to the task; note how many are left out."""
    labels = labels_of(side, task.label)
    kept = [_belongs(value, task) for value in labels]
    missing = Counter(str(v) for v, keep in zip(labels, kept, strict=True) if not keep)
    if missing:
        why = ", ".join(f"{'no label' if v == 'None' else v}: {n}" for v, n in missing.items())
        notes.append(f"images of {side.store.path} left out by their {task.label} ({why})")
    return replace(side, rows=side.rows[kept])


def _is_given(value: Label | None) -> bool:
    return value is not None and (isinstance(value, str) or bool(np.isfinite(value)))


def _belongs(value: Label | None, task: LabelTask) -> bool:
    if task.classes:
        return value in task.classes
    return not isinstance(value, str) and _is_given(value)


def _check_classes(side: Side, task: LabelTask, fix: str, least: int = 2) -> None:
    """Raise UsageError for a side to learn from with fewer than `least` classes, or no image."""
    found = sorted(set(labels_of(side, task.label)))
    if not found or (task.classes and len(found) < least):
        wanted = f"the classes {', '.join(task.classes)}" if task.classes else "numbers"
        raise UsageError(
            f"{side.store.path}: {len(side)} images with label {task.label!r} of {wanted}"
            f"{f', all of {found}' if found else ''}; {fix}"
        )


def _number(num: int | None, train: Side, generated: Side) -> int:
    most = min(len(train), len(generated))
    num = most if num is None else num
    if not 2 <= num <= most:
        raise UsageError(
            f"--num {num} must be 2 to {most}: there are {len(train)} images to learn from in "
            f"{train.store.path} and {len(generated)} in {generated.store.path}"
        )
    return num


def _draw(side: Side, n: int, seed: int) -> Side:
    draw = np.random.default_rng(rng.derive("utility", "images", seed))
    return replace(side, rows=np.sort(draw.choice(side.rows, n, replace=False)))


def _scaled(task: LabelTask, train: Side) -> LabelTask:
    """Return a task for a number with the mean and deviation of the images to learn from."""
    if task.classes:
        return task
    values = np.array(labels_of(train, task.label), np.float64)
    if np.ptp(values) == 0:
        raise UsageError(
            f"{len(values)} images all have {task.label} {values[0]:g}; ask for a larger --num"
        )
    return task._replace(centre=float(values.mean()), scale=float(values.std()))


def judge(trial: UtilityTrial, outputs: NDArray[np.float32]) -> dict[str, Any]:
    """Return scores, worth and gain as JSON, from networks' outputs for the frames of the test.

    outputs: (arms, repeats, n, k), arms as in ARMS. Scores are of videos, by the mean of their
    frames; frame_score is of frames; mae, of numbers, in the label's unit. gain: the score of both
    less that of real. n_test: groups are patients, or videos where patients are not known. worth
    is None where real images do not teach above chance, for sure.
    """
    task, test = trial.task, trial.test
    numbers, first, videos = np.unique(
        test.store.index["video"][test.rows], return_index=True, return_inverse=True
    )
    labels = labels_of(test, task.label)
    truth, patients = [labels[i] for i in first], test.groups[first]
    predicted = task.predict(outputs, videos)
    found = estimate(task.gains(predicted, truth), patients)
    frames = scores(task.gains(task.predict(outputs, np.arange(len(test))), labels)).mean(axis=1)
    errors = task.errors(predicted, truth)
    missed = None if errors is None else scores(errors).mean(axis=1)
    return {
        "label": task.label,
        "score": task.score,
        "chance": task.chance,
        "classes": list(task.classes),
        **_worth(found, task.chance),
        "gain": float(_GAIN @ found.mean),
        "gain_interval": found.interval(_GAIN),
        "arms": {
            arm: _arm(found, i, task)
            | {"frame_score": float(frames[i])}
            | ({} if missed is None else {"mae": float(missed[i])})
            for i, arm in enumerate(ARMS)
        },
        "n_test": {
            "images": len(test),
            "videos": len(numbers),
            "groups": int(patients.max()) + 1,
        },
        "warnings": list(_notes(trial, found)),
    }


def _arm(found: UtilityEstimate, arm: int, task: LabelTask) -> dict[str, Any]:
    return {
        "score": float(found.mean[arm]),
        "interval": _interval(found, arm, task),
        "repeats": found.scores[arm].tolist(),
    }


def _interval(found: UtilityEstimate, arm: int, task: LabelTask) -> Interval | None:
    """Return the interval of an arm's score, cut where no score can be."""
    interval = found.interval(np.eye(len(ARMS))[arm])
    return interval and (max(interval[0], task.least), min(interval[1], 1.0))


def _worth(found: UtilityEstimate, chance: float) -> dict[str, Any]:
    if found.cov is None:
        return {"worth": None, "worth_interval": None}
    order = [1, 0]  # generated over real
    above = found.mean[order] - chance
    interval = fieller(above, found.cov[np.ix_(order, order)], student(found.df))
    worth = float(above[0] / above[1]) if interval else None
    return {"worth": worth, "worth_interval": interval}


def _notes(trial: UtilityTrial, found: UtilityEstimate) -> Iterator[str]:
    task, chance = trial.task, trial.task.chance
    yield from trial.notes
    if trial.by_teacher:
        yield (
            f"labels from a teacher: networks that learnt {task.label} from the real images gave "
            "the generated ones their labels, so worth says whether the images hold what the task "
            "needs, not whether labels of their own are right; what the teacher knows passes on a "
            "little even through images of noise"
        )
    real = _interval(found, 0, task)
    if real is None:
        yield (
            "a class has one test patient, so nothing can be said of other patients: prepare with "
            "other --splits, or more patients"
        )
    elif real[0] <= chance:
        yield (
            f"real images themselves do not teach {task.label} for sure: {task.score} "
            f"{found.mean[0]:.3g} ({real[0]:.3g} to {real[1]:.3g}) against {chance:.3g} by chance. "
            "This task cannot be learnt from these images, or not by this training, or there are "
            "too few test patients; nothing can be said of generated images"
        )
    if 0 < found.df < FEW_GROUPS - 1:
        yield f"only {found.df + 1} test patients or videos (of a class): the intervals are wide"
    if found.scores.shape[1] == 1:
        yield "one repeat: what another seed of the training would change is not in the intervals"
