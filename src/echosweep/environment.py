"""Where a number comes from: versions, machine, commit and command, as records keep them.

Invariant: no name of a file is in it, as names of files can be names of patients.
"""

import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from echosweep import machine
from echosweep.vocabulary import nameless


def environment() -> dict[str, Any]:
    """Return what a number's provenance needs: versions, machine, commit, command, time (UTC)."""
    import platform  # here, not above: `--help` need not wait for it

    packages = ("echosweep", "torch", "numpy", "av", "safetensors")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": nameless(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "threads": torch.get_num_threads() if (torch := sys.modules.get("torch")) else None,
        "packages": {name: _version(name) for name in packages},
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the checkout that this package runs from, None when installed."""
    import subprocess

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        here = Path(__file__).parent
        arguments = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        if any((parent / ".git").exists() for parent in here.parents[:3]):
            return subprocess.check_output(
                arguments, text=True, stderr=subprocess.DEVNULL, timeout=10
            ).strip()
    return None
