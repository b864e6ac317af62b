"""Can a classifier tell generated images from real ones? (Reynaud & Kainz 2023, Table 2.)

As many generated as real images, a tenth of both held out, accuracy after the last epoch: one half
is perfect, and the floor, real images against real ones of other patients, shows that.
Invariant: what is held out decides nothing, neither the epoch nor the threshold, and equal fits are
done once: a file is addressed by all that decides it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from echosweep import runs
from echosweep.evaluation import CLASSIFIERS, fit_files
from echosweep.evaluation.classify import (
    FitSettings,
    as_tensor,
    fit,
    normalised,
    predict,
)
from echosweep.evaluation.shift_chance import (
    accuracy_variance,
    auc,
    auc_variance,
    concentration,
    margin,
)
from echosweep.evaluation.shift_folds import Fold
from echosweep.progress import Progress, silent

VERSION = 1  # of the procedure: files of fits made otherwise are not taken
WIDE = 0.2  # a margin beyond which even seven of ten right is no finding: too few patients
_MAPPED = 256  # images of a side whose gradients are averaged
_CHUNK = 64

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Fit:
    """What one classifier found: log-odds of being generated of the tested images, and where.

    slope (H, W): mean gradient of the log-odds by the pixels, of both sides alike. on_generated,
    on_reference (H, W): mean size of the gradient on images of either side.
    """

    generated: Floats
    reference: Floats
    slope: Floats
    on_generated: Floats
    on_reference: Floats


def find_fits(
    folds: Sequence[Fold],
    classifier: str,
    settings: FitSettings,
    folder: Path,
    device: torch.device,
    progress: Progress = silent,
) -> list[Fit]:
    """Return the fit of each fold by a classifier of CLASSIFIERS, each with a seed of its own.

    Those that `folder` holds are not done again.
    """
    seeded = [replace(settings, seed=settings.seed + repeat) for repeat in range(len(folds))]
    names = [_signature(fold, classifier, s) for fold, s in zip(folds, seeded, strict=True)]
    stored = [fit_files.read(folder, name) for name in names]
    fits = [Fit(**arrays) if arrays else None for arrays in stored]
    sizes = [2 * settings.epochs * len(fold.generated.train) for fold in folds]
    done = sum(size for size, fit in zip(sizes, fits, strict=True) if fit)
    progress(done, sum(sizes), done)
    for i, name in enumerate(names):
        if fits[i] is None:
            step = _After(progress, done, sum(sizes))
            fits[i] = found = _fit(folds[i], classifier, seeded[i], device, step)
            fit_files.write(folder, name, asdict(found))
            done += sizes[i]
    return [fit for fit in fits if fit]


def _signature(fold: Fold, classifier: str, settings: FitSettings) -> str:
    sides = [
        [part.side.store.content, *(part.side.rows[rows].tolist() for rows in part[1:])]
        for part in fold
    ]
    return runs.signature([VERSION, sides, classifier, asdict(settings)], length=32)


def _fit(
    fold: Fold, classifier: str, settings: FitSettings, device: torch.device, progress: Progress
) -> Fit:
    images = torch.cat([as_tensor(part.side.images(part.train)) for part in fold])
    targets = (torch.arange(len(images)) < len(fold.generated.train)).float()
    shape = (images.shape[1], images.shape[2], images.shape[3])
    network = fit(
        CLASSIFIERS[classifier], shape, 1, images, targets, _loss, settings, device, progress
    )
    tested = [as_tensor(part.side.images(part.test)) for part in fold]
    made, real = (predict(network, x, device)[:, 0].numpy() for x in tested)
    few = (x[:: -(-len(x) // _MAPPED)] for x in tested)
    on_made, on_real = (gradients(network, x, device) for x in few)
    return Fit(made, real, (on_made[0] + on_real[0]) / 2, on_made[1], on_real[1])


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs[:, 0], targets)


def gradients(network: nn.Module, images: Tensor, device: torch.device) -> tuple[Floats, Floats]:
    """Return the mean gradient (H, W) of the output by the pixels, and its mean size.

    Of uint8 images (N, C, H, W), summed over channels. A linear network's are its weights.
    """
    mean = size = torch.zeros(images.shape[2:])
    for part in torch.split(images, _CHUNK):
        x = normalised(part.to(device)).requires_grad_()
        (slope,) = torch.autograd.grad(network(x).sum(), x)
        by_pixel = slope.sum(1).cpu()
        mean, size = mean + by_pixel.sum(0), size + by_pixel.abs().sum(0)
    return (mean / len(images)).numpy(), (size / len(images)).numpy()


@dataclass(frozen=True)
class Chance:
    """What chance leaves of a panel: margins around one half, and why they are so wide.

    effective_...: how many images tell as much as those tested, if no two were of one patient.
    """

    accuracy_margin: float
    auc_margin: float
    effective_generated: float
    effective_reference: float


def find_chance(folds: Sequence[Fold], tests: int) -> Chance:
    """Return the margins of means over folds, for `tests` accuracies and AUCs together.

    Folds test disjoint groups, so the variance of a mean is that of one fold over their number.
    One fold's bound is proven; that a network of one fold was trained on what others test is not in
    it, and fits to halves of real stores stay within it (docs/evaluation.md).
    """
    parts = [[concentration(part.side.groups[part.test]) for part in fold] for fold in folds]
    share = len(folds) ** -2
    made, real = (share * sum(pair[i] for pair in parts) for i in (0, 1))
    accuracy = margin(share * sum(accuracy_variance(*pair) for pair in parts), tests)
    area = margin(share * sum(auc_variance(*pair) for pair in parts), tests)
    return Chance(
        min(accuracy, 0.5),  # nothing is farther from one half
        min(area, 0.5),
        1 / made,
        1 / real,
    )


def summarise(fits: Sequence[Fit]) -> dict[str, Any]:
    """Return means over repeats: the balanced accuracy, the two rates that it is of, the AUC."""
    made = [float((fit.generated > 0).mean()) for fit in fits]
    real = [float((fit.reference <= 0).mean()) for fit in fits]
    accuracies = [(one + other) / 2 for one, other in zip(made, real, strict=True)]
    return {
        "accuracy": float(np.mean(accuracies)),
        "auc": float(np.mean([auc(fit.generated, fit.reference) for fit in fits])),
        "generated_found": float(np.mean(made)),
        "reference_found": float(np.mean(real)),
        "accuracies": accuracies,
    }


def find_verdict(rows: Sequence[Mapping[str, Any]], chance: Chance) -> str:
    """Return "told apart", "chance" or "too few patients to tell", of all classifiers together.

    One accuracy or AUC beyond its margin is enough: a network that puts all images on one side of
    its threshold may rank them well. rows: of `summarise`.
    """
    for row in rows:
        accuracy, area = row["accuracy"] - 0.5, row["auc"] - 0.5
        if accuracy > chance.accuracy_margin or area > chance.auc_margin:
            return "told apart"
    return "too few patients to tell" if chance.accuracy_margin > WIDE else "chance"


class _After:
    """Counts one fit into the progress of all, after `done` images."""

    def __init__(self, progress: Progress, done: int, total: int) -> None:
        self._progress, self._done, self._total = progress, done, total

    def __call__(self, done: int, total: int, units: float | None = None) -> None:
        self._progress(self._done + done, self._total, self._done + done)
