"""What a run of training is."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from echosweep.config.base import (
    Config,
    Device,
    Fraction,
    Free,
    KeyOf,
    Positive,
    PositiveInt,
    Seed,
    check_choice,
    split_at_commas,
)
from echosweep.errors import UsageError


class TrainConfig(Config):
    """Everything that training depends on, besides the images (algorithms: EDM, table F.1)."""

    network: Annotated[str, KeyOf("networks", "NETWORKS")] = Field(
        "ddpmpp", description="architecture"
    )
    framework: Annotated[str, KeyOf("diffusion", "FRAMEWORKS")] = Field(
        "edm", description="training framework"
    )
    total_kimg: Annotated[Positive | None, Free] = Field(
        None, description="stop after this many thousand images"
    )
    budget_hours: Annotated[Positive | None, Free] = Field(
        None, description="stop after this many hours"
    )

    model_channels: PositiveInt | None = Field(None, description="base width; default: preset's")
    channel_mult: tuple[PositiveInt, ...] | None = Field(
        None, description="width factor of each level, as 1,2,2; default: preset's"
    )
    num_blocks: PositiveInt | None = Field(
        None, description="residual blocks per level; default: preset's"
    )
    attention_factors: tuple[PositiveInt, ...] | None = Field(
        None, description="downsampling factors with attention, as 2,4,8; default: preset's"
    )
    num_heads: PositiveInt | None = Field(
        None, description="adm: attention heads; default: one for every 64 channels"
    )
    dropout: Fraction = Field(0.05, description="dropout probability")
    label: str | None = Field(None, description="label of the store to condition on (words only)")

    P_mean: float = Field(-1.2, description="EDM: mean of ln sigma in training")
    P_std: Positive = Field(1.2, description="EDM: standard deviation of ln sigma in training")
    sigma_data: Positive = Field(0.5, description="standard deviation of the data (EDM)")

    batch: PositiveInt = Field(256, description="images per step, over all processes")
    micro_batch: Annotated[PositiveInt | None, Free] = Field(
        None,
        description="images per pass and process (gradient accumulation); default: as many as the "
        "memory takes",
    )
    lr: Positive = Field(2e-4, description="learning rate of Adam")
    warmup_kimg: Annotated[float, Field(ge=0)] = Field(
        500.0, description="linear learning rate warm-up (EDM used 10000)"
    )
    ema_halflife_kimg: Positive = Field(
        500.0, description="half-life of the weights' average, in thousand images"
    )
    ema_rampup: Annotated[float, Field(ge=0)] = Field(
        0.05, description="half-life is at most this share of the images seen; 0: no ramp-up"
    )
    posthoc_ema: bool = Field(
        False,
        description="also keep what averages of any length are made of after training "
        "(two more copies of the weights)",
    )
    seed: Seed = Field(0, description="seed of weights, order and noise")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="autocast of the network; auto: bf16 on a GPU, fp32 on a CPU"
    )
    compile: Annotated[Literal["auto", "on", "off"], Free] = Field(
        "auto", description="compile the network; auto: on a GPU, from 5,000 steps or an hour on"
    )
    split: str = Field("train", description="split of the store to train on, or all")

    snapshots: Annotated[PositiveInt, Free] = Field(
        10, description="averaged weights and sample grids kept, evenly over the run"
    )
    checkpoint_minutes: Annotated[Positive, Free] = Field(
        10.0, description="time between resumable checkpoints"
    )
    grid_images: Annotated[int, Field(ge=0), Free] = Field(
        16, description="images in each sample grid; 0: no grids"
    )
    grid_steps: Annotated[int, Field(ge=2), Free] = Field(
        18, description="sampler steps of the grids"
    )

    _lists = field_validator("channel_mult", "attention_factors", mode="before")(split_at_commas)

    @field_validator("split")
    @classmethod
    def _known_split(cls, name: str) -> str:
        return check_choice("split", name, ("train", "val", "test", "all"))

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.total_kimg is None and self.budget_hours is None:
            raise UsageError("give --total-kimg or --budget-hours: training needs an end")
        return self

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide what is computed: equal ones may continue each other."""
        # Without it a run is one of those made before this setting was there.
        unused = set() if self.posthoc_ema else {"posthoc_ema"}
        return self.model_dump(mode="json", exclude=self.free() | unused)


class TrainOptions(TrainConfig):
    """Every option of `echosweep train`."""

    device: Device = None
    tensorboard: Annotated[bool, Free] = Field(
        False, description="also write TensorBoard logs (extra: tb)"
    )
