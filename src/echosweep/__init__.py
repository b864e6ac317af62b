"""EchoSweep: find, train, sample and measure diffusion models for echocardiograms.

The public API. Each name is imported when first used, so that `import echosweep` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echosweep.build import load_model as load_model
    from echosweep.commands.choose_epoch import choose_epoch as choose_epoch
    from echosweep.commands.copies import copies as copies
    from echosweep.commands.discriminate import discriminate as discriminate
    from echosweep.commands.evaluate import evaluate as evaluate
    from echosweep.commands.floor import floor as floor
    from echosweep.commands.sample import sample as sample
    from echosweep.commands.shift import shift as shift
    from echosweep.commands.train import train as train
    from echosweep.commands.utility import utility as utility
    from echosweep.data.phantom import phantom as phantom
    from echosweep.data.prepare import prepare as prepare
    from echosweep.data.store import FrameStore as FrameStore

__version__ = "0.1.0"

_API = {
    "choose_epoch": "echosweep.commands.choose_epoch",
    "copies": "echosweep.commands.copies",
    "discriminate": "echosweep.commands.discriminate",
    "floor": "echosweep.commands.floor",
    "evaluate": "echosweep.commands.evaluate",
    "phantom": "echosweep.data.phantom",
    "prepare": "echosweep.data.prepare",
    "FrameStore": "echosweep.data.store",
    "load_model": "echosweep.build",
    "sample": "echosweep.commands.sample",
    "shift": "echosweep.commands.shift",
    "train": "echosweep.commands.train",
    "utility": "echosweep.commands.utility",
}
__all__ = sorted(_API)


def __dir__() -> list[str]:
    """Return the names of the API too, before any of them is used."""
    return sorted({*globals(), *_API})


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module 'echosweep' has no attribute {name!r}")
    return getattr(import_module(_API[name]), name)
