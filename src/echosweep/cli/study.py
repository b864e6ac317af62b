"""The search as a whole: study run, status, stop; then report and export."""

import sys
from pathlib import Path

from cyclopts import App

from echosweep.cli.options import AsJson, DryRun, print_json, takes
from echosweep.config import ExportOptions, StudyOptions
from echosweep.progress import bar
from echosweep.runs import command_line
from echosweep.text import printable

study = App(
    name="study",
    help="Search for the best generator: run, status, stop.",
    help_format="plaintext",
)


@study.command
@takes(StudyOptions)
def run(recipe: str, /, *, out: Path, options: StudyOptions, dry_run: DryRun = False) -> None:
    """Run a recipe's searches one after another, then the report. The same command continues.

    Run it twice at once, also on other machines that see OUT, and both share the work.

    Parameters
    ----------
    recipe
        demo, laptop, paper, paper-112, or a YAML file of your own.
    out
        Folder of the study: records, weights, images, report.
    """
    if dry_run:
        from echosweep.study.launch import dry_run as estimate

        estimate(recipe, options, show=bar)
        return
    from echosweep.study.launch import study

    page = study(
        recipe,
        out,
        config=options,
        show=bar,
        say=lambda text: print(printable(text), file=sys.stderr, flush=True),
    )
    print(f"{page}: the report. Next: {command_line('export', out, '--out', 'DIR')}")


@study.command
def status(folder: Path, /, *, as_json: AsJson = False) -> None:
    """Show where a study is: stages, running trials, failures, time left.

    Parameters
    ----------
    folder
        Folder of the study.
    """
    from echosweep.study.status import status
    from echosweep.study.status_table import show

    if as_json:
        print_json(status(folder))
    else:
        show(folder, live=sys.stdout.isatty())


@study.command
def stop(folder: Path, /) -> None:
    """Ask every runner of a study to save and stop; the command that ran it continues it.

    Parameters
    ----------
    folder
        Folder of the study.
    """
    from echosweep.study.status import stop

    stop(folder, show=bar)
    print(f"{folder}: stopped; `echosweep study run` continues it")


def report(study: Path, /, *, out: Path | None = None) -> None:
    """Write a study's report: a page, tables (CSV, LaTeX) and figures (PNG, PDF). Needs no GPU.

    Parameters
    ----------
    study
        Folder of the study, finished or not.
    out
        Folder for the report; default: STUDY/report.
    """
    from echosweep.commands.report import report

    print(report(study, out))


@takes(ExportOptions)
def export(study: Path, /, *, out: Path, options: ExportOptions) -> None:
    """Write the winner of a study with cards: its weights, and images without flagged copies.

    Parameters
    ----------
    study
        Folder of a finished study.
    out
        Folder to make. Interrupted, the same command continues.
    """
    from echosweep.commands.export import export

    path = export(study, out, config=options, show=bar)
    print(f"{path}: read {path / 'README.md'} before you share it")
