"""A study small enough to be run in tests: the small store, networks of a few thousand weights."""

from pathlib import Path
from typing import Any

import pytest

from echosweep.study.candidate import Candidate
from echosweep.study.checks import check
from echosweep.study.launch import claim
from echosweep.study.recipe import Recipe
from echosweep.study.trial import Trial, put


@pytest.fixture(scope="session")
def small_recipe(small_network: dict[str, Any]) -> dict[str, Any]:
    """A recipe of two stages whose trials take about a second each."""
    return {
        "name": "small",
        "about": "for tests",
        "features": {"features": ["random"]},
        "select": {"split": "val", "num": 16},
        "report": {"split": "test", "num": 24},
        "gpus": 0,
        "base": {
            "train": {
                **small_network,
                "total_kimg": 0.16,
                "snapshots": 2,
                "grid_images": 0,
                "posthoc_ema": True,
            },
            "sample": {"steps": 3},
        },
        "stages": [
            {
                "name": "networks",
                "space": {"train.framework": ["edm", "vp"], "train.lr": [5e-3, 1e-3]},
            },
            {"name": "sampler", "space": {"sample.steps": [2, 4]}, "choose": "knee"},
        ],
    }


@pytest.fixture
def small_study(
    tmp_path: Path, small_store: Path, small_recipe: dict[str, Any]
) -> tuple[Path, list[Trial]]:
    """The folder of a study that has not begun, and four of its trials."""
    from echosweep.data.store import FrameStore

    recipe = Recipe.make(small_recipe)
    check(recipe)
    study = tmp_path / "study"
    claim(study, recipe, FrameStore.open(small_store))
    chooses = {"num": 16, "seed": 0, "split": "val"}
    trials = []
    for steps in (2, 3, 4, 5):
        candidate = Candidate.make(recipe.base.model_dump()).changed({"sample.steps": steps})
        trials.append(Trial("measure", {"candidate": candidate.task(), **chooses}))
        put(study, trials[-1])
    return study, trials
