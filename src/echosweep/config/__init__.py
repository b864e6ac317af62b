"""One frozen, typed value per run; each kind of run has a module of its own.

Nothing here imports torch: names are checked against the registries' source text.
"""

from echosweep.config.base import (
    Config,
    Registry,
    check_choice,
    registered,
)
from echosweep.config.discriminator import DiscriminatorConfig
from echosweep.config.features import FeatureConfig
from echosweep.config.messages import changes, nearest
from echosweep.config.prepare import PrepareConfig
from echosweep.config.sample import SampleConfig
from echosweep.config.train import TrainConfig
from echosweep.config.yaml_files import read_yaml as read_yaml

__all__ = [
    "Config",
    "DiscriminatorConfig",
    "FeatureConfig",
    "PrepareConfig",
    "Registry",
    "SampleConfig",
    "TrainConfig",
    "changes",
    "check_choice",
    "nearest",
    "read_yaml",
    "registered",
]
