"""The ledger: a study's search as Optuna knows it, for its dashboard, its plots, a lab's database.

Each searching stage is an Optuna study NAME/STAGE of one trial per trial of ours, kept in
STUDY/ledger.journal or in the database of a URL. Invariant: it is a copy. What is written is a
function of the stage's rows, so whatever befalls it, the next write makes it right.
"""

import contextlib
import fcntl
import importlib.util
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echosweep import runs
from echosweep.errors import EchoSweepError, UsageError
from echosweep.study.strategies import Space, distributions, import_optuna, is_finite, param

if TYPE_CHECKING:
    import optuna
    import sqlalchemy

SearchRow = Mapping[str, Any]

_URLS = "postgresql://USER@HOST/DATABASE, mysql://USER@HOST/DATABASE or sqlite:///FILE"
_DRIVERS = {  # modules that speak to a database, and the package of the first
    "postgresql": (("psycopg2", "psycopg"), "psycopg2-binary"),
    "mysql": (("pymysql", "MySQLdb"), "pymysql"),
}
_SECONDS_TO_CONNECT = 10
# What Optuna raises for a journal that it did not write.
_NOT_UNDERSTOOD = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError)


class Ledger:
    """The searches of one study folder in Optuna's storage.

    url: a database; None: STUDY/ledger.journal. name: of the study there. Each call opens the
    storage anew, for hours lie between them, and raises EchoSweepError where it cannot.
    """

    def __init__(self, url: str | None, study: Path, name: str) -> None:
        self._url, self._folder, self._name = url, study, name

    def check(self) -> None:
        """Raise UsageError if the storage cannot be reached, or has another study of that name."""
        try:
            with self._opened() as (storage, owner):
                for kept in storage.get_all_studies():
                    if kept.study_name.startswith(f"{self._name}/"):
                        self._study(kept.study_name, storage, owner)
        except EchoSweepError as error:
            raise UsageError(str(error)) from None

    def write(self, stage: str, space: Space, rows: Sequence[SearchRow]) -> None:
        """Make the study NAME/STAGE hold exactly one trial per signature in `rows`.

        Optuna changes no finished trial, so where anything differs all of them are written again.

        Args:
            stage: Name of the stage.
            space: What it searches.
            rows: As in its record, each with signature, changes, budget, state and score.
        """
        import_optuna()
        import optuna

        wanted = list({row["signature"]: _frozen(space, row) for row in rows}.values())
        with self._opened() as (storage, owner):
            study = self._study(f"{self._name}/{stage}", storage, owner)
            kept = study.get_trials()
            if [_content(trial) for trial in kept] == [_content(trial) for trial in wanted]:
                return
            if kept:
                optuna.delete_study(study_name=study.study_name, storage=storage)
                study = self._study(study.study_name, storage, owner)
            study.add_trials(wanted)

    def _study(
        self, name: str, storage: "optuna.storages.BaseStorage", owner: str
    ) -> "optuna.Study":
        """Return the Optuna study of that name, made if need be.

        Raises UsageError for another folder's: it would be overwritten.
        """
        import optuna

        study = optuna.create_study(study_name=name, storage=storage, load_if_exists=True)
        if "owner" not in study.user_attrs and not study.get_trials():
            study.set_user_attr("owner", owner)
        if study.user_attrs.get("owner") != owner:
            raise UsageError(
                f"{self._where()} has a study {name!r} that another study folder wrote; "
                "give this study another name, or another database"
            )
        return study

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple["optuna.storages.BaseStorage", str]]:
        """Yield the storage, held for this process alone, and the folder's name in it."""
        import_optuna()
        with self._explained(), self._held() as owner:
            if self._url is None:
                yield _journal(self._folder / "ledger.journal"), owner
                return
            storage = _database(_parsed(self._url))
            try:
                yield storage, owner
            finally:
                storage.remove_session()
                storage.engine.dispose()

    @contextlib.contextmanager
    def _held(self) -> Iterator[str]:
        """Wait for STUDY/ledger.lock, which a process gives back even by dying; yield its text.

        The text, drawn once, is what tells this folder's studies in a database from others'.
        """
        path = self._folder / "ledger.lock"
        runs.check_writable(path)
        with path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            if not (owner := file.read()):
                owner = secrets.token_hex(8)
                file.write(owner)
                file.flush()
            yield owner

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what Optuna, SQLAlchemy and a driver say as one line without a password."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except EchoSweepError:
            raise
        except (OptunaError, SQLAlchemyError, OSError, *_NOT_UNDERSTOOD) as error:
            first = (str(getattr(error, "orig", None) or error).splitlines() or [""])[0]
            reason = f"{self._without_secrets(first)} ({type(error).__name__})"
            fix = (
                "if it is damaged, remove it: the study writes it again"
                if self._url is None
                else "check the server, the user and the rights"
            )
            raise EchoSweepError(f"cannot use {self._where()}: {reason}; {fix}") from None

    def _where(self) -> str:
        """Return how messages name the storage."""
        if self._url is None:
            return str(self._folder / "ledger.journal")
        return f"ledger {_parsed(self._url).set(query={}).render_as_string(hide_password=True)}"

    def _without_secrets(self, text: str) -> str:
        """Return the text without what a URL may hold in secret."""
        if self._url is not None:
            url = _parsed(self._url)
            for secret in (url.password, url.query.get("password")):
                text = text.replace(str(secret), "***") if secret else text
        return text


def _parsed(url: str) -> "sqlalchemy.URL":
    """Return the URL with a driver that is installed; raise UsageError, which keeps its password.

    SQLAlchemy's own choice of a driver differs between its versions.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UsageError(f"the ledger's URL cannot be read; write {_URLS}") from None
    kind, _, driver = parsed.drivername.partition("+")
    if kind not in (*_DRIVERS, "sqlite"):
        raise UsageError(f"a ledger cannot be in {kind}://; write {_URLS}")
    if driver or kind == "sqlite":
        return parsed
    modules, package = _DRIVERS[kind]
    found = next((module for module in modules if importlib.util.find_spec(module)), None)
    if found is None:
        raise UsageError(f"no driver for {kind}:// is installed; pip install {package}")
    return parsed.set(drivername=f"{kind}+{found.lower()}")


def _database(url: "sqlalchemy.URL") -> "optuna.storages.RDBStorage":
    """Return the storage in a database, its tables made if need be."""
    import optuna

    wait = {} if url.get_backend_name() == "sqlite" else {"connect_timeout": _SECONDS_TO_CONNECT}
    try:
        return optuna.storages.RDBStorage(
            url.render_as_string(hide_password=False), engine_kwargs={"connect_args": wait}
        )
    except ImportError:
        raise UsageError(
            f"the driver of {url.drivername}:// is not installed; "
            "leave it out to use one that is, or install it"
        ) from None


def _journal(path: Path) -> "optuna.storages.JournalStorage":
    """Return the storage in a file, without a last line that a crash cut short."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if path.exists() and not (text := path.read_bytes()).endswith(b"\n"):
        with path.open("rb+") as file:
            file.truncate(text.rfind(b"\n") + 1)
    lock: Any = _NoLock()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


class _NoLock:
    """The journal's lock: none, for ledger.lock is held. Optuna's own outlive who held them."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _frozen(space: Space, row: SearchRow) -> "optuna.trial.FrozenTrial":
    """Return a row as Optuna's trial. A complete one without a finite score failed."""
    from optuna.trial import TrialState, create_trial

    state, score = TrialState[row["state"].upper().replace("FAILED", "FAIL")], row["score"]
    if state == TrialState.COMPLETE and not is_finite(score):
        state = TrialState.FAIL
    return create_trial(
        state=state,
        value=score if state == TrialState.COMPLETE else None,
        params={path: param(row["changes"][path]) for path in space},
        distributions=distributions(space),
        user_attrs={
            "signature": row["signature"],
            "budget": row["budget"],
            "record": json.loads(json.dumps(row)),  # as it is read back
        },
    )


def _content(trial: "optuna.trial.FrozenTrial") -> tuple[Any, ...]:
    return trial.state, trial.values, trial.params, trial.distributions, trial.user_attrs
