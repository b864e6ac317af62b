"""Images as a frame store: what every command of EchoSweep takes, one file for all pixels."""

import shutil
from pathlib import Path

import numpy as np

from echosweep.data.store import FILES, FrameStore
from echosweep.evaluation.copies_drop import drop_rows
from echosweep.progress import Progress

ABOUT = """\
A frame store of EchoSweep: `images.npy` holds all pixels (uint8, rows x height x width),
`index.npy` the seed of each row (`frame`), `videos.json` a name and labels for each,
`manifest.json` how they were made and the SHA-256 of each file.

```python
import numpy as np

images = np.load("images.npy", mmap_mode="r")
```"""


def write(store: FrameStore, num: int, out: Path, progress: Progress) -> None:
    """Write the first `num` images to the frame store `out`: all of them as the same bytes."""
    progress(0, num)
    if num < len(store):
        drop_rows(store, np.arange(num, len(store)), out, {"why": f"the first {num} were wanted"})
    else:
        out.mkdir(exist_ok=True)
        for name in (*FILES, "manifest.json"):
            shutil.copyfile(store.path / name, out / name)
        FrameStore.open(out)  # reads every byte again
    progress(num, num)
