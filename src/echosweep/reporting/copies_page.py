"""The page of a search for copies: how many images were flagged, how surely, and which.

Invariant: the number of flags never stands without the false alarms that a rate brings by itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from echosweep.reporting.meanings import MEANINGS
from echosweep.reporting.page import picture_uri, provenance, write_page

_LISTED = 200  # flagged images; the record has all


def write_copies_page(path: Path, record: Mapping[str, Any], sheet: Image.Image) -> None:
    """Write the page of a search for copies to `path`.

    record: `CopyReport.record()`, with or without "provenance" and "features"; a row of "images"
    may add "name", of the generated image, and "train_name". sheet: the closest pairs, as
    `copy_sheet` draws them.
    """
    write_page(
        path,
        "copies.html.j2",
        record=record,
        expected=record["rate"] * record["n_generated"],
        statistics=[
            (name, record[name], row)
            for name, row in MEANINGS.items()
            if row.section == "copies" and name in record
        ],
        listed=record["images"][:_LISTED],
        sheet=picture_uri(sheet),
        provenance=provenance(record),
    )
