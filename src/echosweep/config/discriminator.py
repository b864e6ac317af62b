"""What the training of a discriminator is."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from echosweep.config.base import Config, Device, Fraction, Free, KeyOf, Positive, PositiveInt, Seed
from echosweep.errors import UsageError

NotNegative = Annotated[float, Field(ge=0)]


class DiscriminatorConfig(Config):
    """Everything that a discriminator depends on, besides its images and the model it guides.

    Defaults are those of Kim et al. 2023 (arXiv 2211.17091).
    """

    kind: Annotated[str, KeyOf("diffusion/discriminators", "DISCRIMINATORS")] = Field(
        "encoder", description="what looks at the images"
    )
    classifier: Annotated[Path | None, Free] = Field(
        None, description="classifier-features: weights of ADM's ImageNet classifier"
    )
    epochs: Annotated[PositiveInt, Free] = Field(50, description="passes over the generated images")
    patience: Annotated[int, Field(ge=0), Free] = Field(
        10, description="stop after this many epochs without a better held-out loss; 0: never"
    )
    batch: Annotated[int, Field(ge=2, multiple_of=2)] = Field(
        128, description="images per step, half of them real, over all processes"
    )
    lr: Positive = Field(3e-4, description="learning rate of Adam")
    weight_decay: NotNegative = Field(1e-7, description="weight decay of Adam")
    objective: Annotated[str, KeyOf("training", "OBJECTIVES")] = Field(
        "cross-entropy", description="what training lowers"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="real images count as 1 - this, generated ones as this"
    )
    augment: Fraction = Field(
        0.0, description="probability of a random flip and shift, of real and generated alike"
    )
    dropout: Fraction = Field(0.0, description="dropout probability")
    r1: NotNegative = Field(0.0, description="penalty on the gradient at real images")
    spectral_norm: bool = Field(False, description="spectral normalisation of every trained layer")
    held_out: Annotated[int, Field(ge=2)] = Field(
        512, description="images of each side, at most, that accuracy is measured on"
    )
    seed: Seed = Field(0, description="seed of weights, order and noise")

    @model_validator(mode="after")
    def _classifier_has_weights(self) -> "DiscriminatorConfig":
        if self.classifier and self.kind != "classifier-features":
            raise UsageError(
                f"--classifier: --kind {self.kind} has no such weights; leave it out, or choose "
                "--kind classifier-features"
            )
        return self


class DiscriminateOptions(DiscriminatorConfig):
    """Every option of `echosweep discriminate`."""

    device: Device = None
