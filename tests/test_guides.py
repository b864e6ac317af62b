"""Guidance as a user asks for it: from a config and files to images."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echosweep import rng, sampling
from echosweep.build import build_sampler, load_discriminator, load_model
from echosweep.commands.sample import sample
from echosweep.commands.train import train
from echosweep.config import SampleConfig
from echosweep.diffusion.guidance import unguided
from echosweep.errors import UsageError
from echosweep.guides import build_guide

SEEDS = [3, 1, 4, 15, 9, 2, 6, 5, 35]


@pytest.fixture(scope="session")
def early(small_run: Path) -> Path:
    """A weaker model: the untrained snapshot of the run."""
    return min((small_run / "snapshots").glob("*.safetensors"))


@pytest.mark.parametrize(
    "settings",
    [
        {"w1": 5.0},
        {"w1": 2.0, "w2": 1.0, "weighting": "accuracy"},
        {"w1": 2.0, "boost": True},
        {"w1": 2.0, "boost": True, "S_churn": 3.0, "sampler": "euler"},
        {"w1": 2.0, "sampler": "ode", "weighting": "cosine"},
        {"model": True},
    ],
)
def test_a_guided_image_is_the_same_alone_and_among_others(
    small_run: Path, small_discriminator: Path, early: Path, settings: dict[str, Any]
) -> None:
    by = early if settings.pop("model", False) else small_discriminator
    config = SampleConfig.make({"steps": 6, "guidance": by, **settings})
    denoiser = load_model(small_run)
    sampler, guide = build_sampler(config, denoiser.framework), build_guide(config, denoiser)
    together = sampling.draw_images(denoiser, SEEDS, sampler, guide=guide)
    plain = sampling.draw_images(denoiser, SEEDS, sampler)
    assert not np.array_equal(together, plain)
    for i, seed in enumerate(SEEDS):
        alone = sampling.draw_images(denoiser, [seed], sampler, guide=guide)
        assert np.array_equal(alone[0], together[i])


@pytest.mark.parametrize("by", ["discriminator", "model"])
@pytest.mark.parametrize(
    "settings",
    [
        {"w1": 0, "w2": 0},
        {"w1": 5, "w2": 5, "guidance_scale": 0},
        {"w1": 5, "w2": 5, "guidance_min": 1e4, "guidance_max": 1e5},
    ],
)
def test_no_guidance_is_the_identity(
    small_run: Path, small_discriminator: Path, early: Path, by: str, settings: dict[str, Any]
) -> None:
    denoiser = load_model(small_run)
    files = {"discriminator": small_discriminator, "model": early}
    config = SampleConfig.make({"steps": 4, "guidance": files[by], **settings})
    sampler, guide = build_sampler(config, denoiser.framework), build_guide(config, denoiser)
    latents = rng.ImageNoise(SEEDS)(denoiser.image_shape)
    tools = guide(denoiser)
    guided = list(sampler(tools.denoiser, latents, corrector=tools.corrector))[-1].x
    assert torch.equal(guided, list(sampler(denoiser, latents))[-1].x)


def test_two_processes_make_the_guided_store_that_one_makes(
    small_run: Path, small_discriminator: Path, tmp_path: Path
) -> None:
    how = {"steps": 4, "guidance": small_discriminator, "w1": 3.0, "boost": True}
    alone = sample(small_run, tmp_path / "alone", num=10, config=SampleConfig.make(how))
    options = ["--steps", 4, "--guidance", small_discriminator, "--w1", 3, "--boost"]
    words = ["sample", small_run, "--out", tmp_path / "shared", "-n", 10, "--batch", 3, *options]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = [*launcher, "--master-port", "29532", "-m", "echosweep", *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert alone is not None
    images = np.load(tmp_path / "shared" / "images.npy")
    assert np.array_equal(images, alone.images)
    source = alone.manifest["source"]["sample"]
    assert source["guidance"]["kind"] == "discriminator"
    assert len(source["guidance"]["sha256"]) == 64
    assert source["w1"] == 3.0


def test_known_images_are_taken_over(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sample(small_run, tmp_path / "first", num=6, seed=2, steps=3)
    other = sample(small_run, tmp_path / "other", num=6, seed=2, steps=4)
    whole = sample(small_run, tmp_path / "whole", num=10, steps=3)
    assert first is not None
    assert whole is not None
    drawn: list[int] = []
    draw = sampling.draw_images

    def counted(denoiser: Any, seeds: Any, **settings: Any) -> Any:
        drawn.extend(seeds)
        return draw(denoiser, seeds, **settings)

    monkeypatch.setattr("echosweep.commands.sample.draw_images", counted)
    grown = sample(small_run, tmp_path / "grown", num=10, steps=3, known=first)
    assert grown is not None
    assert grown.content == whole.content
    assert drawn == [0, 1, 8, 9]
    sample(small_run, tmp_path / "again", num=3, steps=3, known=other)
    assert drawn[4:] == [0, 1, 2]


def test_generated_images_carry_their_class(
    small_store: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    run = train(
        small_store,
        tmp_path / "run",
        total_kimg=0.016,
        grid_images=0,
        label="side",
        **small_network,
    )
    drawn = sample(run, tmp_path / "drawn", num=8, steps=2)
    assert drawn is not None
    words = [video.labels["side"] for video in drawn.videos]
    assert set(words) == {"left", "right"}
    given = sample(run, tmp_path / "given", num=8, steps=2, label="left")
    assert given is not None
    assert {video.labels["side"] for video in given.videos} == {"left"}
    same = [np.array_equal(*pair) for pair in zip(drawn.images, given.images, strict=True)]
    assert same == [word == "left" for word in words]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"w1": 5}, "--w1 needs --guidance"),
        ({"boost": True}, "--boost needs --guidance"),
        ({"guidance": "DISC", "boost": True, "sampler": "ode"}, "--sampler heun or euler"),
        ({"guidance": "DISC", "weighting": "constnt"}, "did you mean 'constant'"),
        ({"guidance": "DISC", "guidance_min": 3, "guidance_max": 2}, "must be below"),
        ({"guidance": "EARLY", "guidance_min": 90}, "no noise level is guided from 90 to 80"),
        ({"guidance": "EARLY", "boost": True}, "leave them out, or guide with what"),
        ({"guidance": "EARLY", "weighting": "accuracy"}, "leave them out, or guide with what"),
        ({"guidance": "NOTHING"}, "there is no"),
    ],
)
def test_what_cannot_be_is_refused(
    small_run: Path,
    small_discriminator: Path,
    early: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    message: str,
) -> None:
    files = {"DISC": small_discriminator, "EARLY": early, "NOTHING": tmp_path / "nothing"}
    if "guidance" in settings:
        settings = {**settings, "guidance": files[settings["guidance"]]}
    with pytest.raises(UsageError, match=message):
        sample(small_run, tmp_path / "out", num=2, steps=2, **settings)
    assert not (tmp_path / "out").exists()


def test_guidance_for_other_images_is_refused(
    small_store: Path, small_discriminator: Path, small_network: dict[str, Any], tmp_path: Path
) -> None:
    from echosweep.data.store import Preparation, Video
    from echosweep.data.writer import write_store

    images = np.random.default_rng(0).integers(0, 255, (16, 8, 8), dtype=np.uint8)
    store = write_store(tmp_path / "data", Preparation((8, 8)), [(Video("a"), images)])
    run = train(
        store.path, tmp_path / "run", total_kimg=0.008, grid_images=0, snapshots=1, **small_network
    )
    with pytest.raises(UsageError, match="was trained for another model"):
        sample(run, tmp_path / "out", num=2, steps=2, guidance=small_discriminator)
    with pytest.raises(UsageError, match=r"\(1, 16, 16\), the model makes \(1, 8, 8\)"):
        build_guide(SampleConfig(guidance=small_discriminator), load_model(run))
    with pytest.raises(UsageError, match="holds a discriminator, not a model"):
        sample(small_discriminator, tmp_path / "out", num=2, steps=2)
    with pytest.raises(UsageError, match="holds a model, not a discriminator"):
        load_discriminator(run)


def test_no_config_is_no_guide(small_run: Path) -> None:
    assert build_guide(SampleConfig(), load_model(small_run)) is unguided
