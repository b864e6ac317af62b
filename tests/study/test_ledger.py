import getpass
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from echosweep.errors import EchoSweepError, UsageError
from echosweep.study.ledger import Ledger
from echosweep.study.recipe import Range
from echosweep.study.strategies import Space

SPACE: Space = {
    "train.network": ("adm-tiny", "ddpmpp-tiny"),
    "train.channel_mult": ((1, 2), None),
    "train.lr": Range(low=1e-5, high=1e-2, log=True),
    "sample.steps": Range(low=2, high=40, integer=True),
}
# A process of its own that writes, from the JSON of its argument, rows after rows.
WRITER = """
import json, sys
from pathlib import Path
from echosweep.study.ledger import Ledger
url, folder, tables = json.loads(sys.argv[1])
for rows in tables:
    Ledger(url, Path(folder), "demo").write("networks", {"d": tuple(range(9))}, rows)
"""
# The same, killed before its first operation on the storage, then another, every `step`; each time
# the next write must set it right. Prints how many operations there are, to the next step.
KILLED = """
import json, os, signal, sys
from pathlib import Path
import optuna
from optuna.storages import JournalStorage, RDBStorage
from echosweep.study.ledger import Ledger

url, folder, tables, step = json.loads(sys.argv[1])
ledger, space = Ledger(url, Path(folder), "demo"), {"d": tuple(range(9))}
left = float("inf")

def mortal(operation):
    def called(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return operation(*args, **kwargs)
    return called

for name in ("create_new_study", "delete_study", "set_study_user_attr", "create_new_trial",
             "set_trial_user_attr", "set_trial_state_values"):
    for storage in (JournalStorage, RDBStorage):
        setattr(storage, name, mortal(getattr(storage, name)))

def records():
    with ledger._opened() as (storage, _):
        study = optuna.load_study(study_name="demo/networks", storage=storage)
        return [trial.user_attrs["record"] for trial in study.get_trials()]

lives = 0
while True:
    child = os.fork()
    if not child:
        left = lives
        for rows in tables:
            ledger.write("networks", space, rows)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    ledger.write("networks", space, tables[-1])
    assert records() == tables[-1], records()
    lives += step
print(lives)
"""


def row(signature: str, state: str = "waiting", score: float | None = None, **more: Any) -> Any:
    changes = {
        "train.network": "adm-tiny",
        "train.channel_mult": (1, 2),
        "train.lr": 3e-4,
        "sample.steps": 18,
    }
    values = {"label": "x", "changes": changes, "budget": 1 / 3, "round": 0, "error": None}
    return {"signature": signature, **values, "state": state, "score": score, **more}


def run(script: str, *arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL that asks for a password, on a socket of its own."""
    found = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    initdb = next((Path(path).resolve() for path in found if path), None)
    if initdb is None:
        pytest.skip("no PostgreSQL here: install its server to test the ledger in one")
    user = getpass.getuser() if os.getuid() else "nobody"  # it refuses to be root
    home = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path is short
    secret = home / "password"
    secret.write_text("s3cret@word")
    for path in (home, secret):
        os.chown(path, pwd.getpwnam(user).pw_uid, -1)
    shared: dict[str, Any] = {"cwd": home, "stdout": subprocess.DEVNULL}
    shared |= {"user": user} if os.getuid() == 0 else {}
    make = ["-A", "scram-sha-256", "-U", "echo", f"--pwfile={secret}", "-N"]
    subprocess.run([initdb, "-D", home / "data", *make], check=True, **shared)
    options = ["-k", home, "-c", "listen_addresses=", "-F"]
    server = subprocess.Popen(
        [initdb.with_name("postgres"), "-D", home / "data", *options],
        stderr=subprocess.DEVNULL,
        **shared,
    )
    try:
        while not (home / ".s.PGSQL.5432.lock").exists() or not ready(initdb, home):
            assert server.poll() is None
            time.sleep(0.05)
        yield f"postgresql://echo:s3cret%40word@/postgres?host={home}"
    finally:
        server.send_signal(signal.SIGINT)  # not waiting for who is connected
        server.wait()
        shutil.rmtree(home)


def ready(initdb: Path, home: Path) -> bool:
    asked = [initdb.with_name("pg_isready"), "-q", "-h", home]
    return subprocess.run(asked, check=False).returncode == 0


@pytest.fixture(params=["journal", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """The URL of each kind of storage, empty."""
    if request.param == "postgres":
        server: str = request.getfixturevalue("postgres")
        for name in optuna.get_all_study_names(driven(server)):
            optuna.delete_study(study_name=name, storage=driven(server))
        return server
    return f"sqlite:///{tmp_path}/ledger.db" if request.param == "sqlite" else None


def driven(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg2:")


def seen(url: str | None, folder: Path, name: str = "demo/networks") -> optuna.Study:
    """Return the Optuna study as a dashboard opens it."""
    storage: Any = driven(url or "")
    if url is None:
        file = optuna.storages.journal.JournalFileBackend(str(folder / "ledger.journal"))
        storage = optuna.storages.JournalStorage(file)
    return optuna.load_study(study_name=name, storage=storage)


def records(url: str | None, folder: Path, name: str = "demo/networks") -> list[dict[str, Any]]:
    """Return the rows that a study in the storage was written from."""
    return [trial.user_attrs["record"] for trial in seen(url, folder, name).trials]


@pytest.mark.parametrize("url", ["journal", "sqlite", "postgres"], indirect=True)
def test_optuna_sees_the_search(url: str | None, tmp_path: Path) -> None:
    ledger = Ledger(url, tmp_path, "demo")
    ledger.check()
    rows = [
        row("a", "complete", 12.5),
        row("b", "failed", error="out of memory"),
        row("c", "running"),
        row("d"),
        row("e", "complete", float("inf")),
    ]
    ledger.write("networks", SPACE, rows)
    study = seen(url, tmp_path)
    assert [t.state.name for t in study.trials] == [
        "COMPLETE",
        "FAIL",
        "RUNNING",
        "WAITING",
        "FAIL",
    ]
    assert study.direction.name == "MINIMIZE"
    assert study.best_value == 12.5
    assert study.best_params == {
        "train.network": "adm-tiny",
        "train.channel_mult": "[1,2]",
        "train.lr": 3e-4,
        "sample.steps": 18,
    }
    assert study.trials[0].user_attrs["signature"] == "a"
    assert study.trials[0].user_attrs["budget"] == 1 / 3
    assert records(url, tmp_path) == json.loads(json.dumps(rows))
    ledger.write("sampler", SPACE, [row("z")])
    assert [r["signature"] for r in records(url, tmp_path, "demo/sampler")] == ["z"]
    assert len(records(url, tmp_path)) == 5


def test_a_search_is_followed_and_corrected(url: str | None, tmp_path: Path) -> None:
    ledger = Ledger(url, tmp_path, "demo")
    for rows in (
        [row("a"), row("b"), row("c")],
        [row("a", "running"), row("b", "complete", 2.0), row("c", "running")],
        [row("a", "waiting"), row("b", "complete", 2.0), row("c", "failed"), row("d")],
        [row("c", "complete", 1.0), row("b", "complete", 2.0)],
    ):
        ledger.write("networks", SPACE, rows)
        assert records(url, tmp_path) == json.loads(json.dumps(rows))
    assert [t.values for t in seen(url, tmp_path).trials] == [[1.0], [2.0]]
    before = seen(url, tmp_path)._study_id
    ledger.write("networks", SPACE, rows)  # asking twice changes nothing
    assert seen(url, tmp_path)._study_id == before
    fewer: Space = {"train.network": ("adm-tiny", "ncsnpp-tiny")}
    ledger.write("networks", fewer, [row("c", "complete", 1.0)])
    assert seen(url, tmp_path).best_params == {"train.network": "adm-tiny"}


def plain(signature: str, state: str, score: float | None = None) -> Any:
    return row(signature, state, score, changes={"d": int(signature)})


def test_two_processes_that_write_the_same_leave_one_trial_each(
    url: str | None, tmp_path: Path
) -> None:
    def table(done: int) -> Any:
        return [plain(str(i), *(("complete", i) if i < done else ("waiting",))) for i in range(6)]

    tables = [table(0), table(3)]
    for writer in [run(WRITER, url, str(tmp_path), tables) for _ in range(2)]:
        finish(writer)
    assert sorted(r["signature"] for r in records(url, tmp_path)) == list("012345")
    states = {t.user_attrs["signature"]: t.state.name for t in seen(url, tmp_path).trials}
    assert states == {str(i): "COMPLETE" if i < 3 else "WAITING" for i in range(6)}


def test_killed_before_any_operation_the_next_write_is_right(
    url: str | None, tmp_path: Path
) -> None:
    tables = [
        [plain("0", "waiting")],
        [plain("0", "complete", 1.0), plain("1", "running")],
        [plain("0", "failed")],
    ]
    step = 1 if url is None else 8  # a database is slow, and the operations are the same
    assert int(finish(run(KILLED, url, str(tmp_path), tables, step))) > 10


def test_a_journal_cut_anywhere_in_its_last_line_is_mended(tmp_path: Path) -> None:
    ledger, rows = Ledger(None, tmp_path, "demo"), [row("a", "complete", 1.0), row("b")]
    ledger.write("networks", SPACE, rows)
    journal = tmp_path / "ledger.journal"
    whole = journal.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(whole), 20):
        journal.write_bytes(whole[:cut])
        ledger.write("networks", SPACE, rows)
        assert records(None, tmp_path) == json.loads(json.dumps(rows))
    journal.write_bytes(b"?" + whole)
    with pytest.raises(EchoSweepError, match=r"ledger.journal: .*; if it is damaged, remove it"):
        ledger.write("networks", SPACE, rows)


def test_another_folders_study_is_not_overwritten(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    first, second = (Ledger(url, tmp_path / name, "demo") for name in ("one", "two"))
    first.write("networks", SPACE, [row("a")])
    for refused in (second.check, lambda: second.write("networks", SPACE, [row("b")])):
        with pytest.raises(UsageError, match="'demo/networks' that another study folder wrote"):
            refused()
    optuna.create_study(study_name="lab/sampler", storage=url).ask()
    with pytest.raises(UsageError, match="'lab/sampler' that another"):
        Ledger(url, tmp_path, "lab").check()
    assert [r["signature"] for r in records(url, tmp_path)] == ["a"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("user:s3cret@host", "URL cannot be read; write postgresql://"),
        ("postgresql://u:s3cret@host:port/d", "URL cannot be read; write postgresql://"),
        ("oracle://u:s3cret@host/d", "a ledger cannot be in oracle://; write postgresql://"),
        ("postgresql+pg8000://u:s3cret@h/d", r"driver of postgresql\+pg8000:// is not installed"),
        ("postgresql://u:s3cret@127.0.0.1:1/d", "port 1 failed: Connection refused"),
        ("postgresql://u:s3cret@127.0.0.1:1/d?s3cret=1", r"invalid connection option \"\*\*\*\""),
        ("sqlite:////nowhere/at/all.db", "unable to open database file"),
    ],
)
def test_what_cannot_be_reached_is_said_without_the_password(
    url: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        Ledger(url, tmp_path, "demo").check()
    assert "s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(UsageError, match=r"no driver for mysql:// is installed; pip install"):
        Ledger("mysql://u:s3cret@host/d", tmp_path, "demo").check()


def test_a_wrong_password_is_refused(postgres: str, tmp_path: Path) -> None:
    wrong = postgres.replace("s3cret", "wr0ng")
    with pytest.raises(UsageError, match='password authentication failed for user "echo"') as said:
        Ledger(wrong, tmp_path, "demo").check()
    assert "wr0ng" not in str(said.value)


def test_without_optuna_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'echosweep\[study\]'"):
        Ledger(None, tmp_path, "demo").check()


@pytest.mark.parametrize(
    "line",
    ["[]", "3", "null", "{}", '{"op_code": 99}', '{"op_code": 0}', '{"op_code": []}'],
)
def test_a_journal_that_optuna_did_not_write_is_a_refusal(line: str, tmp_path: Path) -> None:
    (tmp_path / "ledger.journal").write_text(line + "\n")
    with pytest.raises(
        UsageError, match=r"ledger\.journal: .*remove it: the study writes it again"
    ):
        Ledger(None, tmp_path, "small").check()
