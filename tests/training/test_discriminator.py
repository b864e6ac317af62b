"""A discriminator learns log r, resumes to the bit, and is measured on what it never saw."""

import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from echosweep import rng, runs, stops
from echosweep.build import load_discriminator
from echosweep.cli.guidance import discriminate as command_line
from echosweep.commands.discriminate import discriminate
from echosweep.commands.discriminator_split import split_images
from echosweep.commands.sample import sample
from echosweep.commands.train import train
from echosweep.config import DiscriminatorConfig
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.diffusion import FRAMEWORKS
from echosweep.diffusion.discriminators import Discriminator
from echosweep.distributed import World
from echosweep.errors import EchoSweepError, UsageError
from echosweep.training import checkpoint
from echosweep.training.batches import Batches
from echosweep.training.discriminator import (
    SIGMA_MAX,
    SIGMA_MIN,
    DiscriminatorState,
    Sides,
    augment,
    discriminator_steps,
    noised,
)
from echosweep.training.discriminator_accuracy import LEVELS, measure

ALONE = World(0, 1, torch.device("cpu"))
QUICK: dict[str, Any] = {"batch": 16, "lr": 1e-3, "held_out": 4}


@pytest.fixture(scope="module")
def drawn(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images of the small run."""
    out = tmp_path_factory.mktemp("drawn") / "store"
    sample(small_run, out, num=40, steps=2)
    return out


@pytest.fixture(scope="module")
def trained(
    small_store: Path, drawn: Path, small_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A discriminator of two epochs, and its record. Read only."""
    out = tmp_path_factory.mktemp("discriminators") / "two"
    record = discriminate(small_store, drawn, small_run, out, epochs=2, **QUICK)
    assert record is not None
    return out, record


def tensors(path: Path) -> dict[str, Tensor]:
    return checkpoint.load(path)[0]


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


# What is learned


def test_noise_levels_are_uniform_in_their_logarithm() -> None:
    y = torch.zeros(4000, 1, 1, 1)
    x = noised(y, None, rng.generator("test"))
    place = (x.sigma / SIGMA_MIN).log() / math.log(SIGMA_MAX / SIGMA_MIN)
    grid = torch.linspace(0, 1, len(y))
    assert float((place.sort().values - grid).abs().max()) < 1.36 / math.sqrt(len(y))  # Kolmogorov
    assert float((x.x[:, 0, 0, 0] / x.sigma).std()) == pytest.approx(1, abs=0.05)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 100))
def test_augmented_images_are_flipped_and_shifted_ones(height: int, width: int, seed: int) -> None:
    y = torch.arange(3.0 * 2 * height * width).reshape(3, 2, height, width)
    down, across = max(1, height // 16), max(1, width // 16)
    padded = nn.functional.pad(y, (across, across, down, down), "replicate")
    for i, image in enumerate(augment(y, 0.99, rng.generator(seed))):
        allowed = [
            torch.flip(whole[i, :, r : r + height, c : c + width], [2] if flip else [])
            for flip in (False, True)
            for whole in (padded,)
            for r in range(2 * down + 1)
            for c in range(2 * across + 1)
        ]
        assert any(torch.equal(image, other) for other in allowed)


def test_as_many_are_augmented_as_asked_for() -> None:
    y = torch.rand(2000, 1, 16, 16, generator=rng.generator("images"))
    assert torch.equal(augment(y, 0.0, rng.generator(0)), y)
    changed = (augment(y, 0.5, rng.generator(0)) != y).flatten(1).any(1).double().mean()
    assert float(changed) == pytest.approx(0.5 * (1 - 1 / 18), abs=0.04)  # 1 of 9 shifts, no flip


class Pixels(nn.Module):
    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        scaled = x.flatten(1) * (0.2 + sigma.square()).rsqrt()[:, None]
        return torch.cat([scaled, sigma.log()[:, None] / 4], dim=1)


class Perceptron(nn.Sequential):
    def forward(self, features: Tensor, c_noise: Tensor) -> Tensor:
        logit: Tensor = super().forward(features)[:, 0]
        return logit


class Ideal:
    """The denoiser of images whose pixels are N(mean, s^2)."""

    framework, sigma_data = FRAMEWORKS["edm"], 0.5

    def __init__(self, mean: float, s: float) -> None:
        self.mean, self.s = mean, s

    def round_sigma(self, sigma: Tensor) -> Tensor:
        return sigma

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        variance = sigma.reshape(-1, 1, 1, 1) ** 2
        return (self.s**2 * x + self.mean * variance) / (self.s**2 + variance)


def two_gaussians(count: int) -> Sides:
    """Images of two pixels: N(0.25, 0.15^2) real, N(-0.1, 0.3^2) generated."""
    draw, laws = rng.generator("gaussians"), ((0.25, 0.15), (-0.1, 0.3))
    values = [m + s * torch.randn(count, 1, 1, 2, generator=draw) for m, s in laws]
    pixels = [((v + 1) * 127.5).round().clamp(0, 255).to(torch.uint8) for v in values]
    return Sides(*(Batches(images, None, 0) for images in pixels))


def perceptron() -> Discriminator:
    torch.manual_seed(0)
    head = Perceptron(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))
    return Discriminator(Pixels(), head, frozen=False)


@pytest.mark.parametrize("objective", ["cross-entropy", "reconstruction"])
def test_the_log_ratio_of_two_gaussians_is_learned(objective: str) -> None:
    config = DiscriminatorConfig.make({"batch": 256, "lr": 3e-3, "objective": objective})
    state, sides = DiscriminatorState.new(perceptron(), config), two_gaussians(4000)
    real, generated = Ideal(0.25, 0.15), Ideal(-0.1, 0.3)
    steps = discriminator_steps(state, sides, generated, config, ALONE)  # type: ignore[arg-type]
    for _ in range(200):
        next(steps)
    log_ratio = state.discriminator.eval()
    y = torch.cat([images.get(0, 500, ALONE.device)[0] for images in sides])
    for level in (0.3, 0.5, 1.0):
        noise = torch.randn(y.shape, generator=rng.generator("probe", str(level)))
        x, sigma = (y + level * noise).requires_grad_(), torch.full((1000,), level)
        value = log_ratio(x, sigma)
        (found,) = torch.autograd.grad(value.sum(), x)
        true = sum(
            sign * ((x.detach() - law.mean).square() / (law.s**2 + level**2)).sum((1, 2, 3))
            for sign, law in ((-1, real), (1, generated))
        )
        assert float(torch.corrcoef(torch.stack([value.detach(), true]))[0, 1]) > 0.9
        # The ideal denoisers differ by sigma^2 grad log r.
        wanted = (real(x, sigma) - generated(x, sigma)).detach()
        strong = wanted.abs() > wanted.abs().median()
        assert float((found.sign() == wanted.sign())[strong].double().mean()) > 0.98


# How it is measured


@pytest.mark.parametrize("objective", ["cross-entropy", "reconstruction"])
def test_a_discriminator_that_says_nothing_is_at_chance(objective: str) -> None:
    config = DiscriminatorConfig.make({"batch": 16, "objective": objective})
    silent = Discriminator(Pixels(), Perceptron(nn.Linear(3, 1)), frozen=False)
    nn.init.zeros_(silent.head[0].weight)
    nn.init.zeros_(silent.head[0].bias)
    model = Ideal(-0.1, 0.3)
    found = measure(silent, two_gaussians(20), model, config, ALONE.device)  # type: ignore[arg-type]
    assert found["accuracy"] == 0.5
    assert [level["guided_error"] for level in found["levels"]] == [1.0] * len(LEVELS)
    if objective == "cross-entropy":
        assert found["loss"] == pytest.approx(math.log(2))


@pytest.mark.parametrize(("factor", "weight"), [(1, 1), (2, 0.5), (0.2, 1), (-1, 0)])
def test_the_best_weight_undoes_a_wrong_scale_and_leaves_out_what_harms(
    factor: float, weight: float
) -> None:
    class TrueRatio(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return torch.cat([x.flatten(1), sigma[:, None]], dim=1)

    class Scaled(nn.Module):
        def forward(self, features: Tensor, c_noise: Tensor) -> Tensor:
            x, sigma = features[:, :2], features[:, 2:]
            densities = [
                -((x - mean) ** 2) / (s**2 + sigma**2) / 2
                for mean, s in ((0.25, 0.15), (-0.1, 0.3))
            ]
            return factor * (densities[0] - densities[1]).sum(dim=1)

    exact = Discriminator(TrueRatio(), Scaled(), frozen=False)
    config = DiscriminatorConfig.make({"batch": 512})
    model: Any = Ideal(-0.1, 0.3)
    found = measure(exact, two_gaussians(4000), model, config, ALONE.device)["levels"]
    for level in found[1:]:  # at the lowest, D is already nearly right
        assert level["best_weight"] == pytest.approx(weight, abs=0.15)


def test_accuracy_is_of_each_side_and_ignores_what_an_objective_leaves_open() -> None:
    class Brightness(nn.Module):
        def forward(self, features: Tensor, c_noise: Tensor) -> Tensor:
            return features[:, :2].sum(1) + 100

    sides, model = two_gaussians(40), Ideal(-0.1, 0.3)
    bright = Discriminator(Pixels(), Brightness(), frozen=False)
    for objective, wanted in (("cross-entropy", (1.0, 0.0)), ("reconstruction", (0.9, 0.9))):
        config = DiscriminatorConfig.make({"batch": 16, "objective": objective})
        found = measure(bright, sides, model, config, ALONE.device)["levels"][0]  # type: ignore[arg-type]
        assert (found["real"], found["generated"]) == pytest.approx(wanted, abs=0.1)


# Which images


def test_no_patient_and_no_generated_image_is_on_both_sides(small_store: Path, drawn: Path) -> None:
    config = DiscriminatorConfig.make({"held_out": 3})
    split = split_images(FrameStore.open(small_store), FrameStore.open(drawn), config)
    store = split.real.store
    assert set(store.splits[split.real.rows]) == {"train"}
    assert set(store.splits[split.held_out_real.rows]) == {"val"}
    assert split.generated.rows.tolist() == list(range(37))
    assert split.held_out_generated.rows.tolist() == [37, 38, 39]
    assert len(split.held_out_real) == 3
    assert split.held_out_real.describe()["groups"] == 3  # spread over the val videos


def write(path: Path, patients: int) -> FrameStore:
    images = np.zeros((2, 16, 16), np.uint8)
    videos = [(Video(f"v{i}", patient=f"p{i % patients}"), images) for i in range(2 * patients)]
    return write_store(path, Preparation((16, 16)), videos)


def test_without_a_val_split_a_tenth_of_the_patients_is_held_out(
    drawn: Path, tmp_path: Path
) -> None:
    store, made = write(tmp_path / "store", 15), FrameStore.open(drawn)
    splits = [split_images(store, made, DiscriminatorConfig(seed=seed)) for seed in (0, 0, 1)]
    held_out = [set(split.held_out_real.rows) for split in splits]
    assert held_out[0] == held_out[1] != held_out[2]
    train = splits[0].real
    assert len(train) == 60 - 2 * 4  # two of fifteen patients, two videos of two frames each
    assert train.describe()["groups"] == 13
    with pytest.raises(UsageError, match="no val split and only one patient"):
        split_images(write(tmp_path / "one", 1), made, DiscriminatorConfig())


# The command


def test_the_folder_holds_what_it_should(trained: tuple[Path, dict[str, Any]]) -> None:
    out, record = trained
    assert {path.name for path in out.iterdir()} == {
        *("config.yaml", "env.json", "run.json", "metrics.jsonl", "state", "epochs"),
        *("model.json", "model.safetensors", "loss.png", "accuracy.png"),
    }
    assert [path.name for path in sorted((out / "epochs").glob("*.json"))] == [
        "0001.json",
        "0002.json",
    ]
    assert len(list((out / "state").glob("*.safetensors"))) == 2
    rows = runs.read_jsonl(out / "metrics.jsonl")
    best = min(rows, key=lambda row: row["held_out"]["loss"])
    assert record["epoch"] == best["epoch"]
    assert record["held_out"] == best["held_out"]
    assert equal(tensors(out / "model"), tensors(out / "epochs" / f"{best['epoch']:04d}"))
    assert record["images"]["held_out_real"]["groups"] == 3
    assert "of 3 patients" in record["notes"][0]


def test_what_guidance_needs_is_in_the_facts(
    trained: tuple[Path, dict[str, Any]], small_run: Path, drawn: Path, small_store: Path
) -> None:
    out, _ = trained
    _, facts = load_discriminator(out)
    assert facts["guides"]["sha256"] == checkpoint.read_facts(small_run / "model")["sha256"]
    assert facts["generated"] == FrameStore.open(drawn).content
    assert facts["data"] == FrameStore.open(small_store).content
    assert [sigma for sigma, _ in facts["accuracy"]] == sorted(LEVELS)
    assert "classifier" not in facts["config"]
    guided = sample(small_run, out.parent / "guided", num=2, steps=3, guidance=out, w1=5)
    assert guided is not None


def test_an_epoch_a_stop_and_another_equal_two(
    trained: tuple[Path, dict[str, Any]],
    small_store: Path,
    drawn: Path,
    small_run: Path,
    tmp_path: Path,
) -> None:
    """Stopped by Ctrl-C amid the first epoch, continued to its end, then given another."""
    out = tmp_path / "disc"

    def interrupt(done: int, total: int, units: float | None = None) -> None:
        if done == 1:
            os.kill(os.getpid(), signal.SIGINT)

    images = (small_store, drawn, small_run, out)
    with pytest.raises(KeyboardInterrupt):
        discriminate(*images, epochs=2, progress=interrupt, **QUICK)
    assert [path.stem for path in (out / "state").glob("*.json")] == ["000000000001"]
    one = discriminate(*images, epochs=1, **QUICK)
    assert one is not None
    assert one["epochs"] == 1
    two = discriminate(*images, epochs=2, **QUICK)
    assert two is not None
    assert {**two["held_out"]} == trained[1]["held_out"]
    for name in ("epochs/0001", "epochs/0002", "model"):
        assert equal(tensors(out / name), tensors(trained[0] / name))


def test_a_stop_amid_a_step_or_a_measurement_and_the_rest_equal_the_whole(
    trained: tuple[Path, Any], small_store: Path, drawn: Path, small_run: Path, tmp_path: Path
) -> None:
    out, met = tmp_path / "disc", {"training": 0, "measured": 0}

    def ask(module: nn.Module, given: object) -> None:
        if isinstance(module, Discriminator):
            kind = "training" if module.training else "measured"
            met[kind] += 1
            if met[kind] == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    images, saved = (small_store, drawn, small_run, out), []
    with nn.modules.module.register_module_forward_pre_hook(ask):
        for _ in met:
            with pytest.raises(stops.Stopped, match="SIGTERM"):
                discriminate(*images, epochs=2, **QUICK)
            saved.append(sorted(path.stem for path in (out / "state").glob("*.json"))[-1])
            assert met["measured"] in (0, 3)
        discriminate(*images, epochs=2, **QUICK)
    assert saved == ["000000000002", "000000000005"]  # an epoch is 5 steps
    for name in ("epochs/0001", "epochs/0002", "model"):
        assert equal(tensors(out / name), tensors(trained[0] / name))
    rows = [runs.read_jsonl(path / "metrics.jsonl") for path in (out, trained[0])]
    assert rows[0] == rows[1]


def test_a_finished_one_is_left_as_it_is(
    trained: tuple[Path, dict[str, Any]], small_store: Path, drawn: Path, small_run: Path
) -> None:
    out, record = trained
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    again = discriminate(small_store, drawn, small_run, out, epochs=2, **QUICK)
    assert again is not None
    assert again["held_out"] == record["held_out"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


def test_the_command_line_says_what_was_found_and_what_is_next(
    trained: tuple[Path, dict[str, Any]],
    small_store: Path,
    drawn: Path,
    small_run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, record = trained
    given = {"data": small_store, "generated": drawn, "model": small_run, "out": out}
    command_line(**given, options={"epochs": 2, **QUICK})
    printed, noted = capsys.readouterr()
    assert f"epoch {record['epoch']} of 2, held-out accuracy 0." in printed
    assert f"echosweep sample {small_run} --guidance {out} --w1 5" in printed
    assert f"note: {record['notes'][0]}" in noted


def test_it_stops_when_held_out_images_gain_no_more(
    small_store: Path, drawn: Path, small_run: Path, tmp_path: Path
) -> None:
    """At such a rate the first epoch is not the best for ever."""
    rash = QUICK | {"lr": 0.05, "epochs": 30, "patience": 1}
    record = discriminate(small_store, drawn, small_run, tmp_path / "d", **rash)
    assert record is not None
    assert record["epochs"] == record["epoch"] + 1 < 30


def test_classes_of_a_conditional_model_reach_its_denoiser(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    run = train(
        small_store,
        tmp_path / "run",
        total_kimg=0.016,
        label="side",
        grid_images=0,
        snapshots=1,
        **small_network,
    )
    made = sample(run, tmp_path / "made", num=16, steps=2)
    assert made is not None
    more = QUICK | {"objective": "reconstruction", "epochs": 1}
    assert discriminate(small_store, made.path, run, tmp_path / "disc", **more) is not None
    left = sample(run, tmp_path / "left", num=16, steps=2, label="left")
    assert left is not None
    with pytest.raises(UsageError, match="class 'left' alone"):
        discriminate(small_store, left.path, run, tmp_path / "other", **more)
    for labels, match in (
        ({"side": "top"}, "has side 'top', which the model does not"),
        ({}, "label side is missing on 2 of 2"),
    ):
        videos = [
            (Video(f"v{i}", labels=dict(labels)), np.zeros((2, 16, 16), np.uint8)) for i in (1, 2)
        ]
        other = write_store(tmp_path / f"store{len(labels)}", Preparation((16, 16)), videos)
        with pytest.raises(UsageError, match=match):
            discriminate(other.path, made.path, run, tmp_path / "other", **more)


def test_what_does_not_fit_together_is_refused_before_any_work(
    small_store: Path, drawn: Path, small_run: Path, trained: tuple[Path, Any], tmp_path: Path
) -> None:
    def refused(match: str, data: Path = small_store, made: Path = drawn, **given: Any) -> None:
        with pytest.raises(UsageError, match=match):
            discriminate(data, made, small_run, tmp_path / "disc", **{**QUICK, **given})
        assert not (tmp_path / "disc").exists()

    refused("has 40 images, fewer than --batch 64", batch=64)
    refused("not drawn from", made=small_store)
    refused("leave --augment out", augment=0.5, objective="reconstruction")
    guided = sample(small_run, tmp_path / "guided", num=16, steps=2, guidance=trained[0])
    assert guided is not None
    refused("drawn with guidance", made=guided.path)
    wide = write_store(
        tmp_path / "wide", Preparation((16, 32)), [(Video("v"), np.zeros((9, 16, 32), np.uint8))]
    )
    refused("made differently", data=wide.path)
    refused("has no val split and only one patient", data=write(tmp_path / "one", 1).path)


def test_a_lost_log_is_named(
    small_store: Path, drawn: Path, small_run: Path, trained: tuple[Path, Any], tmp_path: Path
) -> None:
    out = shutil.copytree(trained[0], tmp_path / "disc")
    (out / "metrics.jsonl").unlink()
    with pytest.raises(EchoSweepError, match=r"metrics\.jsonl lacks epochs.*remove .* to begin"):
        discriminate(small_store, drawn, small_run, out, epochs=2, **QUICK)


def test_another_run_s_folder_is_refused(
    small_store: Path, drawn: Path, small_run: Path, trained: tuple[Path, Any]
) -> None:
    with pytest.raises(UsageError, match=r"lr was 0\.001, now 0\.5"):
        discriminate(small_store, drawn, small_run, trained[0], **QUICK | {"lr": 0.5})
    with pytest.raises(UsageError, match="run of another command"):
        discriminate(small_store, drawn, small_run, small_run, **QUICK)


def test_a_diverged_one_says_so(
    small_store: Path, drawn: Path, small_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(EchoSweepError, match=r"diverged.*lower --lr \(was 1e\+20\)"):
        discriminate(small_store, drawn, small_run, tmp_path / "d", **QUICK | {"lr": 1e20})
    assert not (tmp_path / "d" / "model.json").exists()


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    config = DiscriminatorConfig(batch=6)
    state, model = DiscriminatorState.new(perceptron(), config), Ideal(0, 1)
    world = World(0, 2, ALONE.device)
    steps = discriminator_steps(state, two_gaussians(8), model, config, world)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"--batch 6 cannot.*multiple of 4, as 8"):
        next(steps)


def test_two_processes_learn_what_one_learns(
    trained: tuple[Path, Any], small_store: Path, drawn: Path, small_run: Path, tmp_path: Path
) -> None:
    """Each has half of every batch; gradients are averaged, so only their rounding differs."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom echosweep.commands.discriminate import discriminate\n"
        f"record = discriminate(*sys.argv[1:], epochs=1, device='cpu', **{QUICK})\n"
        "sys.stdout.write('record\\n' if record else 'none\\n')\n"  # whole: they share it
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    images = [str(path) for path in (small_store, drawn, small_run, tmp_path / "disc")]
    found = subprocess.run([*command, script, *images], check=True, capture_output=True, text=True)
    assert sorted(found.stdout.split()) == ["none", "record"]
    one, two = (tensors(path / "epochs" / "0001") for path in (trained[0], tmp_path / "disc"))
    moved = 5 * QUICK["lr"]  # five steps of Adam, each of at most about the rate
    for name, tensor in one.items():
        assert float((two[name] - tensor).abs().mean()) < 0.02 * moved, name
