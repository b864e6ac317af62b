"""Images as PNG files, and a table of their seeds and labels: what any program can look at."""

import csv
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from echosweep.data.store import FrameStore
from echosweep.export.format import describe, each
from echosweep.progress import Progress
from echosweep.text import cell

ABOUT = """\
`NNNNNN.png`: 8 bits, lossless, grey (or RGB). `metadata.csv` names the seed, split and labels of
each: Hugging Face's `imagefolder` loader reads it, and so does `echosweep prepare`.

```python
from datasets import load_dataset

images = load_dataset("imagefolder", data_dir=".")
```"""


def write(store: FrameStore, num: int, out: Path, progress: Progress) -> None:
    """Write the first `num` images as `out`/NNNNNN.png, with metadata.csv."""
    out.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    for picture in each(store, num, progress):
        words = PngInfo()
        words.add_text("Software", "EchoSweep")
        words.add_text("Description", describe(store, picture))
        name = f"{picture.name}.png"
        Image.fromarray(picture.pixels).save(out / name, pnginfo=words)
        own = {"file_name": name, "seed": picture.seed, "split": picture.split}
        rows.append({**own, **picture.labels})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (out / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(map(cell, columns))
        table.writerows([cell(row.get(column)) for column in columns] for row in rows)
