"""From a study to what can be given away: export."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from echosweep.config import registered
from echosweep.progress import bar

Formats = Parameter(
    help="How to write the images, several with commas: "
    f"{', '.join(registered('export', 'FORMATS'))}."
)


def export(
    study: Path,
    /,
    *,
    out: Path,
    formats: Annotated[str, Formats] = "store",
    num: Annotated[int | None, Parameter(name=["--num", "-n"])] = None,
) -> None:
    """Write the winner of a study with cards: its weights, and images without flagged copies.

    Parameters
    ----------
    study
        Folder of a finished study.
    out
        Folder to make. Interrupted, the same command continues.
    num
        Images, the first of those that may be given away; default: all.
    """
    from echosweep.commands.export import export as run

    path = run(study, out, formats=formats.split(","), num=num, show=bar)
    print(f"{path}: read {path / 'README.md'} before you share it")
