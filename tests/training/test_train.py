import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from echosweep import runs, stops
from echosweep.build import load_model
from echosweep.commands import run_folder
from echosweep.commands.train import plan, train
from echosweep.config import TrainConfig
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.errors import EchoSweepError, UsageError
from echosweep.training import checkpoint
from echosweep.training.posthoc_ema import stored_tracks

# Two steps, each saved.
BRIEF: dict[str, Any] = {"total_kimg": 0.016, "snapshots": 1, "grid_images": 0}
BRIEF |= {"checkpoint_minutes": 1e-9}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(run / "model")[0]


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_k_steps_a_stop_and_k_more_equal_2k_steps(
    small_store: Path, small_run: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    short = {**small_network, "snapshots": 2, "grid_images": 4}
    train(small_store, tmp_path / "run", total_kimg=0.24, **short)
    halfway = weights(tmp_path / "run")
    train(small_store, tmp_path / "run", total_kimg=0.48, **short)
    assert not equal(halfway, weights(small_run))
    assert equal(weights(tmp_path / "run"), weights(small_run))


def test_training_lowers_the_loss(small_store: Path, small_run: Path) -> None:
    rows = runs.read_jsonl(small_run / "metrics.jsonl")
    held_out = [row["held_out_loss"] for row in rows if row.get("held_out_loss")]
    assert held_out[-1] < 0.5 * held_out[0]


def test_run_folder_holds_what_it_should(small_run: Path) -> None:
    assert {path.name for path in small_run.iterdir()} == {
        *("config.yaml", "env.json", "run.json", "metrics.jsonl", "loss.png"),
        *("model.json", "model.safetensors", "state", "snapshots"),
    }
    names = sorted(path.name for path in (small_run / "snapshots").glob("*.png"))
    assert names == ["000000000000.png", "000000000240.png", "000000000480.png"]
    assert TrainConfig.read(small_run / "config.yaml").total_kimg == 0.48
    assert "command" in json.loads((small_run / "env.json").read_text())


def test_a_finished_run_is_left_as_it_is(
    small_store: Path, small_run: Path, small_network: dict[str, Any]
) -> None:
    before = (small_run / "model.safetensors").stat().st_mtime_ns
    train(small_store, small_run, total_kimg=0.48, **small_network)
    assert (small_run / "model.safetensors").stat().st_mtime_ns == before


STOPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {"micro_batch": 4, "posthoc_ema": True, "label": "side", "dropout": 0.1},
}


@pytest.mark.parametrize("kind", STOPS)
def test_a_stop_at_any_place_and_the_rest_equal_the_whole(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    """Between two layers of a step, of a held-out evaluation and of a sample grid."""
    settings = {**small_network, **STOPS[kind], "total_kimg": 0.024, "snapshots": 1}
    settings |= {"grid_images": 2, "grid_steps": 2}
    with asked_after(0, signal.SIGUSR1) as places:
        train(small_store, tmp_path / "whole", **settings)
    for share in (0.1, 0.35, 0.55, 0.2):
        after = round(share * len(places))
        with asked_after(after, signal.SIGUSR1) as met, pytest.raises(stops.Stopped):
            train(small_store, tmp_path / "run", **settings)
        assert len(met) == after  # not one layer more
    train(small_store, tmp_path / "run", **settings)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert names(tmp_path / "run", "snapshots") == names(tmp_path / "whole", "snapshots")
    assert names(tmp_path / "run", "ema") == names(tmp_path / "whole", "ema")
    for one in (tmp_path / "whole").glob("*/*.safetensors"):
        other = tmp_path / "run" / one.relative_to(tmp_path / "whole")
        if one.parent.name != "state":
            assert one.read_bytes() == other.read_bytes()
    held_out = [
        [(row["nimg"], row["held_out_loss"]) for row in rows if row.get("held_out_loss")]
        for rows in (
            runs.read_jsonl(tmp_path / name / "metrics.jsonl") for name in ("run", "whole")
        )
    ]
    assert held_out[0] == held_out[1]


def names(run: Path, part: str) -> list[str]:
    return sorted(path.name for path in (run / part).glob("*"))


@contextlib.contextmanager
def asked_after(count: int, number: int) -> Iterator[list[object]]:
    """Send a signal as the `count`th module computes; yield those that do."""
    places: list[object] = []

    def look(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if not isinstance(given[0], FakeTensor):  # the estimate of memory computes nothing
            places.append(module)
            if len(places) == count:
                os.kill(os.getpid(), number)

    with torch.nn.modules.module.register_module_forward_pre_hook(look):
        yield places


def test_numbers_that_are_not_finite_are_not_saved_and_the_last_state_stays(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    settings, out = {**small_network, **BRIEF}, tmp_path / "run"
    del settings["total_kimg"]

    def poison(done: int, total: int, units: float | None = None) -> None:
        if done == 32:
            module = next(m for m in modules if sum(1 for _ in m.parameters()) > 20)
            with torch.no_grad():
                next(module.parameters()).view(-1)[0] = math.inf

    modules: list[torch.nn.Module] = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, _: modules.append(module) if module.training else None
    )
    with hook, pytest.raises(EchoSweepError, match=r"at 32 images .* lower --lr \(was 0\.005\)"):
        train(small_store, out, total_kimg=0.1, progress=poison, **settings)
    assert names(out, "state")[-2:] == ["000000000024.json", "000000000024.safetensors"]
    found = json.loads((out / "failed" / "000000000032.json").read_text())
    assert found["state"] == "state/000000000024"
    assert len(found["rows"]) == 8
    assert not (out / "model.json").exists()
    train(small_store, out, total_kimg=0.04, **settings)  # the last finite state is resumable
    train(small_store, tmp_path / "whole", total_kimg=0.04, **settings)
    assert equal(weights(out), weights(tmp_path / "whole"))


def test_a_pass_without_the_memory_is_halved_with_the_result_of_smaller_passes(
    small_store: Path,
    small_network: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {**small_network, "grid_images": 0, "snapshots": 1, "total_kimg": 0.016}
    greedy = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: torch.empty(10**15) if module.training and len(given[0]) > 4 else None
    )
    with greedy:
        train(small_store, tmp_path / "run", **settings)
    assert "--micro-batch 4" in capsys.readouterr().err
    train(small_store, tmp_path / "four", **settings, micro_batch=4)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "four"))
    facts = checkpoint.read_facts(tmp_path / "run" / "state" / "000000000016")
    assert facts["micro_batch"] == 4


def test_what_a_killed_process_left_is_no_obstacle_and_a_link_is(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**small_network, "grid_images": 0, "snapshots": 1, "total_kimg": 0.016}
    dead = subprocess.Popen(["true"])
    dead.wait()
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / f".run.json.{dead.pid}.tmp").write_text("{")
    (out / "state").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="state is a link"):
        train(small_store, out, **settings)
    (out / "state").unlink()
    train(small_store, out, **settings)
    (out / "loss.png").unlink()  # as of a run that was killed while it plotted
    (out / "state" / "000000000012.safetensors").touch()
    train(small_store, out, **settings)
    assert (out / "loss.png").exists()
    assert names(out, "state") == ["000000000016.json", "000000000016.safetensors"]
    assert not list(out.rglob("*.tmp"))
    assert not list(elsewhere.iterdir())


def test_another_run_s_folder_is_refused_with_what_differs(
    small_store: Path, small_run: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"lr was 0\.005, now 0\.5"):
        train(small_store, small_run, total_kimg=1, **small_network | {"lr": 0.5})
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").touch()
    with pytest.raises(UsageError, match="not empty and not a run"):
        train(small_store, tmp_path / "letters", total_kimg=1, **small_network)


def test_the_same_images_split_otherwise_are_other_data(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    store = FrameStore.open(small_store)
    videos = [
        (
            Video(video.name, "test" if video.split == "train" else "train", labels=video.labels),
            np.asarray(store.images[store.index["video"] == number]),
        )
        for number, video in enumerate(store.videos)
    ]
    other = write_store(tmp_path / "other", store.preparation, videos)
    assert other.content == store.content
    settings = {**small_network, "total_kimg": 0.008, "grid_images": 0}
    train(small_store, tmp_path / "run", **settings)
    with pytest.raises(UsageError, match="other splits"):
        train(other.path, tmp_path / "run", **settings | {"total_kimg": 0.016})


@pytest.fixture(scope="module")
def two_states(
    small_store: Path, small_network: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished run of two steps, with a checkpoint of each. Read only."""
    out = tmp_path_factory.mktemp("runs") / "two"
    return train(small_store, out, **small_network, **BRIEF)


@pytest.mark.parametrize("damage", ["flipped bit", "cut", "weights missing", "not finite"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    small_store: Path,
    two_states: Path,
    small_network: dict[str, Any],
    tmp_path: Path,
    damage: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = shutil.copytree(two_states, tmp_path / "run")
    first, last = (out / "state" / f"{nimg:012d}" for nimg in (8, 16))
    harm(last, damage)
    train(small_store, out, **BRIEF, **small_network)
    assert "; it is passed over; training continues from 000000000008" in capsys.readouterr().err
    one, other = (checkpoint.load(path / "state" / last.name)[0] for path in (two_states, out))
    assert equal(one, other)
    harm(last, damage)
    harm(first, damage)
    with pytest.raises(EchoSweepError, match=rf"none before it.*remove {out} to begin"):
        train(small_store, out, **BRIEF, **small_network)


def test_a_checkpoint_without_its_json_is_named_and_one_too_many_removed(
    small_store: Path,
    two_states: Path,
    small_network: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = shutil.copytree(two_states, tmp_path / "run")
    (first, last), oldest = run_folder.states(out), out / "state" / f"{4:012d}"
    copy_state(first, oldest)
    last.with_suffix(".json").unlink()
    train(small_store, out, **BRIEF, **small_network)
    assert f"{last}.safetensors lacks its JSON, so it was removed" in capsys.readouterr().err
    assert run_folder.states(out) == [first, last]
    copy_state(first, oldest)  # killed before the oldest of three was removed
    train(small_store, out, **BRIEF, **small_network)
    assert run_folder.states(out) == [first, last]


def test_a_checkpoint_of_another_run_is_passed_over(
    small_store: Path,
    two_states: Path,
    small_network: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = train(small_store, tmp_path / "run", **small_network, **BRIEF, seed=1)
    # Clones, as what is loaded is mapped from the file that is overwritten next.
    own = {name: t.clone() for name, t in checkpoint.load(out / "state" / f"{16:012d}")[0].items()}
    for suffix in (".json", ".safetensors"):
        shutil.copy(two_states / "state" / f"{16:012d}{suffix}", out / "state")
    train(small_store, out, **BRIEF, **small_network, seed=1)
    assert "seed was 0, now 1" in (said := capsys.readouterr().err)
    assert "training continues from 000000000008" in said
    assert equal(checkpoint.load(out / "state" / f"{16:012d}")[0], own)


def test_in_a_folder_that_is_refused_nothing_is_touched(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / ".notes.docx.1234567.tmp").write_text("mine")
    with pytest.raises(UsageError, match="not empty and not a run"):
        train(small_store, tmp_path, **small_network, **BRIEF)
    (tmp_path / ".lock").write_text("mine")
    with pytest.raises(UsageError, match=r"\.lock is no lock of EchoSweep"):
        train(small_store, tmp_path, **small_network, **BRIEF)
    assert names(tmp_path, "") == [".lock", ".notes.docx.1234567.tmp"]
    assert (tmp_path / ".lock").read_text() == "mine"


def copy_state(source: Path, target: Path) -> None:
    for suffix in (".json", ".safetensors"):
        shutil.copy(source.with_suffix(suffix), target.with_suffix(suffix))


def harm(path: Path, damage: str) -> None:
    weights = path.with_suffix(".safetensors")
    if damage == "not finite":
        tensors, facts = checkpoint.load(path)
        next(iter(tensors.values())).view(-1)[0] = math.nan
        checkpoint.save(path, tensors, facts)
    elif damage == "weights missing":
        weights.unlink()
    elif damage == "cut":
        os.truncate(weights, 1000)
    else:
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)


def test_sigterm_saves_and_the_same_command_continues(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    run, flags = tmp_path / "run", []
    for name, value in {**small_network, "total_kimg": 100, "grid_images": 0}.items():
        flags += ["--" + name.replace("_", "-"), str(value)]
    command = [sys.executable, "-m", "echosweep", "train", "--data", str(small_store)]
    process = subprocess.Popen(
        [*command, "--out", str(run), *flags], stderr=subprocess.PIPE, text=True
    )
    while not (run / "snapshots" / "000000000000.json").exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "run the same command again to continue" in errors
    saved = [json.loads(path.read_text())["nimg"] for path in (run / "state").glob("*.json")]
    assert saved
    rest = {**small_network, "grid_images": 0, "total_kimg": (max(saved) + 80) / 1000}
    train(small_store, run, **rest)
    assert checkpoint.read_facts(run / "model")["nimg"] == max(saved) + 80


def test_two_processes_learn_the_same_weights(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    """DDP: both ranks see half of each batch and end with equal weights, saved once."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom echosweep import train\n"
        "train(sys.argv[1], sys.argv[2], total_kimg=0.032, grid_images=0, network='ddpmpp-tiny',"
        " model_channels=8, batch=8, lr=5e-3, warmup_kimg=0.0, device='cpu', posthoc_ema=True)\n"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    subprocess.run(
        [*launcher, "--master-port", "29511", script, small_store, tmp_path / "run"],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    facts = checkpoint.read_facts(tmp_path / "run" / "model")
    assert facts["nimg"] == 32
    assert stored_tracks(tmp_path / "run") == [8, 16, 24, 32]
    assert load_model(tmp_path / "run").image_shape == (1, 16, 16)


def test_plan_says_what_training_would_cost(
    small_store: Path, small_network: dict[str, Any]
) -> None:
    config = TrainConfig.make(small_network | {"total_kimg": 1})
    found = plan(small_store, config=config)
    assert found["data"]["images"] == 14 * 8
    estimate = found["estimate"]
    assert estimate["parameters"] == sum(p.numel() for p in _network(small_store, config))
    assert estimate["hours"] > 0
    assert estimate["memory_gb"]["activations_fp32"] > 0


def _network(store: Path, config: TrainConfig) -> list[torch.Tensor]:
    from echosweep.build import build_denoiser

    return list(build_denoiser(config, FrameStore.open(store).preparation).parameters())


def test_tensorboard_without_the_extra_names_it(
    small_store: Path,
    small_network: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"echosweep\[tb\]"):
        train(small_store, tmp_path / "run", total_kimg=1, tensorboard=True, **small_network)


def test_a_diverged_run_stops_and_says_so(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(EchoSweepError, match=r"diverged.*lower --lr \(was 1e\+06\)"):
        train(small_store, out, total_kimg=0.8, grid_images=0, **small_network | {"lr": 1e6})
    assert not (out / "model.json").exists()
    assert "NaN" not in (out / "metrics.jsonl").read_text()


def test_a_split_without_images_leaves_no_run(
    small_network: dict[str, Any], tmp_path: Path
) -> None:
    images = np.zeros((2, 16, 16), np.uint8)
    write_store(tmp_path / "store", Preparation((16, 16)), [(Video("v", "val"), images)])
    with pytest.raises(UsageError, match="no image in split 'train'"):
        train(tmp_path / "store", tmp_path / "run", total_kimg=1, **small_network)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_record_of_a_run_is_named(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path, text: str
) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(EchoSweepError, match=r"run\.json is damaged.*choose another --out"):
        train(small_store, tmp_path, total_kimg=1, **small_network)
