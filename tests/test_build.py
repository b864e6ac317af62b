from typing import Any

import pytest
import torch

from echosweep.build import build_denoiser, build_extractors, build_sampler
from echosweep.config import FeatureConfig, SampleConfig, TrainConfig
from echosweep.data.store import Preparation
from echosweep.diffusion import FRAMEWORKS
from echosweep.diffusion.samplers import SamplerStep
from echosweep.errors import UsageError


def config(**settings: Any) -> TrainConfig:
    return TrainConfig.make({"total_kimg": 1, "network": "ddpmpp-tiny", **settings})


def test_settings_reach_the_network_and_the_framework() -> None:
    denoiser = build_denoiser(
        config(network="adm-tiny", model_channels=32, num_heads=2, P_mean=-0.5, sigma_data=0.3),
        Preparation((16, 24), channels=3),
        classes=("a", "b"),
    )
    assert denoiser.image_shape == (3, 16, 24)
    assert denoiser.label_dim == 2
    assert denoiser.sigma_data == 0.3
    assert denoiser.framework.settings["P_mean"] == -0.5


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        ({"num_heads": 2}, 16, "'ddpmpp-tiny' has no num_heads"),
        ({"attention_factors": "3"}, 16, "choose from"),
        ({"network": "adm-small"}, 100, "96"),
        ({"network": "adm", "model_channels": 16}, 64, "num_heads"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(
    settings: dict[str, Any], size: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build_denoiser(config(**settings), Preparation((size, size)))


def test_ode_takes_the_framework_s_own_settings_unless_told() -> None:
    vp = FRAMEWORKS["vp"]

    class Gaussian:
        sigma_min, sigma_max = vp.sigma_min, vp.sigma_max
        round_sigma = staticmethod(vp.round_sigma)

        def __call__(self, x: torch.Tensor, sigma: torch.Tensor, labels: None) -> torch.Tensor:
            return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2)

    def first(**settings: Any) -> SamplerStep:
        sampler = build_sampler(SampleConfig.make({"sampler": "ode", "steps": 4, **settings}), vp)
        return next(iter(sampler(Gaussian(), torch.ones(1, 1, 2, 2))))

    own = first()
    assert own.sigma == first(discretization="vp", schedule="vp", scaling="vp").sigma
    assert own.sigma != first(discretization="edm").sigma


def test_features_in_fp16_are_refused_on_a_cpu() -> None:
    config = FeatureConfig.make({"features": "random"})
    assert build_extractors(config, "cpu")[0].precision == "fp32"
    with pytest.raises(UsageError, match="--feature-precision fp16 needs a GPU"):
        build_extractors(config.model_copy(update={"feature_precision": "fp16"}), "cpu")
