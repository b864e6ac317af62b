"""The report of a study, made from its records and a few images: seconds, on any machine.

Invariant: nothing here imports torch, so a study done on a cluster is reported on a laptop, while
it runs or after it.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echosweep import runs
from echosweep.data.store import FrameStore
from echosweep.errors import EchoSweepError, UsageError
from echosweep.places import check_no_way_out
from echosweep.reporting.study_checks import understood
from echosweep.reporting.study_page import PAGE, write_study
from echosweep.reporting.study_records import Study, read_study
from echosweep.text import below

Images = NDArray[np.uint8]
_SHOWN = 36


def report(study: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of the folder `study` to `out`, by default STUDY/report; return its page.

    Beside the page are every table as CSV, Tables 1 and 2 as LaTeX, every figure as PNG and PDF. A
    study that is not finished has a report too, which says what is missing.

    Args:
        study: Folder of the study.
        out: Folder for the report.

    Raises:
        UsageError: Where no study is, or `out` holds other files.
        EchoSweepError: For a record that is damaged or missing.
    """
    study = Path(study)
    folder = Path(out) if out else study / "report"
    check_no_way_out(study)
    found = read_study(study)
    if out:
        _check_own(folder)
    with understood(study):
        pictures, notes = _pictures(found)
        return write_study(folder, found, pictures, notes)


def _check_own(folder: Path) -> None:
    """Raise UsageError unless the folder is new, empty or of a report: files are overwritten."""
    page = folder / PAGE
    runs.check_writable(page, runs.PAGE)
    if not page.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} holds other files, and no report; choose an empty --out")


def _pictures(study: Study) -> tuple[dict[str, Images], list[str]]:
    """Return images by what they are, evenly spread, and why some are not there."""
    pictures, notes = dict[str, Images](), list[str]()
    real = study.path / study.data["path"]
    for title, path, split in (("real, split test", str(real), "test"), *_drawn(study)):
        try:
            store = FrameStore.open(path, verify=False)
            if split and not _is_of(store, study):
                raise EchoSweepError(
                    f"{path} holds other images than those of the study, or splits them otherwise"
                )
            pictures[title] = _spread(store, store.rows(split))
        except EchoSweepError as error:
            notes.append(f"no images ({title}): {error}")
    return pictures, notes


def _is_of(store: FrameStore, study: Study) -> bool:
    """Say whether a store is the data of the study; older studies name the images alone."""
    if "identity" in study.data:
        return bool(store.identity == study.data["identity"])
    return bool(store.content == study.data["content"])


def _drawn(study: Study) -> Iterator[tuple[str, str, None]]:
    """Yield the stores of generated images, without copies where they were sought."""
    final = study.result_of("final") or {"control": None, "winner": None}
    for side in filter(None, (final["control"], final["winner"])):
        guided = side["candidate"]["sample"].get("guidance")
        title = "generated, with guidance" if guided else "generated"
        kept = side["shareable"] or side["measure"]["files"]["images"]
        yield title, str(below(study.path, kept, "the final stage")), None


def _spread(store: FrameStore, rows: NDArray[np.int64]) -> Images:
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, _SHOWN).astype(int))]
    return np.asarray(store.images[chosen])
