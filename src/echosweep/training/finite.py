"""Numbers that are not finite: found before they are saved, mended in gradients, counted.

Adam keeps the mean of squared gradients, so one whose square is no float32 would stop its weight
for good. Invariant: gradients below `_LARGEST`, which no healthy step comes near, stay as they are.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

_LARGEST = 1e10
_INSTEAD = 1e5  # of an infinite gradient (Karras et al. 2022, their code)
_IN_A_ROW = 10  # one step of a bad batch is mended, so many in a row are not
_RECENT = 100


def mend_gradients(weights: Sequence[nn.Parameter]) -> tuple[float, int]:
    """Replace NaN by 0 and what is infinite or above 1e10 by +-1e5 in the gradients, in place.

    Return the gradients' norm (inf or nan if one was) and the entries mended.
    """
    gradients = [p.grad for p in weights if p.grad is not None]
    norm = float(get_total_norm(gradients))
    if norm < _LARGEST:
        return norm, 0
    mended = 0
    for gradient in gradients:
        wrong = ~(gradient.abs() < _LARGEST)
        mended += int(wrong.sum())
        instead = torch.nan_to_num(gradient, nan=0).clamp(-_INSTEAD, _INSTEAD)
        gradient.copy_(torch.where(wrong, instead, gradient))
    return norm, mended


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that hold NaN or infinity; one reduction where none does."""
    floats = {name: t.detach() for name, t in tensors.items() if t.is_floating_point()}
    if bool(get_total_norm(list(floats.values()), norm_type=float("inf")).isfinite()):
        return []
    return [name for name, tensor in floats.items() if not bool(tensor.isfinite().all())]


class Health:
    """Counts the steps whose loss or gradients were not finite: `mended` of `steps`."""

    def __init__(self) -> None:
        self.steps = self.mended = self._row = 0
        self._recent: deque[bool] = deque(maxlen=_RECENT)

    def add(self, bad: bool) -> None:
        """Take a step in."""
        self.steps, self.mended = self.steps + 1, self.mended + bad
        self._row = self._row + 1 if bad else 0
        self._recent.append(bad)

    @property
    def trouble(self) -> str:
        """Return what is too much: 10 such steps in a row, or most of the last 100; else ""."""
        if self._row >= _IN_A_ROW:
            return f"of {_IN_A_ROW} steps in a row"
        if sum(self._recent) > max(_IN_A_ROW, len(self._recent) / 2):
            return f"of {sum(self._recent)} of the last {len(self._recent)} steps"
        return ""
