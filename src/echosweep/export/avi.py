"""Images in EchoNet-Dynamic's layout (Ouyang et al. 2020): Videos/NAME.avi and tables.

A generated image is a still, so each is a video of one frame, coded without loss (FFV1), and has no
traced frames: VolumeTracings.csv, without which echonet's loader does not open, has no rows.
Invariant: what is not known (EF, ESV, EDV) is an empty cell, never a number that looks like one; a
name is no number either, or readers of tables would take its zeros away.
"""

import csv
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from echosweep.data.phantom import FILE_LIST, TRACINGS
from echosweep.data.store import FrameStore
from echosweep.export.format import Picture, each
from echosweep.progress import Progress

_FPS = 1  # of a still: containers ask for one
ABOUT = """\
EchoNet-Dynamic's layout: `Videos/synthetic-NNNNNN.avi`, each a video of one frame (FFV1,
lossless), and `FileList.csv` with EchoNet's columns. These images are stills: nothing beats, EF,
ESV and EDV are empty unless the model was told one, and FPS means nothing.

**The loader of the package `echonet` opens this folder and finds no video in it:** it keeps only
videos with two traced frames, and nobody traced these, so `VolumeTracings.csv` has no rows. Read
`FileList.csv` and `Videos/` themselves:

```
echosweep prepare . --out STORE --every 1 --size HEIGHTxWIDTH
```"""


def write(store: FrameStore, num: int, out: Path, progress: Progress) -> None:
    """Write the first `num` images as `out`/Videos/synthetic-NNNNNN.avi, with the tables."""
    (out / "Videos").mkdir(parents=True, exist_ok=True)
    with (out / "VolumeTracings.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(TRACINGS)
    with (out / "FileList.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, FILE_LIST, lineterminator="\n")
        table.writeheader()
        for picture in each(store, num, progress):
            row = _row(picture)
            _encode(out / "Videos" / f"{row['FileName']}.avi", picture.pixels)
            table.writerow(row)


def _row(picture: Picture) -> dict[str, Any]:
    height, width = picture.pixels.shape[:2]
    known = {name: picture.labels.get(name) for name in ("EF", "ESV", "EDV")}
    return {
        "FileName": f"synthetic-{picture.name}",
        **{name: value for name, value in known.items() if isinstance(value, int | float)},
        "FrameHeight": height,
        "FrameWidth": width,
        "FPS": _FPS,
        "NumberOfFrames": 1,
        "Split": picture.split.upper(),
    }


def _encode(path: Path, image: NDArray[np.uint8]) -> None:
    """Write one image (H, W) or (H, W, 3) as an AVI file of one frame."""
    grey = image.ndim == 2
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("ffv1", rate=_FPS)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "gray" if grey else "bgr0"
        stream.codec_context.thread_count = 1
        frame = av.VideoFrame.from_ndarray(image, format="gray" if grey else "rgb24")
        container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))
