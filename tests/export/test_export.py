"""The export of a study's winner: what lies there works, and what must not be there is not."""

import csv
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from echosweep import load_model, prepare, sample
from echosweep.cli.study import export as command
from echosweep.commands.export import export
from echosweep.config import SampleConfig, TrainConfig
from echosweep.data.store import FrameStore
from echosweep.errors import EchoSweepError
from echosweep.export import FORMATS

ALL = tuple(FORMATS)
FINAL = "stages/02-final.json"


@pytest.fixture(scope="module")
def given(plain_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The winner in every format. Read only."""
    return export(plain_study, tmp_path_factory.mktemp("given") / "out", formats=ALL)


@pytest.fixture(scope="module")
def images(given: Path) -> Any:
    return FrameStore.open(given / "images").images


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_an_empty_folder_is_taken_and_every_file_is_of_the_umask(
    plain_study: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    before = os.umask(0o027)
    try:
        out = export(plain_study, tmp_path / "out", formats=ALL, num=2)
    finally:
        os.umask(before)
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*.*")}
    assert {path for path, mode in modes.items() if mode != 0o640} == set()


def test_only_what_belongs_there_is_there(given: Path) -> None:
    names = {path.name for path in given.iterdir()}
    assert names == {
        *("README.md", "sample.yaml", "export.json", "model", "images", "png", "avi", "dicom"),
    }
    assert {path.name for path in (given / "model").iterdir()} == {
        *("model.safetensors", "model.json", "config.yaml", "README.md", "examples.png"),
    }
    assert not list(given.parent.glob("*.partial"))


def test_no_flagged_image_is_given_away(given: Path, plain_study: Path, images: Any) -> None:
    drawn = FrameStore.open(plain_study / "images" / "all").images
    stolen = {drawn[i].tobytes() for i in (3, 7, 20)}
    assert not stolen & {image.tobytes() for image in images}
    kept = FrameStore.open(plain_study / "images" / "kept")
    assert FrameStore.open(given / "images").content == kept.content


def test_no_text_says_where_it_was_made(given: Path, plain_study: Path, small_store: Path) -> None:
    for name, content in tree(given).items():
        for path in (plain_study, small_store, Path.home()):
            assert str(path).encode() not in content, name


def test_the_weights_draw_the_same_images(given: Path, images: Any, tmp_path: Path) -> None:
    assert load_model(given / "model").image_shape == (1, 16, 16)
    config = SampleConfig.read(given / "sample.yaml")
    again = sample(given / "model", tmp_path / "again", num=3, seed=1000, config=config)
    assert again
    np.testing.assert_array_equal(again.images, images[:3])
    assert TrainConfig.read(given / "model" / "config.yaml").network == "ddpmpp-tiny"


def test_a_guided_winner_comes_with_its_guide(
    guided_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From within the folder sample.yaml is all that is needed; from elsewhere --guidance too."""
    out = export(guided_study, tmp_path / "out")
    monkeypatch.chdir(out)
    again = sample("model", "again", num=3, seed=1000, config=SampleConfig.read("sample.yaml"))
    assert again
    given = FrameStore.open("images")
    np.testing.assert_array_equal(again.images, given.images[:3])
    assert again.manifest["source"]["sample"] == given.manifest["source"]["sample"]
    config = SampleConfig.read(out / "sample.yaml", guidance=out / "guide")
    monkeypatch.chdir(tmp_path)
    elsewhere = sample(out / "model", "elsewhere", num=3, seed=1000, config=config)
    assert elsewhere
    assert elsewhere.content == again.content
    plain = sample(out / "model", "plain", num=3, seed=1000, steps=4)
    assert plain
    assert plain.content != again.content


def test_echonets_own_loader_opens_what_is_in_its_layout(
    given: Path, as_echonet_reads: Callable[[Path, str], dict[str, tuple[int, int]]]
) -> None:
    """It keeps no video, as nobody traced any; the card says so."""
    assert as_echonet_reads(given / "avi", "all") == {}
    assert "echonet" in (given / "avi" / "README.md").read_text()


@pytest.mark.parametrize("folder", ["png", "avi", "dicom"])
def test_prepare_reads_the_same_pixels(
    given: Path, images: Any, tmp_path: Path, folder: str
) -> None:
    store = prepare(given / folder, tmp_path / "store", size=(16, 16), every=1, workers=1)
    shown = [image.tobytes() for image in store.images]
    if folder == "dicom":  # names there are salted hashes, in an order of their own
        assert sorted(shown) == sorted(image.tobytes() for image in images)
    else:
        assert shown == [image.tobytes() for image in images]


def test_tables_name_seeds_and_leave_empty_what_is_not_known(given: Path) -> None:
    with (given / "png" / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    seeds = [seed for seed in range(1000, 1024) if seed - 1000 not in (3, 7, 20)]
    assert [int(row["seed"]) for row in rows] == seeds
    with (given / "avi" / "FileList.csv").open() as file:
        first = next(csv.DictReader(file))
    assert first == {
        **{"FileName": "synthetic-000000", "EF": "", "ESV": "", "EDV": "", "FrameHeight": "16"},
        **{"FrameWidth": "16", "FPS": "1", "NumberOfFrames": "1", "Split": "TRAIN"},
    }


def test_fewer_images_are_the_first_ones(plain_study: Path, images: Any, tmp_path: Path) -> None:
    out = export(plain_study, tmp_path / "out", formats=("png", "store"), num=5)
    np.testing.assert_array_equal(FrameStore.open(out / "images").images, images[:5])
    assert len(list((out / "png").glob("*.png"))) == 5
    assert "# 5 synthetic images" in (out / "png" / "README.md").read_text()


KILLED = """
import contextlib, os, sys
from echosweep.cli.study import export as command
from echosweep.commands.export import export

@contextlib.contextmanager
def show(title, unit):
    def progress(done, total, units=None):
        if title == "dicom" and done == 5:
            os.kill(os.getpid(), 9)
    yield progress

export(*sys.argv[1:], formats=("png", "dicom"), show=show)
"""


def test_what_a_kill_cut_is_made_whole(plain_study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-c", KILLED, str(plain_study), str(out)]
    assert subprocess.run(words, check=False).returncode == -9
    assert not out.exists()
    made = (tmp_path / "out.partial" / "content" / "png" / "000000.png").stat().st_mtime_ns
    with pytest.raises(EchoSweepError, match="begun with other settings"):
        export(plain_study, out)
    export(plain_study, out, formats=("png", "dicom"))
    assert (out / "png" / "000000.png").stat().st_mtime_ns == made
    whole = export(plain_study, tmp_path / "whole", formats=("png", "dicom"))
    assert tree(out) == tree(whole)
    assert not (tmp_path / "out.partial").exists()
    before = tree(out)
    assert export(plain_study, out, formats=("png", "dicom")) == out  # it is finished
    assert tree(out) == before
    with pytest.raises(EchoSweepError, match=r"exists already, made with .* \(formats\)"):
        export(plain_study, out)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": ("pgn",)}, r"formats 'pgn' is not known; did you mean 'png'"),
        ({"formats": ()}, "formats = .*: must be a list of at least 1"),
        ({"num": 0}, "num = 0: must be above 0"),
        ({"num": 22}, "--num 22: 1 to 21 images"),
    ],
)
def test_wrong_wishes_are_refused(
    plain_study: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(EchoSweepError, match=message):
        export(plain_study, tmp_path / "out", **settings)
    assert not list(tmp_path.iterdir())


def _winner(**values: Any) -> Any:
    return lambda record: record["result"]["winner"].update(values)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_winner(copies=None), "copies of training images were not sought. Mend"),
        (
            _winner(copies={"error": "too few real images"}, shareable=None),
            r"not sought \(too few real images\)",
        ),
        (_winner(shareable="images/all"), r"still holds .*: 3 were flagged, 0 removed"),
        (lambda r: r["result"]["winner"]["copies"].update(flagged=4), "4 were flagged, 3 removed"),
        (
            lambda r: r["result"]["winner"]["copies"]["images"].append({"position": 0}),
            "still holds images that were flagged",
        ),
        (
            lambda r: r["result"]["winner"]["copies"]["provenance"].update(
                generated={"content": "others"}
            ),
            "holds other images than those that were searched",
        ),
        (lambda r: r.update(state="failed"), "not finished: no stage of kind final is done"),
        (lambda r: r.update(state="running"), "not finished: stage 'final' is not done"),
        (lambda r: r.update(stage="search"), "a recipe without a stage `final` needs one"),
    ],
)
def test_a_winner_that_cannot_be_given_away_is_refused(
    study: Path, tmp_path: Path, edited: Any, spoil: Any, message: str
) -> None:
    with edited(study / FINAL) as record:
        spoil(record)
    with pytest.raises(EchoSweepError, match=message):
        export(study, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_what_is_no_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EchoSweepError, match=r"is not a study: it has no study\.json"):
        export(tmp_path, tmp_path / "out")


def test_damaged_weights_are_found(study: Path, tmp_path: Path) -> None:
    weights = study / "weights" / "best.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(EchoSweepError, match="does not match its SHA-256"):
        export(study, tmp_path / "out")
    shutil.rmtree(study / "weights")
    with pytest.raises(EchoSweepError, match="has no weights with SHA-256"):
        export(study, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_a_full_disk_is_said_before_anything_is_written(
    plain_study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(EchoSweepError, match=r"export needs .* of disk space in .* has 1 kB free"):
        export(plain_study, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_settings_of_any_sampler_are_read_again(given: Path) -> None:
    """Defaults are left out: a sampler refuses settings of another."""
    assert yaml.safe_load((given / "sample.yaml").read_text()) == {"sampler": "heun", "steps": 4}


def test_the_command_says_where_to_begin(
    plain_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command(plain_study, out=out, options={"formats": "png,store", "num": 2})
    said = capsys.readouterr()
    assert said.out == f"{out}: read {out / 'README.md'} before you share it\n"
    assert "png: 2/2" in said.err
