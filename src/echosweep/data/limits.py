"""What one file may cost, so that a damaged or hostile one ends itself and not the machine.

A header of a few bytes can promise 2e9 frames, and a megabyte can unfold to gigabytes. What a file
promises is checked before memory is taken; what cannot be known before is counted while it comes.
Invariant: every refusal names the limit and the option that raises it.
"""

from typing import NamedTuple

from echosweep.config import PrepareConfig
from echosweep.data.source import Broken


class Limits(NamedTuple):
    """How much of each a file may have.

    Attributes:
        megapixels: Of one image.
        frames: Of one video.
        gigabytes: That a file unfolds to in memory, where it is not read piece by piece.
    """

    megapixels: float
    frames: int
    gigabytes: float

    @classmethod
    def of(cls, config: PrepareConfig) -> "Limits":
        """Return the limits that the options of `prepare` set."""
        return cls(config.max_megapixels, config.max_frames, config.max_gigabytes)

    def check_size(self, width: int, height: int) -> None:
        """Raise Broken if an image of so many pixels is too large."""
        if width * height > self.megapixels * 1e6:
            raise Broken(
                f"its images have {width}x{height} pixels, more than --max-megapixels "
                f"{self.megapixels:g} allows"
            )

    def check_frames(self, frames: int) -> None:
        """Raise Broken if a video of so many frames is too long."""
        if frames > self.frames:
            raise Broken(f"it has {frames:,} frames, more than --max-frames {self.frames} allows")

    def check_bytes(self, count: int) -> None:
        """Raise Broken if so many bytes are too many to hold in memory."""
        if count > self.gigabytes * 1e9:
            raise Broken(
                f"it unfolds to {count / 1e9:,.1f} GB or more, and --max-gigabytes allows "
                f"{self.gigabytes:g}"
            )


LIMITS = Limits.of(PrepareConfig())
"""The limits where no option says otherwise."""
