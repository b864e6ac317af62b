import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from echosweep import runs, sampling
from echosweep.build import build_denoiser, build_sampler, load_model
from echosweep.commands.sample import sample
from echosweep.commands.train import train
from echosweep.config import SampleConfig, TrainConfig
from echosweep.data.store import FrameStore, Preparation
from echosweep.data.writer import begin_partial
from echosweep.distributed import World
from echosweep.errors import EchoSweepError, UsageError
from echosweep.folders import partial_path

ALONE = World(0, 1, torch.device("cpu"))
SEEDS = [3, 1, 4, 15, 9, 2, 6, 5, 35]


@pytest.mark.parametrize("settings", [{"S_churn": 5.0}, {"sampler": "ode"}, {"sampler": "euler"}])
def test_an_image_is_the_same_alone_and_among_others(
    small_run: Path, settings: dict[str, Any]
) -> None:
    denoiser = load_model(small_run)
    sampler = build_sampler(SampleConfig.make({"steps": 4, **settings}), denoiser.framework)
    together = sampling.draw_images(denoiser, SEEDS, sampler)
    for i, seed in enumerate(SEEDS):
        assert np.array_equal(sampling.draw_images(denoiser, [seed], sampler)[0], together[i])


@pytest.mark.parametrize("network", ["adm-tiny", "ncsnpp-tiny"])
def test_batches_of_1_7_and_64_make_the_same_stores(network: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = TrainConfig.make({"network": network, "model_channels": 8, "total_kimg": 1})
    preparation = Preparation((16, 16))
    denoiser = build_denoiser(config, preparation).eval()
    with torch.no_grad():
        for weight in denoiser.parameters():  # an untrained network starts at zero
            weight.add_(0.02 * torch.randn_like(weight))
    sampler = build_sampler(SampleConfig(steps=3), denoiser.framework)

    def draw(seeds: Sequence[int]) -> NDArray[np.uint8]:
        return sampling.draw_images(denoiser, seeds, sampler)

    stores = [
        sampling.write_images(
            tmp_path / str(batch), draw, range(20), preparation, {}, ALONE, batch=batch
        )
        for batch in (1, 7, 64)
    ]
    contents = {store.content for store in stores if store}
    assert len(contents) == 1


def test_an_interrupted_sampling_continues_where_it_stopped(tmp_path: Path) -> None:
    drawn: list[int] = []

    def draw(seeds: Sequence[int]) -> NDArray[np.uint8]:
        if len(drawn) == 4:
            raise KeyboardInterrupt
        drawn.extend(seeds)
        return np.array([np.full((8, 8), seed) for seed in seeds], np.uint8)

    arguments: Any = (range(10, 16), Preparation((8, 8)), {"kind": "test"}, ALONE, 2)
    with pytest.raises(KeyboardInterrupt):
        sampling.write_images(tmp_path / "out", draw, *arguments)
    drawn.append(-1)
    store = sampling.write_images(tmp_path / "out", draw, *arguments)
    assert store is not None
    assert drawn == [10, 11, 12, 13, -1, 14, 15]
    assert store.images[:, 0, 0].tolist() == store.index["frame"].tolist() == [*range(10, 16)]
    assert not partial_path(tmp_path / "out").exists()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("images.npy", "index.npy", "videos.json", "manifest.json")
    }


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flip": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
    "flip first": lambda path: path.write_bytes(b"?" + path.read_bytes()[1:]),
    "zero": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "cut": lambda path: os.truncate(path, 200),
    "empty": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"more"),
}


@pytest.mark.parametrize("name", ["content/images.npy", "checks.u32"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_images_of_a_begun_store_are_drawn_again(
    tmp_path: Path, name: str, damage: str
) -> None:
    def draw(seeds: Sequence[int]) -> NDArray[np.uint8]:
        if 14 in seeds and stop:
            raise KeyboardInterrupt
        return np.array([np.full((8, 8), seed) for seed in seeds], np.uint8)

    arguments: Any = (range(10, 16), Preparation((8, 8)), {"kind": "test"}, ALONE, 2)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        sampling.write_images(tmp_path / "out", draw, *arguments)
    DAMAGE[damage](partial_path(tmp_path / "out") / name)
    stop = False
    store = sampling.write_images(tmp_path / "out", draw, *arguments)
    assert store is not None
    assert (store.images == np.arange(10, 16)[:, None, None]).all()
    assert len(FrameStore.open(tmp_path / "out")) == 6


def test_begun_images_of_other_seeds_are_drawn_again(tmp_path: Path) -> None:
    def draw(seeds: Sequence[int]) -> NDArray[np.uint8]:
        if stop and seeds[0] % 10 == 4:
            raise KeyboardInterrupt
        return np.array([np.full((8, 8), seed) for seed in seeds], np.uint8)

    def write(name: str, seeds: range) -> FrameStore | None:
        task = {"kind": "test", "seeds": [seeds.start, seeds.stop]}
        return sampling.write_images(
            tmp_path / name, draw, seeds, Preparation((8, 8)), task, ALONE, 2
        )

    stop = True
    for name, seeds in (("mine", range(10, 16)), ("theirs", range(20, 26))):
        with pytest.raises(KeyboardInterrupt):
            write(name, seeds)
    mine, theirs = (partial_path(tmp_path / name) for name in ("mine", "theirs"))
    for name in ("checks.u32", "content/images.npy"):
        shutil.copy(theirs / name, mine / name)
    stop = False
    store = write("mine", range(10, 16))
    assert store is not None
    assert store.images[:, 0, 0].tolist() == [*range(10, 16)]


def test_of_a_finished_store_only_the_grid_is_made(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = tmp_path / "grid.png"
    sample(small_run, tmp_path / "out", num=2, steps=2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = sample(small_run, tmp_path / "out", num=2, steps=2, grid=grid)
    assert again is not None
    assert grid.read_bytes().startswith(runs.PNG)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert "out is finished already" in capsys.readouterr().err
    grid.write_text("mine")
    with pytest.raises(UsageError, match=r"grid\.png is there already, and is no PNG"):
        sample(small_run, tmp_path / "new", num=2, steps=2, grid=grid)
    assert grid.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_an_error_of_writing_is_raised_and_marks_nothing(tmp_path: Path) -> None:
    def draw(seeds: Sequence[int]) -> NDArray[np.uint8]:
        side = 8 if 4 not in seeds else 7  # of the last batch
        return np.zeros((len(seeds), side, side), np.uint8)

    with pytest.raises(ValueError, match="could not be broadcast"):
        sampling.write_images(tmp_path / "out", draw, range(5), Preparation((8, 8)), {}, ALONE, 2)
    checks = np.fromfile(partial_path(tmp_path / "out") / "checks.u32", "<u4")
    assert (checks > 0).tolist() == [True, True, True, True, False]


def test_pixels_are_truncated_and_clipped() -> None:
    x = torch.tensor([-2, -1, -0.999, 0, 0.999, 1, 2.0], dtype=torch.float64).reshape(-1, 1, 1, 1)
    assert sampling.to_uint8(x).flatten().tolist() == [0, 0, 0, 128, 255, 255, 255]


def test_every_image_comes_back_from_uint8() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert np.array_equal(sampling.to_uint8(levels / 127.5 - 1)[0], levels[0, 0].numpy())


def test_sample_writes_a_store_like_the_training_data(
    small_run: Path, small_store: Path, tmp_path: Path
) -> None:
    store = sample(small_run, tmp_path / "out", num=5, steps=3, seed=7, grid=tmp_path / "grid.png")
    assert store is not None
    assert store.fingerprint == FrameStore.open(small_store).fingerprint
    assert store.index["frame"].tolist() == [7, 8, 9, 10, 11]
    assert store.manifest["source"]["kind"] == "generated"
    assert store.manifest["source"]["compute"] == {"precision": "fp32", "compiled": False}
    assert Image.open(tmp_path / "grid.png").size == (5 * 18 - 2, 16)
    with pytest.raises(UsageError, match=r"exists already, made with .* \(sample, seeds\)"):
        sample(small_run, tmp_path / "out", num=5)


def test_what_auto_means_on_a_cpu_may_be_asked_for(small_run: Path, tmp_path: Path) -> None:
    auto = sample(small_run, tmp_path / "auto", num=2, steps=3)
    asked = sample(small_run, tmp_path / "asked", num=2, steps=3, precision="fp32", compile="off")
    assert auto is not None
    assert asked is not None
    assert asked.content == auto.content


def test_another_task_s_partial_store_is_refused(small_run: Path, tmp_path: Path) -> None:
    with begin_partial(tmp_path / "out", {"kind": "generated", "nimg": 1}):
        pass  # stopped
    with pytest.raises(UsageError, match=r"other settings \(.*nimg"):
        sample(small_run, tmp_path / "out", num=2, steps=2)


def test_snapshots_can_be_sampled(small_run: Path, tmp_path: Path) -> None:
    first = min((small_run / "snapshots").glob("*.safetensors"))
    untrained = sample(first, tmp_path / "untrained", num=3, steps=4)
    trained = sample(small_run, tmp_path / "trained", num=3, steps=4)
    assert untrained is not None
    assert trained is not None
    assert untrained.content != trained.content


def test_two_processes_make_the_store_that_one_makes(small_run: Path, tmp_path: Path) -> None:
    alone = sample(small_run, tmp_path / "alone", num=20, steps=3)
    arguments = ["sample", small_run, "--out", tmp_path / "shared", "-n", 20, "--steps", 3]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = [*launcher, "--master-port", "29512", "-m", "echosweep", *arguments, "--batch", 3]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("20 images") == 1
    assert alone is not None
    assert FrameStore.open(tmp_path / "shared").content == alone.content


def test_labels_are_drawn_or_given(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    run = train(small_store, tmp_path / "run", total_kimg=0.016, label="side", **small_network)
    sample(run, tmp_path / "any", num=2, steps=2)
    sample(run, tmp_path / "left", num=2, steps=2, label="left")
    with pytest.raises(UsageError, match=r"label 'up' is not known.*left, right"):
        sample(run, tmp_path / "up", num=2, steps=2, label="up")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num": 0}, "num = 0: must be above 0"),
        ({"batch": 0}, "batch = 0: must be above 0"),
        ({"seed": -1}, "seed = -1: must be 0 or more"),
        ({"steps": 1}, "steps = 1"),
        ({"sampler": "ode", "S_churn": 3}, "'ode' has no S_churn"),
        ({"sampler": "heun", "solver": "euler"}, "'heun' has no solver"),
        ({"stps": 1}, "did you mean 'steps'"),
        ({"label": "left"}, "label 'left'"),
        ({"precision": "tf32"}, "--precision tf32 needs a GPU"),
        ({"precision": "fp8"}, "precision"),
        ({"seed": 2**31}, "choose smaller ones"),
        ({"num": 2**31 - 1}, "there is no room for 549,756 MB"),
        ({"sigma_min": 100.0}, "no noise levels between"),
        ({"device": "nonsense"}, "device 'nonsense' cannot be used"),
        ({"grid": "/proc/x/grid.png"}, "/proc/x/grid.png cannot be written"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(
    small_run: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        sample(small_run, tmp_path / "out", **settings)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_diverged_model_makes_no_black_images(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(small_run)
    next(model.parameters()).fill_(float("nan"))
    monkeypatch.setattr("echosweep.commands.sample.load_model", lambda *_: model)
    with pytest.raises(EchoSweepError, match="not finite"):
        sample(small_run, tmp_path / "out", num=2, steps=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["a"]},
        {"preparation": None},
        {"preparation": {"size": [16, 16], "channels": 3}},
        {"config": None},
    ],
)
def test_weights_and_json_of_different_models_are_told_apart(
    small_run: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    shutil.copy(small_run / "model.safetensors", tmp_path)
    facts = runs.read_record(small_run / "model.json", "")
    runs.write_record(tmp_path / "model.json", facts | change)
    with pytest.raises(EchoSweepError, match="not those that their JSON describes"):
        load_model(tmp_path)


@pytest.mark.parametrize("framework", ["vp", "ve", "iddpm"])
def test_every_framework_trains_and_samples(
    framework: str, small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**small_network, "framework": framework, "grid_images": 0}
    run = train(small_store, tmp_path / "run", total_kimg=0.016, **settings)
    for sampler in ("heun", "ode"):
        store = sample(run, tmp_path / sampler, num=2, steps=3, sampler=sampler)
        assert store is not None
        assert store.images[:].std() > 0
