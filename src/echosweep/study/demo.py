"""The whole way on phantom hearts in minutes: the study of the recipe `demo`.

What is finished is not done again, so the same command continues an interrupted demo.
"""

import sys
from functools import partial
from pathlib import Path

from echosweep.progress import bar
from echosweep.study.launch import study
from echosweep.text import printable

_NEXT = """
{page}: which model won, and why; open it in a browser
{out}/report: its tables and figures, as files

On your own videos (each command has --help):

  echosweep prepare MY_VIDEOS --out stores/mine --size 64 --every 5
  echosweep study run laptop --data stores/mine --out studies/mine --dry-run
  echosweep study run laptop --data stores/mine --out studies/mine
  echosweep export studies/mine --out shared
"""


def demo(out: Path) -> None:
    """Run the study of the recipe `demo` in the folder `out`; say what to look at."""
    say = partial(print, file=sys.stderr, flush=True)
    page = study("demo", out, show=bar, say=lambda text: say(printable(text)))
    say(_NEXT.format(page=page, out=out))
