import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echosweep import runs
from echosweep.build import load_model
from echosweep.commands.train import plan, train
from echosweep.config import TrainConfig
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.errors import EchoSweepError, UsageError
from echosweep.training import checkpoint
from echosweep.training.posthoc_ema import stored_tracks


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
        *(".lock", "config.yaml", "env.json", "run.json", "metrics.jsonl", "loss.png"),
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


def test_a_damaged_checkpoint_says_which_file_to_remove(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    short = {**small_network, "grid_images": 0}
    train(small_store, tmp_path / "run", total_kimg=0.016, **short)
    state = next((tmp_path / "run" / "state").glob("*.safetensors"))
    data = bytearray(state.read_bytes())
    data[-1] ^= 1
    state.write_bytes(data)
    with pytest.raises(EchoSweepError, match=r"remove .*000000000016\.json to continue"):
        train(small_store, tmp_path / "run", total_kimg=0.032, **short)
    state.with_suffix(".json").unlink()
    train(small_store, tmp_path / "run", total_kimg=0.032, **short)
    assert checkpoint.read_facts(tmp_path / "run" / "model")["nimg"] == 32


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
    assert process.returncode == 130
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
