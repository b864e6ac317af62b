"""Folders in the making: only what we made is entered or removed, and every moment goes on."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echosweep import folders, locks, runs
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import NAMES, StoreWriter, begin_partial, find_finished
from echosweep.errors import EchoSweepError, UsageError

SMALL, TASK = Preparation((8, 8)), {"of": "test", "seed": 1}
IMAGES = np.arange(5 * 64, dtype=np.uint8).reshape(5, 8, 8)


def snapshot(folder: Path) -> dict[str, object]:
    """Everything below a folder: bytes of files, aims of links, and that folders are there."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        aim = path.readlink() if path.is_symlink() else None
        found[str(path.relative_to(folder))] = aim or (path.is_file() and path.read_bytes())
    return found


def begin(out: Path, task: dict[str, object] = TASK) -> StoreWriter:
    """Write two videos, and stop as a kill does: nothing is tidied, the lock file stays."""
    with StoreWriter(out, SMALL, task) as writer:
        for number in range(2):
            writer.append(Video(f"v{number}"), IMAGES + number, range(5))
    (folders.partial_path(out) / locks.NAME).touch()
    return writer


def complete(out: Path) -> FrameStore:
    with StoreWriter(out, SMALL, TASK) as writer:
        for number in range(len(writer.journal), 3):
            writer.append(Video(f"v{number}"), IMAGES + number, range(5))
        return writer.finish()


def users_folder(partial: Path, precious: Path) -> None:
    partial.mkdir()
    (partial / "images.npy").write_text("mine")
    (partial / "task.json").write_text('{"of": "test", "seed": 1}')


def only_a_lock_of_theirs(partial: Path, precious: Path) -> None:
    partial.mkdir()
    (partial / locks.NAME).write_text("mine")


def link(partial: Path, precious: Path) -> None:
    begin(partial.with_name("out"))
    partial.rename(precious.parent / "elsewhere")
    partial.symlink_to(precious.parent / "elsewhere")


def file(partial: Path, precious: Path) -> None:
    partial.write_text("mine")


def linked(name: str) -> Callable[[Path, Path], None]:
    def attack(partial: Path, precious: Path) -> None:
        begin(partial.with_name("out"))
        (partial / name).unlink(missing_ok=True)
        (partial / name).symlink_to(precious)

    return attack


def hard_link(partial: Path, precious: Path) -> None:
    begin(partial.with_name("out"))
    (partial / "content" / "images.npy").unlink()
    os.link(precious, partial / "content" / "images.npy")


def pipe(partial: Path, precious: Path) -> None:
    begin(partial.with_name("out"))
    (partial / "journal.jsonl").unlink()
    os.mkfifo(partial / "journal.jsonl")


def linked_content(partial: Path, precious: Path) -> None:
    begin(partial.with_name("out"))
    shutil.rmtree(partial / "content")
    (partial / "content").symlink_to(precious.parent, target_is_directory=True)


def unknown(partial: Path, precious: Path) -> None:
    begin(partial.with_name("out"))
    (partial / "notes.txt").write_text("mine")


def unknown_folder(partial: Path, precious: Path) -> None:
    begin(partial.with_name("out"))
    (partial / "content" / "mine").mkdir()


def changed_task(partial: Path, precious: Path) -> None:
    begin(partial.with_name("out"))
    text = (partial / folders.TASK).read_text()
    (partial / folders.TASK).write_text(text.replace('"seed": 1', '"seed": 2'))


ATTACKS = [
    *(users_folder, only_a_lock_of_theirs, link, file, hard_link, pipe),
    *(linked(".lock"), linked("journal.jsonl"), linked("content/images.npy"), linked("task.json")),
    *(linked(".journal.jsonl.0a1b2c3d.1.tmp"), linked_content),
    *(unknown, unknown_folder, changed_task),
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_ours_is_refused_and_not_touched(
    tmp_path: Path, attack: Callable[[Path, Path], None]
) -> None:
    precious = tmp_path / "precious" / "file"
    precious.parent.mkdir()
    precious.write_text("precious")
    attack(tmp_path / "out.partial", precious)
    if attack is pipe:  # a read would wait for ever
        before: object = sorted(os.listdir(tmp_path / "out.partial"))  # noqa: PTH208
    else:
        before = snapshot(tmp_path)
    with pytest.raises(EchoSweepError, match=r"out\.partial") as caught:
        complete(tmp_path / "out")
    assert "\n" not in str(caught.value)
    after = sorted(os.listdir(tmp_path / "out.partial")) if attack is pipe else snapshot(tmp_path)  # noqa: PTH208
    assert after == before


@pytest.mark.parametrize("left", [(), (".lock",), (".lock", ".task.json.0a1b2c3d.0.tmp")])
def test_what_a_kill_leaves_before_the_task_is_written_is_taken(
    tmp_path: Path, left: tuple[str, ...]
) -> None:
    (tmp_path / "out.partial").mkdir()
    for name in left:
        (tmp_path / "out.partial" / name).touch()
    assert len(complete(tmp_path / "out")) == 15
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_temporary_files_of_the_dead_go_when_it_goes_on(tmp_path: Path) -> None:
    begin(tmp_path / "out")
    partial = tmp_path / "out.partial"
    for name in (".journal.jsonl.0a1b2c3d.1.tmp", "content/.manifest.json.7.tmp"):
        (partial / name).write_text("half")
    complete(tmp_path / "out")
    assert sorted(snapshot(tmp_path)) == [
        *("out", "out/images.npy", "out/index.npy", "out/manifest.json", "out/videos.json"),
    ]


@pytest.mark.parametrize(
    "left", [("task.json",), ("task.json", ".lock", "journal.jsonl"), (".lock",)]
)
def test_a_finished_store_is_returned_and_what_making_it_left_goes(
    tmp_path: Path, left: tuple[str, ...]
) -> None:
    """As a kill leaves it after the rename, at three moments."""
    begin(tmp_path / "out")
    kept = {name: (tmp_path / "out.partial" / name).read_bytes() for name in left}
    made = complete(tmp_path / "out")
    (tmp_path / "out.partial").mkdir()
    for name, content in kept.items():
        (tmp_path / "out.partial" / name).write_bytes(content)
    found = find_finished(tmp_path / "out", TASK)
    assert found is not None
    assert found.content == made.content
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_beside_a_finished_store_nothing_of_others_goes(tmp_path: Path) -> None:
    complete(tmp_path / "out")
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "journal.jsonl").write_text("mine")
    before = snapshot(tmp_path)
    assert find_finished(tmp_path / "out", TASK)
    assert snapshot(tmp_path) == before


def test_a_finished_store_of_another_task_says_what_differs(tmp_path: Path) -> None:
    made = complete(tmp_path / "out")
    with pytest.raises(UsageError, match=r"exists already, made with .*\(seed\)"):
        find_finished(tmp_path / "out", TASK | {"seed": 2})
    data = bytearray((made.path / "images.npy").read_bytes())
    data[-1] ^= 1
    (made.path / "images.npy").write_bytes(data)
    with pytest.raises(EchoSweepError, match="SHA-256"):
        find_finished(tmp_path / "out", TASK)


def test_an_error_leaves_no_new_folder_and_keeps_an_old_one(tmp_path: Path) -> None:
    with pytest.raises(EchoSweepError, match="no"), begin_partial(tmp_path / "out", TASK):
        raise EchoSweepError("no")
    assert not list(tmp_path.iterdir())
    begin(tmp_path / "out")
    with pytest.raises(EchoSweepError, match="no"), begin_partial(tmp_path / "out", TASK):
        raise EchoSweepError("no")
    assert (tmp_path / "out.partial" / "journal.jsonl").exists()


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    with folders.begun(tmp_path / "out", TASK, NAMES) as partial:
        (partial / "note").write_text("mine")
        shutil.rmtree(partial / "content")  # as if published
    assert (partial / "note").read_text() == "mine"
    assert (partial / folders.TASK).exists()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flip first": lambda path: flip(path, 130),
    "flip last": lambda path: flip(path, -1),
    "cut": lambda path: os.truncate(path, 128 + 64 * 7),
    "empty": lambda path: os.truncate(path, 0),
    "zero": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": lambda path: path.unlink(),
    "longer": lambda path: path.open("ab").write(b"more"),
    "header": lambda path: flip(path, 3),
}


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["content/images.npy", "journal.jsonl"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_of_a_begun_store_is_made_again(tmp_path: Path, name: str, damage: str) -> None:
    whole = complete(tmp_path / "whole")
    begin(tmp_path / "out")
    DAMAGE[damage](tmp_path / "out.partial" / name)
    made = complete(tmp_path / "out")
    assert made.identity == whole.identity


@pytest.mark.parametrize(
    ("order", "kept"), [((1,), ""), ((1, 0), ""), ((0, 0), "a"), ((0, 2), "a"), ((0, 1), "ab")]
)
def test_rows_of_the_journal_count_in_their_order_alone(
    tmp_path: Path, order: tuple[int, ...], kept: str
) -> None:
    with StoreWriter(tmp_path / "out", SMALL, TASK) as writer:
        for name in "abc":
            writer.exclude(name, "broken")
    journal = tmp_path / "out.partial" / "journal.jsonl"
    rows = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(rows[number] for number in order))
    with StoreWriter(tmp_path / "out", SMALL, TASK) as writer:
        assert "".join(row["name"] for row in writer.journal) == kept


def test_a_lock_is_no_link_and_is_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / locks.NAME).symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError, match="cannot be written"), locks.locked(tmp_path):
        pass
    assert not (tmp_path / "victim").exists()
    (tmp_path / locks.NAME).unlink()
    with locks.locked(tmp_path):
        assert (tmp_path / locks.NAME).exists()
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_was_replaced_is_left_to_its_holder(tmp_path: Path) -> None:
    with locks.locked(tmp_path):
        (tmp_path / locks.NAME).unlink()
        with locks.locked(tmp_path):  # another file: of another holder
            os.rename(tmp_path / locks.NAME, tmp_path / "kept")  # noqa: PTH104
            (tmp_path / locks.NAME).touch()
    assert (tmp_path / locks.NAME).exists()


def test_only_a_picture_is_overwritten_by_a_picture(tmp_path: Path) -> None:
    path, victim = tmp_path / "a.png", tmp_path / "victim"
    victim.write_bytes(runs.PNG)
    runs.check_writable(path, runs.PNG)
    path.write_bytes(runs.PNG + b"...")
    runs.check_writable(path, runs.PNG)
    for content in (b"", b"%PDF-1.7", b"<!doctype html>"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"a\.png is there already, and is no PNG"):
            runs.check_writable(path, runs.PNG)
    path.unlink()
    for make in (lambda: path.symlink_to(victim), lambda: os.mkfifo(path)):
        make()
        with pytest.raises(UsageError, match="is no PNG"):
            runs.check_writable(path, runs.PNG)
        path.unlink()
    with pytest.raises(UsageError, match="is no plain file"):
        runs.check_writable(Path("/dev/null"))
    path.write_bytes(b"<!DOCTYPE html><html>")
    runs.check_writable(path, runs.PAGE)
