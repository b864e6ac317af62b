"""Where files may lie: a home for a user without one, short paths for sockets, a free name.

A container's user may have no name and no home, a cluster's temporary folder a path that no socket
takes. Invariant: what a user named is used or refused; only a default is replaced, with a note.
"""

import contextlib
import multiprocessing
import multiprocessing.util
import os
import pwd
import shutil
import stat
import tempfile
from multiprocessing.context import ForkServerContext
from pathlib import Path

from echosweep.errors import EchoSweepError, UsageError
from echosweep.text import size

_SOCKET_PATH = 107  # bytes of a socket's path on Linux (unix(7)), without the last 0
_BELOW_TEMPORARY = len("/pymp-12345678/listener-12345678")
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def private_folder() -> Path:
    """Return this user's own folder in the temporary directory, made if need be.

    Raises UsageError if it cannot be made, or others own it or may enter it.
    """
    folder = Path(tempfile.gettempdir()) / f"echosweep-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        ours = ours and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    except OSError:
        ours = False
    if not ours:
        raise UsageError(
            f"there is no home folder that can be written, and {folder} is not this user's alone; "
            "set HOME or ECHOSWEEP_CACHE to a folder that can be written"
        )
    return folder


def prepare_user() -> None:
    """Give a user without a name or a home both, in the environment: libraries ask for them.

    A home that is there but cannot be written stays; matplotlib and Triton, which write to it, get
    a folder of their own.
    """
    os.environ["MPLBACKEND"] = "agg"  # no picture is shown in a window
    if _name() is None:
        os.environ["LOGNAME"] = f"user-{os.getuid()}"  # the first that `getpass` looks at
    home = _home()
    if home and os.access(home, os.W_OK):
        return
    if home in (None, Path("/")):
        os.environ["HOME"] = str(private_folder())
    else:
        for variable, name in (("MPLCONFIGDIR", "matplotlib"), ("TRITON_HOME", "triton")):
            os.environ.setdefault(variable, str(private_folder() / name))


def home_is_private() -> bool:
    """Say whether `prepare_user` made the home."""
    return _home() == Path(tempfile.gettempdir()) / f"echosweep-{os.getuid()}"


def made(folder: Path) -> Path | None:
    """Return the folder, ~ expanded, made if need be, for its owner alone; None if it cannot be."""
    try:
        folder = folder.expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # the latter: no home is known
        return None
    return folder if os.access(folder, os.W_OK) else None


def is_free(folder: Path) -> bool:
    """Say whether a folder can be made under that name: nothing is there, or an empty folder."""
    if not folder.is_dir():
        return not (folder.exists() or folder.is_symlink())
    # What is renamed to it replaces it, which neither a link, a disk nor this very folder allows.
    fixed = folder.is_symlink() or folder.is_mount() or folder.resolve() == Path.cwd()
    return not fixed and not any(folder.iterdir())


def check_no_way_out(folder: Path) -> None:
    """Raise UsageError for a link in a folder, or below, that leads out of it.

    What is written or removed under a name of ours would be somebody else's.
    """
    home = folder.resolve()
    for place, folders, files in os.walk(home):
        for path in (Path(place) / name for name in (*folders, *files)):
            if path.is_symlink() and home not in path.resolve().parents:
                raise UsageError(
                    f"{path} is a link that leads out of {folder}; put what it names there in its "
                    "place, or remove it"
                )


def check_free(folder: Path, option: str = "--out") -> None:
    """Raise UsageError unless a folder can be made under that name; see `is_free`."""
    if not is_free(folder):
        raise UsageError(
            f"{folder} exists already; remove it, or choose another {option} (an empty folder is "
            "taken, unless it is a link, a disk of its own or the current folder)"
        )


def fork_server() -> ForkServerContext:
    """Return the context of Python's fork server, its socket in a folder whose path is short.

    Raises UsageError where the temporary directory's path is too long and no other can be used.
    """
    if len(os.fsencode(tempfile.gettempdir())) + _BELOW_TEMPORARY > _SOCKET_PATH:
        before, tempfile.tempdir = tempfile.tempdir, short_temporary(_BELOW_TEMPORARY)
        try:
            multiprocessing.util.get_temp_dir()  # made once for a process, and removed at its end
        finally:
            tempfile.tempdir = before
    return multiprocessing.get_context("forkserver")


def short_temporary(below: int, variable: str = "TMPDIR") -> str:
    """Return a temporary directory in which a socket can lie, the usual one where it can.

    Args:
        below: the length in bytes of the socket's path below it.
        variable: of the environment, where the directory is named.

    Raises UsageError where there is none.
    """
    usual = os.environ.get(variable) or tempfile.gettempdir()
    for folder in (usual, *_SHORT):
        fits = len(os.fsencode(folder)) + below <= _SOCKET_PATH
        if fits and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise UsageError(
        f"the path of the temporary directory {usual} is too long for a socket "
        f"({len(os.fsencode(usual))} bytes, at most {_SOCKET_PATH - below}); set {variable} to a "
        f"shorter folder, as {variable}=/tmp"
    )


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _name() -> str | None:
    named = (os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME"))
    with contextlib.suppress(KeyError):
        return next(filter(None, named), None) or pwd.getpwuid(os.getuid()).pw_name
    return None


def check_room(
    folder: Path,
    needed: float,
    what: str,
    fix: str,
    kind: type[EchoSweepError] = UsageError,
) -> None:
    """Raise `kind` where the disk of a folder, made or not, has fewer bytes free than needed.

    Args:
        folder: Where it is to be written.
        needed: Bytes.
        what: What needs them, as "the images need".
        fix: What to do besides freeing some space.
        kind: UsageError before the work; EchoSweepError where some of it was done.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise kind(
            f"{what} {size(needed)} of disk space in {folder}, which has {size(free)} free; free "
            f"some and run the same command again, or {fix}"
        )
