"""A Ray of our own: no other machine, no other user of this one, and no variable reaches it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'echosweep[ray]'")

# In a process of its own: what Ray reads, it reads as it is imported.
_SCRIPT = """
import contextlib, os, stat, sys
from pathlib import Path
from echosweep.study.backends import BackendSettings
from echosweep.study.backends.ray import Ray

def sockets():
    "Yield the sockets of all processes that have our token: those of this Ray."
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.environ["RAY_AUTH_TOKEN"].encode() in (process / "environ").read_bytes():
                yield from (os.readlink(link) for link in (process / "fd").iterdir())

backend = Ray(BackendSettings(gpus=0))
print(backend.ray.get(backend.ray.remote(lambda: os.getuid()).remote()) == os.getuid())
lines = [*Path("/proc/net/tcp").open(), *Path("/proc/net/tcp6").open()]
rows, ours = [line.split() for line in lines], set(sockets())
heard = {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in ours}
loopback = ("0100007F:", "0000000000000000FFFF00000100007F:", "00000000000000000000000001000000:")
print(len(heard) > 3, [one for one in heard if not one.startswith(loopback)])
(private,) = Path(sys.argv[1]).glob("ray-*")
print(oct(stat.S_IMODE(private.stat().st_mode)), (private / "ray").exists())
"""


def test_a_ray_of_our_own_is_reached_by_nobody_else() -> None:
    with tempfile.TemporaryDirectory(prefix="es", dir="/tmp") as temporary:  # sockets: short
        elsewhere = {"RAY_ADDRESS": "127.0.0.1:1", "RAY_AUTH_MODE": "disabled"}
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, temporary],
            env={**os.environ, **elsewhere, "RAY_TMPDIR": temporary},
            capture_output=True,
            text=True,
        )
        assert done.stdout.splitlines() == ["True", "True []", "0o700 True"], done.stderr
        assert list(Path(temporary).iterdir()) == []  # it ended with us
