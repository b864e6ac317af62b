"""One frozen, typed value per run; each command has a module of its own.

A `...Config` decides results, a `...Options` is every option of a command. Nothing here imports
torch: names are checked against the registries' source text.
"""

from echosweep.config.base import (
    Config,
    Free,
    KeyOf,
    Repeated,
    Spelling,
    check_choice,
    registered,
)
from echosweep.config.choose_epoch import ChooseEpochOptions
from echosweep.config.copies import CopiesOptions
from echosweep.config.discriminator import DiscriminateOptions, DiscriminatorConfig
from echosweep.config.ema import EmaOptions
from echosweep.config.evaluate import EvaluateOptions
from echosweep.config.export import ExportOptions
from echosweep.config.features import FeatureConfig, FeatureOptions
from echosweep.config.floor import FloorOptions
from echosweep.config.messages import changes, nearest
from echosweep.config.phantom import PhantomOptions
from echosweep.config.prepare import PrepareConfig, PrepareOptions
from echosweep.config.sample import SampleConfig, SampleOptions, guidance_weights
from echosweep.config.shift import ShiftOptions
from echosweep.config.study import StudyOptions
from echosweep.config.train import TrainConfig, TrainOptions
from echosweep.config.utility import UtilityOptions
from echosweep.config.yaml_files import read_yaml

__all__ = [
    "ChooseEpochOptions",
    "Config",
    "CopiesOptions",
    "DiscriminateOptions",
    "DiscriminatorConfig",
    "EmaOptions",
    "EvaluateOptions",
    "ExportOptions",
    "FeatureConfig",
    "FeatureOptions",
    "FloorOptions",
    "Free",
    "KeyOf",
    "PhantomOptions",
    "PrepareConfig",
    "PrepareOptions",
    "Repeated",
    "SampleConfig",
    "SampleOptions",
    "ShiftOptions",
    "Spelling",
    "StudyOptions",
    "TrainConfig",
    "TrainOptions",
    "UtilityOptions",
    "changes",
    "check_choice",
    "guidance_weights",
    "nearest",
    "read_yaml",
    "registered",
]
