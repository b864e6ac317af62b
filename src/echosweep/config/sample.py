"""How images are drawn, and what guides them."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from echosweep.config.base import (
    Config,
    Device,
    Free,
    KeyOf,
    Positive,
    PositiveInt,
    Repeated,
    Spelling,
)
from echosweep.errors import UsageError


def guidance_weights(
    w1: float | None, w2: float | None, discriminator: bool
) -> tuple[float, float]:
    """Return the weights on both evaluations of a step, where none is given the usual one.

    The usual w2 is 0 with a discriminator (Kim et al. 2023) and w1 with a weaker model.
    """
    first = 1.0 if w1 is None else w1
    usual = 0.0 if discriminator else first
    return first, usual if w2 is None else w2


class SampleConfig(Config):
    """How images are drawn: equal configs, weights and seeds give equal images."""

    sampler: Annotated[str, KeyOf("diffusion/samplers", "SAMPLERS")] = Field(
        "heun", description="sampler"
    )
    steps: Annotated[int, Field(ge=2)] = Field(30, description="time steps; Heun: NFE 2 steps - 1")
    sigma_min: Positive | None = Field(None, description="last noise level; default: framework's")
    sigma_max: Positive | None = Field(None, description="first noise level; default: framework's")
    rho: Positive = Field(7.0, description="exponent of the time steps")
    S_churn: Annotated[float, Field(ge=0)] = Field(0.0, description="heun: stochasticity")
    S_min: Annotated[float, Field(ge=0)] = Field(0.0, description="heun: churn from this sigma on")
    S_max: Positive = Field(1e9, description="heun: churn up to this sigma")
    S_noise: Positive = Field(1.0, description="heun: factor on the churned noise")
    solver: Literal["euler", "heun"] | None = Field(None, description="ode: solver")
    discretization: Literal["vp", "ve", "iddpm", "edm"] | None = Field(
        None, description="ode: time steps; default: framework's"
    )
    schedule: Literal["vp", "ve", "linear"] | None = Field(
        None, description="ode: noise schedule; default: framework's"
    )
    scaling: Literal["vp", "none"] | None = Field(
        None, description="ode: signal scaling; default: framework's"
    )
    sampler_setting: Annotated[tuple[str, ...], Repeated] = Field(
        (),
        description="setting of a sampler of another package, as beta=0.5; may be given again",
    )
    label: str | None = Field(None, description="class to draw; default: every class alike")
    precision: Literal["auto", "fp32", "tf32", "bf16"] = Field(
        "auto", description="of the network; auto: bf16 on a GPU, fp32 on a CPU"
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="compile the network; auto: on a GPU, where there is enough to draw"
    )

    guidance: Path | None = Field(
        None,
        description="discriminator (its folder, or an epoch in it), or the run of a weaker model: "
        "autoguidance",
    )
    w1: float | None = Field(
        None, description="guidance: weight on the first evaluation of a step [default: 1]"
    )
    w2: float | None = Field(
        None,
        description="guidance: weight on Heun's correction "
        "[default: 0 with a discriminator, w1 with a model]",
    )
    boost: bool = Field(
        False, description="discriminator: treat samples that look generated harder"
    )
    guidance_scale: float | None = Field(
        None, description="guidance: factor on w1 and w2 [default: 1]"
    )
    weighting: Annotated[str | None, KeyOf("diffusion/guidance", "WEIGHTINGS")] = Field(
        None, description="guidance: how the weight varies with sigma [default: constant]"
    )
    guidance_min: Positive | None = Field(
        None, description="guidance: from this sigma on [default: 0.0447 with a discriminator]"
    )
    guidance_max: Positive | None = Field(
        None, description="guidance: up to this sigma [default: 152.17 with a discriminator]"
    )

    GUIDANCE: ClassVar = (
        *("guidance", "w1", "w2", "boost", "guidance_scale", "weighting"),
        *("guidance_min", "guidance_max"),
    )
    COMPUTE: ClassVar = ("precision", "compile")

    @property
    def settings(self) -> dict[str, float]:
        """Return the settings of the sampler that no field is for, by name."""
        pairs = (setting.partition("=") for setting in self.sampler_setting)
        return {name: float(value) for name, _, value in pairs}

    @field_validator("sampler_setting")
    @classmethod
    def _are_pairs(cls, settings: tuple[str, ...]) -> tuple[str, ...]:
        for setting in settings:
            name, _, value = setting.partition("=")
            try:
                float(value)
            except ValueError:
                name = ""
            if not name.isidentifier():
                raise ValueError(f"{setting!r} must be NAME=NUMBER, as beta=0.5")
        return settings

    @model_validator(mode="after")
    def _guidance_is_there(self) -> Self:
        given = [name for name in self.GUIDANCE if getattr(self, name) not in (None, False)]
        if given and self.guidance is None:
            flag = "--" + given[0].replace("_", "-")
            raise UsageError(f"{flag} needs --guidance: a discriminator, or a weaker model's run")
        if self.boost and self.sampler == "ode":
            raise UsageError(
                "--boost churns noise, which sampler 'ode' cannot; choose --sampler heun or euler, "
                "or leave --boost out"
            )
        low, high = self.guidance_min or 0, self.guidance_max or float("inf")
        if low >= high:
            raise UsageError(f"--guidance-min {low:g} must be below --guidance-max {high:g}")
        return self

    def plain(self) -> dict[str, Any]:
        """Return the fields as JSON, without those of guidance where there is none.

        How the network is computed is named where it is asked for: auto depends on the machine.
        """
        values = self.model_dump(mode="json")
        left_out = {*(() if self.guidance else self.GUIDANCE)}
        # Without it a store is one of those made before this setting was there.
        left_out |= set() if self.sampler_setting else {"sampler_setting"}
        left_out |= {name for name in self.COMPUTE if values[name] == "auto"}
        return {name: value for name, value in values.items() if name not in left_out}


_SEEDS = 2**31  # the index of a store keeps those below


class SampleOptions(SampleConfig):
    """Every option of `echosweep sample`."""

    num: Annotated[PositiveInt, Spelling("-n")] = Field(50_000, description="number of images")
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="image i has seed SEED + i, and depends on that alone"
    )
    batch: Annotated[PositiveInt, Free] = Field(
        64, description="images at a time; changes no image"
    )
    grid: Annotated[Path | None, Free] = Field(
        None,
        description="PNG of the first images; an older PNG there is replaced, any other file is "
        "refused",
    )
    device: Device = None

    @model_validator(mode="after")
    def _seeds_are_kept(self) -> Self:
        if self.seed + self.num > _SEEDS:
            raise UsageError(
                f"--seed {self.seed} + --num {self.num} is more than {_SEEDS}; choose smaller ones"
            )
        return self
