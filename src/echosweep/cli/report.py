"""From a study to its report."""

from pathlib import Path


def report(study: Path, /, *, out: Path | None = None) -> None:
    """Write a study's report: a page, tables (CSV, LaTeX) and figures (PNG, PDF). Needs no GPU.

    Parameters
    ----------
    study
        Folder of the study, finished or not.
    out
        Folder for the report; default: STUDY/report.
    """
    from echosweep.commands.report import report as run

    print(run(study, out))
