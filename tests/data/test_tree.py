"""Listing a folder: everything once, in the order of names, through links, without circles."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep.config import PrepareConfig
from echosweep.data.kinds import find
from echosweep.data.split_words import folder_splits, split_of
from echosweep.data.tree import scan
from echosweep.errors import UsageError


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_files_are_sorted_and_hidden_ones_counted(tmp_path: Path) -> None:
    touch(tmp_path / "b.avi", tmp_path / "a" / "c.AVI", tmp_path / ".git" / "x", tmp_path / "._a")
    tree = scan(tmp_path)
    assert [tree.name(file) for file in tree.files] == ["a/c.AVI", "b.avi"]
    assert tree.hidden == 2
    assert [tree.name(file) for file in tree.ending((".avi",))] == ["a/c.AVI", "b.avi"]
    assert tree.find("B.AVI") == tmp_path / "b.avi"
    assert tree.find("c.AVI") is None


def test_linked_folders_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "p0" / "x.avi", tmp_path / "in" / "own" / "y.avi")
    root = tmp_path / "in"
    (root / "p0").symlink_to(tmp_path / "elsewhere" / "p0")
    (root / "again").symlink_to(root / "own")
    (root / "own" / "up").symlink_to(root)
    (tmp_path / "elsewhere" / "p0" / "back").symlink_to(tmp_path / "elsewhere")
    tree = scan(root)
    # "elsewhere" is reached through p0/back: its own p0 has been read by then.
    assert [tree.name(file) for file in tree.files] == ["own/y.avi", "p0/x.avi"]
    assert tree.linked == 2
    assert tree.repeated == 2


def test_what_is_no_file_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "gone.avi").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.avi")
    tree = scan(tmp_path)
    assert tree.files == ()
    assert {Path(name).name: why.split(",")[0] for name, why in tree.odd.items()} == {
        "gone.avi": "link to a file that is not there",
        "pipe.avi": "pipe",
    }


def test_a_link_that_leads_nowhere_costs_nothing_else(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{number}.avi" for number in range(4)))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "circle").symlink_to(tmp_path / "circle2")
    (tmp_path / "circle2").symlink_to(tmp_path / "circle")
    tree = scan(tmp_path)
    assert len(tree.files) == 4
    assert {Path(name).name for name in tree.odd} == {"loop", "circle", "circle2"}


def test_what_echosweep_made_is_no_source(tmp_path: Path) -> None:
    touch(tmp_path / "a.avi", tmp_path / "st" / "manifest.json", tmp_path / "st" / "images.npy")
    touch(*(tmp_path / "s2.partial" / n for n in ("task.json", "journal.jsonl", "content/a.png")))
    touch(tmp_path / "look" / ".echosweep", tmp_path / "look" / "01.png")
    tree = scan(tmp_path)
    assert [tree.name(file) for file in tree.files] == ["a.avi"]
    assert tree.own == 3
    with pytest.raises(UsageError, match="made by EchoSweep"):
        find(tmp_path / "st", PrepareConfig())


def test_a_pipe_is_no_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.avi")
    with pytest.raises(UsageError, match="pipe"):
        find(tmp_path / "a.avi", PrepareConfig())


def test_one_file_is_a_tree(tmp_path: Path) -> None:
    touch(tmp_path / "a.avi")
    tree = scan(tmp_path / "a.avi")
    assert [tree.name(file) for file in tree.files] == ["a.avi"]


def test_words_for_splits() -> None:
    assert [split_of(word) for word in ("TRAIN", " valid ", "Validation", "testing", "0", "")] == [
        *("train", "val", "val", "test", None, None)
    ]


def test_folders_of_splits_are_known_by_their_company() -> None:
    found = folder_splits(["data/train/a/1.png", "data/valid/a/2.png", "data/more/3.png"])
    assert found == {
        "data/train/a/1.png": ("train", "data/a/1.png"),
        "data/valid/a/2.png": ("val", "data/a/2.png"),
    }
    assert folder_splits(["test/a.avi", "test/b.avi"]) == {
        "test/a.avi": ("test", "a.avi"),
        "test/b.avi": ("test", "b.avi"),
    }
    # A lone "test" beside other folders may be a stress test.
    assert folder_splits(["test/a.avi", "rest/b.avi"]) == {}
    assert folder_splits(["train.avi", "test.avi"]) == {}


@given(st.lists(st.sampled_from(["train", "test", "x", "y"]), min_size=1, max_size=4), st.data())
def test_a_split_folder_is_all_that_is_taken_from_a_name(
    folders: list[str], data: st.DataObject
) -> None:
    names = ["/".join((*data.draw(st.permutations(folders)), f"{i}.avi")) for i in range(4)]
    for name, (split, rest) in folder_splits(names).items():
        parts, left = name.split("/"), rest.split("/")
        assert len(parts) == len(left) + 1
        assert sorted((*left, split)) == sorted(parts)
