"""The discriminator on ADM's classifier: what its encoder is given, and its file."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from echosweep.config import DiscriminatorConfig
from echosweep.diffusion.denoiser import Denoiser
from echosweep.diffusion.discriminators import Discriminator, Model, find_classifier
from echosweep.diffusion.discriminators.classifier_features import (
    ClassifierFeatures,
    classifier_features,
)
from echosweep.errors import EchoSweepError, UsageError
from echosweep.networks.adm_classifier import AdmClassifier
from echosweep.published import CLASSIFIER


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the published layout; its tensors share one number each, so it is small."""
    with torch.device("meta"):
        shapes = AdmClassifier().published_layout() | {"out.2.c_proj.bias": (1000,)}
    path = tmp_path_factory.mktemp("weights") / "64x64_classifier.pt"
    torch.save({k: torch.tensor(0.01).expand(shape) for k, shape in shapes.items()}, path)
    return path


def build(shape: tuple[int, int, int], path: Path | None = None) -> Discriminator:
    def no_denoiser() -> Denoiser:
        raise AssertionError("it builds on no denoiser")

    config = DiscriminatorConfig(kind="classifier-features", classifier=path)
    return classifier_features(config, Model(shape, no_denoiser, no_denoiser))


def cosine_sigmas() -> Tensor:
    """Sigma of timesteps 0..999 of the cosine schedule (Nichol & Dhariwal 2021, equation 17)."""

    def f(i: int) -> float:
        return math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = torch.tensor([min(1 - f(i + 1) / f(i), 0.999) for i in range(1000)]).double()
    return (1 / (1 - betas).cumprod(0) - 1).sqrt()


def test_the_encoder_is_told_what_its_training_told_it() -> None:
    """Images at unit variance in three channels, and the step of the cosine schedule."""
    with torch.device("meta"):
        features = ClassifierFeatures()
    seen: list[tuple[Tensor, Tensor]] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            seen.append((x, timesteps))
            return x

    features.classifier = Spy()  # type: ignore[assignment]
    x, steps = torch.randn(5, 1, 8, 8), torch.tensor([0, 1, 500, 990, 998])
    sigma = cosine_sigmas()[steps].float()
    features(x, sigma)
    given, timesteps = seen[0]
    assert timesteps.tolist() == steps.tolist()
    expected = x / (1 + sigma**2).sqrt()[:, None, None, None]
    torch.testing.assert_close(given, expected.repeat(1, 3, 1, 1))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 8, 24)])
def test_it_takes_grey_and_colour_of_any_multiple_of_8(shape: tuple[int, int, int]) -> None:
    discriminator = build(shape).eval()
    x = torch.randn(2, *shape, requires_grad=True)
    log_ratio = discriminator(x, torch.tensor([0.01, 140.0]))
    assert log_ratio.shape == (2,)
    assert log_ratio.dtype == torch.float32
    (gradient,) = torch.autograd.grad(log_ratio.sum(), x)
    assert gradient.shape == x.shape
    assert sum(t.numel() for t in discriminator.trained_state().values()) == (
        2_883_841 - 128 * (64 - shape[1] * shape[2] // 64)
    )


def test_a_size_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(UsageError, match=r"60x64 .* 56x64 and 64x64"):
        build((1, 60, 64))


def test_the_file_s_weights_are_taken_and_stay(file: Path) -> None:
    discriminator = build((1, 8, 8), file)
    frozen = discriminator.frozen_state()
    assert frozen
    assert all(bool((tensor == 0.01).all()) for tensor in frozen.values())
    assert not any(p.requires_grad for p in discriminator.features.parameters())


def test_the_file_may_come_from_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CLASSIFIER.variable, str(file))
    assert find_classifier(None) == file


@pytest.mark.parametrize("given", [None, Path("nowhere.pt")])
def test_a_missing_file_says_where_to_get_it(
    given: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CLASSIFIER.variable, raising=False)
    with pytest.raises(
        UsageError, match=r"jul-2021/64x64_classifier\.pt .*--classifier PATH .*--kind encoder"
    ):
        find_classifier(given)


def test_another_file_is_refused(tmp_path: Path) -> None:
    other, text = tmp_path / "other.pt", tmp_path / "text.pt"
    torch.save({"time_embed.0.weight": torch.zeros(512, 128)}, other)
    text.write_text("no weights")
    with pytest.raises(EchoSweepError, match=r"other\.pt: it has no tensor input_blocks"):
        find_classifier(other)
    with pytest.raises(EchoSweepError, match="no weights file that can be read safely"):
        find_classifier(text)
