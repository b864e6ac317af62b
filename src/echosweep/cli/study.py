"""The search as a whole: study run, status, stop."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from echosweep.cli.options import Many, print_json
from echosweep.progress import bar
from echosweep.runs import command_line
from echosweep.text import printable

study = App(
    name="study",
    help="Search for the best generator: run, status, stop.",
    help_format="plaintext",
)


@study.command
def run(
    recipe: str,
    /,
    *,
    out: Path,
    data: Path | None = None,
    backend: str = "local",
    workers: int | None = None,
    gpus: int | None = None,
    address: str | None = None,
    slurm: Annotated[list[str] | None, Parameter(negative=())] = None,
    storage: str | None = None,
    features: str | None = None,
    inception: Path | None = None,
    exhaustive: Annotated[bool, Many] = False,
    retry_failed: Annotated[bool, Many] = False,
    dry_run: Annotated[bool, Many] = False,
) -> None:
    """Run a recipe's searches one after another, then the report. The same command continues.

    Run it twice at once, also on other machines that see OUT, and both share the work.

    Parameters
    ----------
    recipe
        demo, laptop, paper, paper-112, or a YAML file of your own.
    out
        Folder of the study: records, weights, images, report.
    data
        Frame store; not for a recipe that makes its own.
    backend
        Where trials run: local, ray or slurm.
    workers
        Trials at a time; default: one a GPU, or one a CPU core.
    gpus
        GPUs of a trial; default: the recipe's.
    address
        ray: address of a running cluster; default: a local one.
    slurm
        slurm: an option of its jobs, as partition=gpu; may be given again.
    storage
        Database of the search, as postgresql://USER@HOST/NAME; default: a journal in OUT.
    features
        What images are compared by; default: the recipe's.
    inception
        Inception weights; default: the file named by ECHOSWEEP_INCEPTION.
    exhaustive
        Train every cell to the end: no pruning.
    retry_failed
        Do again what failed.
    dry_run
        Print every trial with its hours and memory, and the total; then stop.
    """
    from echosweep.study.launch import read, settings_of
    from echosweep.study.launch import study as launch

    chosen = read(recipe, exhaustive, gpus=gpus, features=features, inception=inception)
    settings = settings_of(chosen, workers, address, slurm or [])
    if dry_run:
        from echosweep.study.checks import check
        from echosweep.study.plan import plan, print_plan

        check(chosen)
        print_plan(plan(chosen, data, workers=workers, gpus=chosen.gpus, show=bar))
        return
    page = launch(
        chosen,
        out,
        data=data,
        backend=backend,
        settings=settings,
        storage=storage,
        retry_failed=retry_failed,
        show=bar,
        say=lambda text: print(printable(text), file=sys.stderr, flush=True),
    )
    print(f"{page}: the report. Next: {command_line('export', out, '--out', 'DIR')}")


@study.command
def status(
    folder: Path, /, *, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """Show where a study is: stages, running trials, failures, time left.

    Parameters
    ----------
    folder
        Folder of the study.
    as_json
        Print JSON, once.
    """
    from echosweep.study import status as of
    from echosweep.study.status_table import show

    if as_json:
        print_json(of.status(folder))
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
    from echosweep.study.status import stop as ask

    ask(folder, show=bar)
    print(f"{folder}: stopped; `echosweep study run` continues it")
