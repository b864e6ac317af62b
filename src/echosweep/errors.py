"""What a user can get wrong, said once and clearly.

Every message names the value, what is allowed and the fix. `cli.py` prints it as one line and exits
with `exit_code`; a traceback appears only under `--debug`. What *we* can get wrong is an `assert`.
"""


class EchoSweepError(ValueError):
    """Work that cannot go on: a damaged file, too many broken videos, a full disk. Exit code 1."""

    exit_code = 1


class UsageError(EchoSweepError):
    """A wrong argument, setting or path, found before any work. Exit code 2."""

    exit_code = 2
