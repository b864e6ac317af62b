"""The training log: metrics.jsonl, and TensorBoard where asked for.

A row covers the steps since the last one. Rows behind the point that a resumed run starts from are
removed first, so the file reads as if nothing had been interrupted.
"""

import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from echosweep import runs
from echosweep.errors import UsageError
from echosweep.training.loop import TrainingStep

_SECONDS_BETWEEN_ROWS = 5.0


class Log:
    """Averages steps into rows of RUN/metrics.jsonl; `out` None logs nothing (other processes)."""

    def __init__(self, out: Path | None, nimg: int, pixels: int, tensorboard: bool) -> None:
        self._steps: list[TrainingStep] = []
        self._nimg = nimg
        self._pixels, self._since = pixels, time.perf_counter()
        self._path = out / "metrics.jsonl" if out else None
        self._board = _tensorboard(out) if out and tensorboard else None
        if self._path:
            rows = [row for row in runs.read_jsonl(self._path) if row["nimg"] <= nimg]
            runs.write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))

    def add(self, step: TrainingStep) -> None:
        """Take one step in; write a row when the last is a few seconds old."""
        self._steps.append(step)
        self._nimg = step.nimg
        if time.perf_counter() - self._since > _SECONDS_BETWEEN_ROWS:
            self.note()

    def note(self, **values: float | None) -> None:
        """Write a row of the steps since the last one, with `values` beside them."""
        row = self._row() if self._steps else {"nimg": self._nimg}
        row |= {key: value and _finite(value) for key, value in values.items()}
        if len(row) > 1:
            self._write(row)
        self._steps, self._since = [], time.perf_counter()

    def close(self) -> None:
        """Write what is left."""
        self.note()
        if self._board:
            self._board.close()

    def _row(self) -> dict[str, Any]:
        steps, last = self._steps, self._steps[-1]
        seconds = sum(step.seconds for step in steps)
        return {
            "nimg": last.nimg,
            "loss": _finite(sum(step.loss for step in steps) / len(steps) / self._pixels),
            "lr": last.lr,
            "grad_norm": _finite(sum(step.grad_norm for step in steps) / len(steps)),
            "nonfinite": sum(step.nonfinite for step in steps),
            "mended_steps": sum(step.nonfinite > 0 for step in steps),
            "images_per_second": sum(step.images for step in steps) / seconds,
            "memory_gb": _memory_gb(),
        }

    def _write(self, row: dict[str, Any]) -> None:
        if self._path:
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        if self._board:
            for name, value in row.items():
                if value is not None:
                    self._board.add_scalar(name, value, row["nimg"])


def _finite(value: float) -> float | None:
    """Return `value`, or None for what JSON has no number for."""
    return value if math.isfinite(value) else None


def _tensorboard(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError('--tensorboard needs pip install "echosweep[tb]"') from None
    return SummaryWriter(str(out / "tensorboard"))


def _memory_gb() -> float:
    """Return the peak memory of this process: the GPU's where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
