"""One frozen, typed value per run: checked when made, hashed, written, read back.

What a run computes is a function of its config and its data, so a config has a signature and equal
signatures mean equal work. A bad value says what it was, what is allowed and what to write.
Nothing here imports torch: names are checked against the registries' source text.
"""

import ast
import difflib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from echosweep import runs
from echosweep.errors import UsageError

_PACKAGE = Path(__file__).parent


@cache
def registered(package: str, registry: str) -> tuple[str, ...]:
    """Return the keys of the literal dict `registry` in `echosweep/package/__init__.py`.

    Read from the source, so that choices are known in milliseconds, before torch is imported.
    """
    tree = ast.parse((_PACKAGE / package / "__init__.py").read_bytes())
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == registry for t in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert isinstance(node.value, ast.Dict)
            return tuple(ast.literal_eval(key) for key in node.value.keys if key is not None)
    raise AssertionError(f"no literal dict {registry} in {package}/__init__.py")


def nearest(name: str, allowed: tuple[str, ...] | list[str]) -> str:
    """Return "; did you mean 'x'?" where an allowed name is close to `name`, else ""."""
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_choice(what: str, name: str, allowed: tuple[str, ...] | list[str]) -> str:
    """Return `name` if it is allowed; raise UsageError with the choices and the nearest one."""
    if name in allowed:
        return name
    raise UsageError(f"{what} {name!r} is not known{nearest(name, allowed)} ({', '.join(allowed)})")


class Registry(NamedTuple):
    """Marks a field whose value is a key, or a tuple of keys, of that registry."""

    package: str
    name: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the names that the field may have."""
        return registered(self.package, self.name)


class Config(BaseModel):
    """The base of every config: frozen, no unknown field, one-line errors with the fix."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def make(cls, values: Mapping[str, Any], where: str = "option") -> Self:
        """Return the config of `values`; raise UsageError that names each wrong one and the fix."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise UsageError("; ".join(cls._explain(e, where) for e in error.errors())) from None

    @classmethod
    def merge(cls, config: Self | None, settings: Mapping[str, Any]) -> Self:
        """Return `config`, or the default one, with `settings` on top."""
        given = config.model_dump(exclude_unset=True) if config else {}
        return cls.make({**given, **settings})

    @model_validator(mode="after")
    def _check_registered(self) -> Self:
        for name, field in type(self).model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, Registry):
                    value = getattr(self, name) or ()
                    for chosen in (value,) if isinstance(value, str) else value:
                        check_choice(name, chosen, mark.keys)
        return self

    @classmethod
    def _explain(cls, error: Any, where: str) -> str:
        path = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            allowed = list(cls.model_fields)
            hint = nearest(path, allowed) or f"; known: {', '.join(allowed)}"
            return f"unknown {where} {path!r}{hint}"
        message = error["msg"].removeprefix("Value error, ")
        return f"{where} {path} = {error['input']!r}: {message}" if path else message

    @classmethod
    def read(cls, path: str | Path, **overrides: Any) -> Self:
        """Read a config from a YAML file, `overrides` on top."""
        return cls.make(read_yaml(path) | overrides, where=f"option in {path}:")

    def write(self, path: Path) -> None:
        """Write the config to `path` as YAML, atomically."""
        import yaml

        runs.write_text(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; raise UsageError where there is none."""
    import yaml  # here, not above: `--help` need not wait for it

    try:
        values = yaml.safe_load(Path(path).read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold `name: value` lines, not {type(values).__name__}")
    return {str(name): value for name, value in values.items()}


def _split_at_commas(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class TrainConfig(Config):
    """Everything that training depends on, besides the images (algorithms: EDM, table F.1)."""

    network: Annotated[str, Registry("networks", "NETWORKS")] = Field(
        "ddpmpp", description="architecture"
    )
    framework: Annotated[str, Registry("diffusion", "FRAMEWORKS")] = Field(
        "edm", description="training framework"
    )
    total_kimg: Positive | None = Field(None, description="stop after this many thousand images")
    budget_hours: Positive | None = Field(None, description="stop after this many hours")

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
    micro_batch: PositiveInt | None = Field(
        None, description="images per pass and process (gradient accumulation); default: all"
    )
    lr: Positive = Field(2e-4, description="learning rate of Adam")
    warmup_kimg: Annotated[float, Field(ge=0)] = Field(
        500.0, description="linear learning rate warm-up (EDM used 10000)"
    )
    ema_halflife_kimg: Positive = Field(500.0, description="half-life of the weights' average")
    ema_rampup: Annotated[float, Field(ge=0)] = Field(
        0.05, description="half-life is at most this share of the images seen; 0: no ramp-up"
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="seed of weights, order and noise"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="autocast of the network; auto: bf16 on a GPU, fp32 on a CPU"
    )
    split: str = Field("train", description="split of the store to train on, or all")

    snapshots: PositiveInt = Field(
        10, description="averaged weights and sample grids kept, evenly over the run"
    )
    checkpoint_minutes: Positive = Field(10.0, description="time between resumable checkpoints")
    grid_images: Annotated[int, Field(ge=0)] = Field(
        16, description="images in each sample grid; 0: no grids"
    )
    grid_steps: Annotated[int, Field(ge=2)] = Field(18, description="sampler steps of the grids")

    # How long, and what is kept on the way, can change between two calls of one run.
    _FREE: ClassVar = (
        *("total_kimg", "budget_hours", "micro_batch", "snapshots", "checkpoint_minutes"),
        *("grid_images", "grid_steps"),
    )

    _lists = field_validator("channel_mult", "attention_factors", mode="before")(_split_at_commas)

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
        return {k: v for k, v in self.model_dump(mode="json").items() if k not in self._FREE}


class SampleConfig(Config):
    """How images are drawn: equal configs, weights and seeds give equal images."""

    sampler: Annotated[str, Registry("diffusion/samplers", "SAMPLERS")] = Field(
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
    label: str | None = Field(None, description="class to draw; default: every class alike")


class FeatureConfig(Config):
    """What images are compared by. Equal configs and weights give features that may be compared."""

    features: Annotated[tuple[str, ...] | None, Registry("evaluation", "EXTRACTORS")] = Field(
        None,
        description="what images are compared by, several with commas; only inception with 2048 "
        "features gives a FID; default: inception, and dinov2 where its weights are known",
    )
    inception: Path | None = Field(
        None, description="Inception weights; default: the file named by ECHOSWEEP_INCEPTION"
    )
    dinov2: Path | None = Field(
        None, description="DINOv2 weights; default: the file named by ECHOSWEEP_DINOV2"
    )
    dims: PositiveInt | None = Field(
        None, description="Inception features: 64, 192, 768 or 2048; default: most the file gives"
    )
    resize: str = Field("edm", description="Inception input: edm, pytorch-fid or clean")
    allow_unknown_weights: bool = Field(
        False, description="use Inception weights whose SHA-256 is not known"
    )
    cache: Path | None = Field(
        None, description="folder of cached features; default: ~/.cache/echosweep"
    )
    device: str | None = Field(
        None, description="cpu, cuda, cuda:1, ...; default: a GPU where there is one"
    )

    _lists = field_validator("features", mode="before")(_split_at_commas)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Return the extractors to use. Raises UsageError for options that none of them takes."""
        known = self.dinov2 or os.environ.get("ECHOSWEEP_DINOV2")
        chosen = self.features or (("inception", "dinov2") if known else ("inception",))
        if "inception" not in chosen and (self.inception or self.resize != "edm"):
            raise UsageError(
                f"--inception and --resize belong to --features inception; {', '.join(chosen)} "
                "has its own weights and resize: leave them out"
            )
        if "dinov2" not in chosen and self.dinov2:
            raise UsageError("--dinov2 belongs to --features dinov2: add it, or leave --dinov2 out")
        return chosen
