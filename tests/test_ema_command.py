"""`ema` as a user calls it, on runs of `train` with --posthoc-ema."""

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from echosweep import load_model, runs, sample
from echosweep.build import build_denoiser
from echosweep.cli.models import ema as ema_on_the_command_line
from echosweep.commands.ema import ema
from echosweep.commands.train import train
from echosweep.config import TrainConfig
from echosweep.data.store import FrameStore
from echosweep.distributed import World
from echosweep.errors import EchoSweepError, UsageError
from echosweep.training import checkpoint
from echosweep.training.batches import load_batches
from echosweep.training.loop import TrainState, train_steps
from echosweep.training.posthoc_ema import LENGTHS, power, stored_tracks, track_name, track_path


@pytest.fixture(scope="module")
def settings(small_network: dict[str, Any]) -> dict[str, Any]:
    return {**small_network, "posthoc_ema": True, "snapshots": 2, "grid_images": 0}


@pytest.fixture(scope="module")
def run(small_store: Path, settings: dict[str, Any], tmp_path_factory: Any) -> Path:
    """A finished run of 30 steps. Read only."""
    out = tmp_path_factory.mktemp("ema") / "run"
    return train(small_store, out, total_kimg=0.24, **settings)


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)]).double()


def weights(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path.with_suffix(""))[0]


def test_training_is_the_same_to_the_bit(run: Path, small_run: Path) -> None:
    halfway = small_run / "snapshots" / "000000000240.json"
    assert equal(weights(run / "model.json"), weights(halfway))
    assert not (small_run / "ema").exists()


def test_runs_without_it_keep_their_identity(small_run: Path, run: Path) -> None:
    assert "posthoc_ema" not in json.loads((small_run / "run.json").read_text())["config"]
    assert json.loads((run / "run.json").read_text())["config"]["posthoc_ema"] is True


def test_averages_are_stored_20_times_the_last_at_the_end(run: Path) -> None:
    points = stored_tracks(run)
    assert len(points) == 20
    assert points[-1] == 240


@pytest.mark.parametrize("length", LENGTHS)
def test_a_stored_length_is_given_back(run: Path, tmp_path: Path, length: float) -> None:
    made = weights(ema(run, length, tmp_path / "made.safetensors"))
    stored = weights(track_path(run, 240).with_suffix(".json"))
    assert made.keys() == weights(run / "model.json").keys()
    for name, tensor in made.items():
        torch.testing.assert_close(tensor, stored[track_name(length, name)], rtol=1e-6, atol=1e-6)


def test_any_length_is_nearly_the_average_that_training_would_have_kept(
    run: Path, small_store: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    config, store = TrainConfig.make({"total_kimg": 1, **settings}), FrameStore.open(small_store)
    alone = World(0, 1, torch.device("cpu"))
    torch.manual_seed(config.seed)
    state = TrainState.new(build_denoiser(config, store.preparation), config)
    taken = islice(train_steps(state, load_batches(store, config, alone.device), config, alone), 30)
    path = torch.stack([flat(state.denoiser.state_dict()) for _ in taken])
    for length in (0.03, 0.07, 0.2):
        counts = torch.linspace(0, 1, 31, dtype=torch.float64).pow(power(length) + 1).diff()
        direct = counts @ path
        made = flat(weights(ema(run, length, tmp_path / f"{length}.safetensors")))
        assert (made - direct).norm() < 0.05 * (path[-1] - direct).norm()


def test_the_average_is_a_model_to_sample_from(run: Path, tmp_path: Path) -> None:
    path = ema(run, 0.15, tmp_path / "made.safetensors", at_kimg=0.12)
    facts, model = checkpoint.read_facts(tmp_path / "made"), checkpoint.read_facts(run / "model")
    assert facts["nimg"] == 120
    assert facts["ema"]["length"] == 0.15
    assert facts["ema"]["points"] == 10
    assert 0 < facts["ema"]["error"] < 0.03
    for key in ("config", "preparation", "classes", "train_sig", "data"):
        assert facts[key] == model[key]
    assert load_model(path).image_shape == (1, 16, 16)
    store = sample(path, tmp_path / "images", num=2, steps=2, device="cpu")
    assert store is not None
    assert len(store) == 2


def test_only_what_was_stored_up_to_the_point_counts(run: Path, tmp_path: Path) -> None:
    early = tmp_path / "early"
    shutil.copytree(run, early)
    for nimg in stored_tracks(early):
        if nimg > 120:
            checkpoint.remove(track_path(early, nimg))
    one = ema(run, 0.2, tmp_path / "one.safetensors", at_kimg=0.12)
    two = ema(early, 0.2, tmp_path / "two.safetensors")
    assert equal(weights(one), weights(two))


def test_stopped_and_raised_runs_store_the_same_at_every_end(
    run: Path, small_store: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    for kimg in (0.08, 0.16, 0.24):
        train(small_store, tmp_path / "run", total_kimg=kimg, **settings)
        assert stored_tracks(tmp_path / "run")[-1] == kimg * 1000
    assert {80, 160, 240} < set(stored_tracks(tmp_path / "run"))
    for nimg in (160, 240):
        points = [track_path(folder, nimg) for folder in (run, tmp_path / "run")]
        assert equal(*(checkpoint.load(point)[0] for point in points))


def test_what_was_stored_after_the_checkpoint_is_forgotten(
    run: Path, small_store: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    """As after kill -9: the newest checkpoint is older than the newest stored averages."""
    killed = tmp_path / "run"
    train(small_store, killed, total_kimg=0.08, **settings)
    shutil.copytree(run / "ema", killed / "ema", dirs_exist_ok=True)
    train(small_store, killed, total_kimg=0.096, **settings)
    assert stored_tracks(killed)[-1] == 96


def test_it_cannot_be_asked_for_later(
    small_run: Path, small_store: Path, settings: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="posthoc_ema was None, now True"):
        train(small_store, small_run, total_kimg=0.48, **settings)


def test_the_same_call_again_changes_nothing_and_another_is_refused(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made.safetensors"
    out.touch()  # as after a crash: without its JSON it is nobody's
    ema(run, 0.03, out)
    before = out.stat().st_mtime_ns
    assert ema(run, 0.03, out) == out
    assert out.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="holds other weights already"):
        ema(run, 0.04, out)
    with pytest.raises(UsageError, match="holds other weights already"):
        ema(run, 0.04, run / "model.safetensors")


def test_weights_without_their_json_are_completed_if_they_are_those(
    run: Path, tmp_path: Path
) -> None:
    """A kill leaves them so, between two renames; what is somebody's is not overwritten."""
    out = ema(run, 0.03, tmp_path / "made.safetensors")
    facts = out.with_suffix(".json").read_text()
    out.with_suffix(".json").unlink()
    (tmp_path / ".made.safetensors.lock").touch()
    for name in (".made.json.0a1b2c3d.9999999.tmp", ".made.safetensors.0a1b2c3d.9999999.tmp"):
        (tmp_path / name).touch()
    ema(run, 0.03, out)
    assert out.with_suffix(".json").read_text() == facts
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.json", "made.safetensors"]
    out.with_suffix(".json").unlink()
    before = out.read_bytes()
    with pytest.raises(UsageError, match="holds other weights already"):
        ema(run, 0.04, out)
    assert out.read_bytes() == before


def test_one_of_two_at_once_says_so(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "made.safetensors"

    def second(done: int, total: int, units: float | None = None) -> None:
        with pytest.raises(UsageError, match=r"made\.safetensors is in use by another EchoSweep"):
            ema(run, 0.03, out)

    ema(run, 0.03, out, progress=second)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.json", "made.safetensors"]


@pytest.mark.parametrize(
    ("length", "name", "at_kimg", "message"),
    [
        (0.0, "a.safetensors", None, "length 0 must be more than 0 and at most 0.25"),
        (0.3, "a.safetensors", None, "length 0.3 must be"),
        (float("nan"), "a.safetensors", None, "length nan must be"),
        (0.005, "a.safetensors", None, r"length 0.005 .* 20 times up to 0.24 kimg \(error 0.[34]"),
        (0.1, "a.safetensors", 0.163, r"0.163 kimg .* are at 0.16 \(stored: 20, from 0.016"),
        (0.1, "a.safetensors", 100, "nearest are at 0.24"),
        (0.1, "a.safetensors", float("nan"), "at nan kimg no averages"),
        (0.1, "a", None, r"a must end in \.safetensors"),
    ],
)
def test_what_cannot_be_is_said(
    run: Path, tmp_path: Path, length: float, name: str, at_kimg: float | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ema(run, length, tmp_path / name, at_kimg=at_kimg)
    assert list(tmp_path.iterdir()) == []


def test_runs_that_stored_nothing_are_named(small_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(UsageError, match=r"no run in .*nowhere"):
        ema(tmp_path / "nowhere", 0.1, out)
    with pytest.raises(UsageError, match="without --posthoc-ema"):
        ema(small_run, 0.1, out)
    runs.write_json(tmp_path / "run.json", {"config": {"posthoc_ema": True}})
    with pytest.raises(UsageError, match="has stored no averages yet"):
        ema(tmp_path, 0.1, out)


def test_a_damaged_file_is_named_and_can_be_left_out(run: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "run"
    shutil.copytree(run, damaged)
    file = track_path(damaged, 120).with_suffix(".safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    out = tmp_path / "made.safetensors"
    with pytest.raises(
        EchoSweepError, match=r"120\.safetensors is .* remove 0+120\.json and .* to do without"
    ):
        ema(damaged, 0.1, out)
    file.with_suffix(".json").unlink()
    with pytest.raises(EchoSweepError, match=r"120\.safetensors lacks its JSON"):
        ema(damaged, 0.1, out)
    file.unlink()
    assert checkpoint.read_facts(ema(damaged, 0.1, out).with_suffix(""))["ema"]["points"] == 19


def test_the_command_says_what_comes_next(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made.safetensors"
    ema_on_the_command_line(run, out=out, options={"length": 0.1})
    assert f"echosweep sample {out}" in capsys.readouterr().out
