"""A label as something to learn: one of several classes, or a number.

Classes are learnt by cross-entropy and scored by balanced accuracy, numbers by squared error and
R^2. Invariant: who does not look at the image scores `chance`, whatever the share of each class.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from echosweep.evaluation.utility_scores import (
    Gains,
    Numbers,
    accuracy_gains,
    error_gains,
    r2_gains,
    sums,
)

Label = float | str


class LabelTask(NamedTuple):
    """The label `label`: one of `classes`, or, where there are none, a number.

    A number is learnt as (value - centre) / scale, by mean and deviation of real training images.
    """

    label: str
    classes: tuple[str, ...] = ()
    centre: float = 0.0
    scale: float = 1.0

    @property
    def outputs(self) -> int:
        """Return how many outputs a network for it has."""
        return len(self.classes) or 1

    @property
    def chance(self) -> float:
        """Return the score of a guess: 1 / classes, or 0 for predicting the training mean."""
        return 1 / len(self.classes) if self.classes else 0.0

    @property
    def least(self) -> float:
        """Return the lowest score there is."""
        return 0.0 if self.classes else -math.inf

    @property
    def score(self) -> str:
        """Return the name of the score."""
        return "balanced accuracy" if self.classes else "R^2"

    def targets(self, labels: Sequence[Label]) -> Tensor:
        """Return labels as what a network learns: int64 classes or float32 numbers, (n,)."""
        if self.classes:
            return torch.tensor([self.classes.index(str(label)) for label in labels])
        values = (np.array(labels, np.float64) - self.centre) / self.scale
        return torch.from_numpy(values.astype(np.float32))

    def taught(self, outputs: Tensor) -> Tensor:
        """Return the outputs (n, k) of a teacher as targets (n,)."""
        return outputs.argmax(dim=1) if self.classes else outputs[:, 0]

    def loss(self, targets: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the loss to train with on all of `targets`.

        Every class weighs the same, so that an arm gains nothing by its share of each.
        """
        if not self.classes:
            return lambda outputs, wanted: mse_loss(outputs[:, 0], wanted)
        weights = 1 / torch.bincount(targets, minlength=self.outputs).clamp(min=1)
        return lambda outputs, wanted: cross_entropy(outputs, wanted, weights.to(outputs))

    def predict(self, outputs: NDArray[np.float32], videos: NDArray[np.int64]) -> Numbers:
        """Return the class or number predicted for each video, (..., V): its frames' mean.

        outputs: of frames, (..., n, k). videos: the video of each frame, (n,) in 0..V-1. Classes
        are chosen by the mean probability.
        """
        values = np.asarray(outputs, np.float64)
        if self.classes:
            values = np.exp(values - values.max(axis=-1, keepdims=True))
            values /= values.sum(axis=-1, keepdims=True)
        by_video = sums(np.moveaxis(values, -1, -2), videos, int(videos.max()) + 1)
        if self.classes:
            chosen: Numbers = by_video.argmax(axis=-2).astype(np.float64)
            return chosen
        means: Numbers = by_video[..., 0, :] / np.bincount(videos) * self.scale + self.centre
        return means

    def gains(self, predicted: Numbers, labels: Sequence[Label]) -> Gains:
        """Return what predictions (arms, repeats, V) gain where `labels` (V,) are the truth."""
        if self.classes:
            return accuracy_gains(predicted, self.targets(labels).numpy())
        return r2_gains(predicted, np.array(labels, np.float64), self.centre)

    def errors(self, predicted: Numbers, labels: Sequence[Label]) -> Gains | None:
        """Return the absolute errors of numbers, in the label's unit; None for classes."""
        return None if self.classes else error_gains(predicted, np.array(labels, np.float64))
