"""Small videos for tests: what was put in is known to the pixel."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray


def write_video(
    path: Path,
    frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    codec: str = "ffv1",
    pix_fmt: str = "gray",
    color_range: int = 0,
    **options: str,
) -> Path:
    """Write frames (H, W) as the luma plane (or (H, W, 3) as RGB) of a video; chroma is grey."""
    height, width = frames[0].shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = Fraction(1, 25)
        stream.codec_context.color_range = color_range
        for number, pixels in enumerate(frames):
            frame = _frame(pixels, pix_fmt)
            frame.pts, frame.color_range = number, color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _frame(pixels: NDArray[np.uint8], pix_fmt: str) -> Any:
    if pixels.ndim == 3:
        return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
    frame = av.VideoFrame(pixels.shape[1], pixels.shape[0], pix_fmt)
    for number, plane in enumerate(frame.planes):
        rows = np.full((plane.height, plane.line_size), 128, np.uint8)
        if number == 0:
            rows[:, : plane.width] = pixels
        plane.update(rows.tobytes())
    return frame


def numbered(frames: int, size: int = 16, step: int = 8) -> NDArray[np.uint8]:
    """Return frames whose brightness is their number times `step`: (frames, size, size)."""
    return np.broadcast_to(
        (np.arange(frames) * step).astype(np.uint8)[:, None, None], (frames, size, size)
    )


def textured(frames: int, height: int = 24, width: int = 24, seed: int = 0) -> NDArray[np.uint8]:
    """Return noise that every pixel and every frame can be told apart by."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (frames, height, width), dtype=np.uint8)


@pytest.fixture(scope="session")
def videos() -> SimpleNamespace:
    return SimpleNamespace(write=write_video, numbered=numbered, textured=textured)
