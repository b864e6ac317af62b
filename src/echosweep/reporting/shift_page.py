"""The page of the shift panel: can generated images be told from real ones, by whom, and by what.

The answer comes first, with what chance leaves and the floor; then the table of the paper, then
where it shows. Invariant: an accuracy never stands without its margin of chance.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from echosweep.reporting.figures import contact_sheet
from echosweep.reporting.page import figure_uri, picture_uri, provenance, write_page
from echosweep.reporting.shift_figures import NAMES, plot_bands, plot_maps, plot_panel

Images = NDArray[np.uint8]
_LEAST = 64  # pixels that an image takes in a sheet
_COLUMNS = 6
_SHORT = {"generated": "Generated", "guided": "With guidance", "floor": "Floor"}
_ANSWERS = {
    "told apart": "Classifiers can tell",
    "chance": "Classifiers cannot tell",
    "too few patients to tell": "Too few patients to tell",
}


class ShiftPictures(NamedTuple):
    """What the page shows beside numbers.

    maps: by column and classifier, slope, on_generated and on_reference (H, W). best: the
    classifier that is most often right on the generated column; generated, reference: images
    (n, H, W[, 3]) of either side that it takes most surely for generated, and for real.
    """

    maps: Mapping[str, Mapping[str, Mapping[str, NDArray[Any]]]]
    best: str
    generated: tuple[Images, Images]
    reference: tuple[Images, Images]


def write_shift_page(path: Path, record: Mapping[str, Any], pictures: ShiftPictures) -> None:
    """Write the page of a shift record, as `commands.shift` makes it, to `path`."""
    final = "guided" if "guided" in record["table"] else "generated"
    write_page(
        path,
        "shift.html.j2",
        record=record,
        names=NAMES,
        final=final,
        title=f"{_ANSWERS[record['verdicts'][final]]} {final} images from real ones",
        findings=list(_findings(record)),
        classifiers=list(record["table"]["generated"]),
        heads=["Classifier", *_heads(record["table"], "accuracy"), *_heads(record["table"], "AUC")],
        panel=figure_uri(plot_panel(record)),
        bands=figure_uri(plot_bands(record["bands"])),
        maps={name: figure_uri(plot_maps(maps)) for name, maps in pictures.maps.items()},
        best=pictures.best,
        sheets=list(_sheets(pictures)),
        provenance=provenance(record),
    )


def _heads(columns: Iterable[str], what: str) -> list[str]:
    return [f"{_SHORT[name]}, {what}" for name in columns]


def _findings(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what the head of the page says of each column: its best classifier and chance."""
    for name, rows in record["table"].items():
        best = max(rows, key=lambda classifier: float(rows[classifier]["accuracy"]))
        yield {
            "name": name,
            "classifier": best,
            "row": rows[best],
            "chance": record["chance"][name],
            "verdict": record["verdicts"][name],
        }


def _sheets(pictures: ShiftPictures) -> Iterator[dict[str, Any]]:
    """Yield a contact sheet of each kind of example."""
    kinds = {
        "Generated, most surely told": pictures.generated[0],
        "Generated, most like real": pictures.generated[1],
        "Real, most surely told": pictures.reference[1],
        "Real, most like generated": pictures.reference[0],
    }
    for title, images in kinds.items():
        zoom = max(1, _LEAST // images.shape[2])
        sheet = contact_sheet(images, _COLUMNS, zoom)
        yield {"title": title, "count": len(images), "uri": picture_uri(sheet)}
