"""Where trials run: `run(trials, study)` starts them all and yields each as it ends.

A backend starts `python -m echosweep.study.worker STUDY SIGNATURE` somewhere that sees the study's
folder, and says how it ended. It knows nothing of searches, and results pass through the folder
alone. Invariant: closing the iterator asks what runs to save and stop, and waits for it.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from echosweep.study.trial import Trial

# Exit codes of a worker; a negative one is the signal that it died of.
DONE, FAILED, FULL, BUSY, STOPPED = 0, 1, 28, 75, 130


@dataclass(frozen=True)
class BackendSettings:
    """What a backend needs to know. address: of a Ray cluster; options: of Slurm (partition, ...).

    workers: trials at a time; None for one a GPU, or one a core. gpus: of each trial.
    """

    workers: int | None = None
    gpus: int = 1
    address: str | None = None
    options: tuple[tuple[str, str], ...] = ()


Ended = Generator[tuple[Trial, int], None, None]


class Backend(Protocol):
    """Something that runs trials."""

    def run(self, trials: Sequence[Trial], study: Path) -> Ended:
        """Start every trial; yield each with the exit code of its worker as it ends."""
