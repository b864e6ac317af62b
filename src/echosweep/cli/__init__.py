"""The command line: parse, call, print. No logic, and nothing heavy imported before it is needed.

Results go to stdout (JSON where a machine may read them), progress and errors to stderr; who reads
stderr may go away, and the work goes on. Exit code 0: done; 1: the work failed; 2: the call was
wrong; 130: stopped by Ctrl-C, the same command continues; 75: stopped by SIGTERM, SIGUSR1 or SIGHUP
(a queue that takes the node back, a terminal that closed), to be queued again. Options that belong
to a config are made from its fields.
"""

import errno
import re
import sys
from pathlib import Path

from cyclopts import App, CycloptsError, Group

from echosweep import __version__, stops, streams
from echosweep.cli.data import phantom, prepare
from echosweep.cli.guidance import choose_epoch, discriminate
from echosweep.cli.measures import copies, evaluate, floor, shift, utility
from echosweep.cli.models import ema, sample, train
from echosweep.cli.options import AsJson, print_json
from echosweep.cli.study import export, report, study
from echosweep.errors import EchoSweepError
from echosweep.places import prepare_user
from echosweep.runs import NO_SPACE
from echosweep.text import printable


def doctor(*, as_json: AsJson = False) -> None:
    """Say what this machine has and lacks, and the fix for each lack."""
    from echosweep.commands.doctor import examine, print_table

    findings = examine()
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        print_table(findings)
    if any(finding.state == "missing" for finding in findings):
        raise SystemExit(1)


def demo(out: Path = Path("demo"), /) -> None:
    """Run the whole study on phantom hearts: search, guidance, report. Minutes on two CPU cores.

    Parameters
    ----------
    out
        Folder to make; the same command again continues.
    """
    from echosweep.study.demo import demo as run

    run(out)


app = App(
    name="echosweep",
    version=__version__,
    help="Find, train, sample and measure diffusion models for echocardiograms. "
    "For research; not for clinical use.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app["--help"].group = app["--version"].group = Group("Other", sort_key=9)
for _command in (
    *(study, report, export),
    *(phantom, prepare, train, ema, sample, discriminate, choose_epoch),
    *(evaluate, floor, copies, shift, utility, doctor, demo),
):
    app.command(_command)


_FIXES = dict.fromkeys(NO_SPACE, "; free some space and run the same command again")
_FIXES[errno.EMFILE] = "; allow more (ulimit -n 1024) and run the same command again"
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


def _fail(message: str, code: int) -> int:
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code


def _run(arguments: list[str]) -> int:
    try:
        prepare_user()
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        print(end="", flush=True)
    except CycloptsError as error:
        return _fail(_in_plain_words(str(error)), 2)
    except EchoSweepError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError as error:  # not of stdout or stderr, which `streams` forgives
        return _fail(f"a process that this one works with has ended ({error}); run it again", 1)
    except OSError as error:
        return _fail(f"{error}{_FIXES.get(error.errno or 0, '')}", 1)
    except KeyboardInterrupt as stop:
        code = stop.exit_code if isinstance(stop, stops.Stopped) else 130
        print("stopped; run the same command again to continue", file=sys.stderr)
        return code
    except Exception as error:
        return _fail(_explain(error), 1)
    return 0


def _in_plain_words(text: str) -> str:
    """Return what cyclopts says without Python's names of types."""
    return re.sub(
        r'unable to convert (".*") into (int|float|bool)',
        lambda found: f"{found[1]} is not {_KINDS[found[2]]}",
        text,
    )


def _explain(error: Exception) -> str:
    """Return what to do about an error that nothing foresaw."""
    text = str(error).split("\n")[0]
    if isinstance(error, MemoryError) or "memory" in text:  # torch raises RuntimeError
        return (
            f"out of memory ({text}); make the images, the batch (training: --micro-batch) or the "
            "network smaller"
        )
    return (
        f"{type(error).__name__}: {text}; a fault of EchoSweep: report it with what --debug shows"
    )


def main() -> None:
    """Run the command line: the entry point `echosweep`. --debug anywhere shows tracebacks."""
    streams.prepare()
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if len(arguments) < len(sys.argv) - 1:
        prepare_user()
        app(arguments)
    else:
        with stops.raised():
            code = _run(arguments)
        stops.ignore()  # the code is decided: a queue reads it, also where it signals twice
        sys.exit(code)
