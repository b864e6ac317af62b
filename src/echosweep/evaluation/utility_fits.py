"""The networks of a trial: each is trained once, and what it says of the test is kept on disk.

A file of outputs is named by a signature of all that decides it: images, labels, settings, network.
Invariant: arms of one repeat differ in the images to learn from alone; start and number of steps
are the same.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from echosweep import rng, runs
from echosweep.evaluation import CLASSIFIERS, fit_files
from echosweep.evaluation.classify import FitSettings, as_tensor, fit, predict
from echosweep.evaluation.sets import Side
from echosweep.evaluation.utility import UtilityTrial, labels_of
from echosweep.progress import Progress, silent

_VERSION = 1  # of the procedure: outputs of another one are not taken for these
Outputs = NDArray[np.float32]


@dataclass(frozen=True)
class Fits:
    """Trains the networks of `trial`, and keeps their outputs in `folder`.

    classifier: a key of CLASSIFIERS. settings: its seed is that of all repeats.
    """

    trial: UtilityTrial
    folder: Path
    classifier: str
    settings: FitSettings
    device: torch.device

    def outputs(self, repeats: int, progress: Progress = silent) -> Outputs:
        """Return what each network says of the test: (arms, repeats, n, k), arms as in ARMS."""
        count = repeats * (3 + self.trial.by_teacher)
        shown = _Shown(progress, count, self.settings.epochs * len(self.trial.real))
        found = np.stack([self._repeat(repeat, shown) for repeat in range(repeats)], axis=1)
        progress(shown.total, shown.total, shown.total)
        return found

    def _repeat(self, repeat: int, shown: "_Shown") -> Outputs:
        task, real, generated, test = self.trial[:4]
        true = task.targets(labels_of(real, task.label))
        if self.trial.by_teacher:
            # Seeded apart: a network taught by one with its own start would gain from that.
            says = self._output([real], true, generated, "teacher", repeat, shown)
            given = task.taught(torch.from_numpy(says))
        else:
            given = task.targets(labels_of(generated, task.label))
        arms = [
            ([real], true),
            ([generated], given),
            ([real, generated], torch.cat([true, given])),
        ]
        return np.stack([self._output(*arm, test, "arm", repeat, shown) for arm in arms])

    def _output(
        self,
        learnt: Sequence[Side],
        targets: Tensor,
        side: Side,
        role: str,
        repeat: int,
        shown: "_Shown",
    ) -> Outputs:
        """Return the outputs (n, k) for `side` of a network that learnt, from disk if it did."""
        settings = replace(
            self.settings,
            # Twice the images, half the epochs: more images are to help, not more steps.
            epochs=-(-self.settings.epochs // len(learnt)),
            seed=rng.derive("utility", role, self.settings.seed, repeat),
        )
        name = self._signature(learnt, targets, side, settings)
        stored = fit_files.read(self.folder, name)
        if stored is None:
            stored = {"outputs": self._train(learnt, targets, side, settings, shown)}
            fit_files.write(self.folder, name, stored)
        shown.fits += 1
        found: Outputs = stored["outputs"]
        return found

    def _signature(
        self, learnt: Sequence[Side], targets: Tensor, side: Side, settings: FitSettings
    ) -> str:
        sides = [(each.store.content, each.rows.tolist()) for each in (*learnt, side)]
        task = self.trial.task
        decides = [_VERSION, sides, targets.tolist(), len(task.classes), self.classifier]
        return runs.signature([*decides, asdict(settings), self.device.type])

    def _train(
        self,
        learnt: Sequence[Side],
        targets: Tensor,
        side: Side,
        settings: FitSettings,
        shown: "_Shown",
    ) -> Outputs:
        images = torch.cat([as_tensor(each.images()) for each in learnt])
        task, shape = self.trial.task, (images.shape[1], images.shape[2], images.shape[3])
        network = fit(
            CLASSIFIERS[self.classifier],
            shape,
            task.outputs,
            images,
            targets,
            task.loss(targets),
            settings,
            self.device,
            shown,
        )
        return predict(network, as_tensor(side.images()), self.device).numpy()


class _Shown:
    """Counts the images of all fits into one `Progress`; `fits` are done."""

    def __init__(self, progress: Progress, count: int, each: int) -> None:
        self._progress, self._each, self.total, self.fits = progress, each, count * each, 0

    def __call__(self, done: int, total: int, units: float | None = None) -> None:
        seen = self.fits * self._each + done * self._each // total
        self._progress(seen, self.total, seen)
