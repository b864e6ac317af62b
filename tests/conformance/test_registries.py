"""The names that the command line offers are those that the code has."""

from importlib import import_module

import pytest

from echosweep.config import registered

REGISTRIES = [
    ("networks", "NETWORKS"),
    ("diffusion", "FRAMEWORKS"),
    ("diffusion/samplers", "SAMPLERS"),
    ("diffusion/guidance", "WEIGHTINGS"),
    ("diffusion/discriminators", "DISCRIMINATORS"),
    ("training", "OBJECTIVES"),
    ("data", "SOURCES"),
    ("evaluation", "EXTRACTORS"),
    ("evaluation", "METRICS"),
    ("evaluation", "CLASSIFIERS"),
    ("export", "FORMATS"),
    ("study", "STAGES"),
    ("study", "STRATEGIES"),
    ("study", "BACKENDS"),
    ("study/tasks", "TASKS"),
]


@pytest.mark.parametrize(("package", "name"), REGISTRIES)
def test_keys_read_from_source_are_the_registry(package: str, name: str) -> None:
    module = import_module("echosweep." + package.replace("/", "."))
    assert registered(package, name) == tuple(getattr(module, name))
