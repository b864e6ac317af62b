"""Parts of a candidate: made once, by one process or by several."""

from pathlib import Path

import numpy as np

from echosweep.commands.sample import sample
from echosweep.config import FeatureConfig
from echosweep.data.store import FrameStore
from echosweep.progress import hidden
from echosweep.study.candidate import Candidate
from echosweep.study.trial import Trial
from echosweep.study.workshop import Workshop


def test_several_processes_train_and_draw_what_one_draws(
    small_study: tuple[Path, list[Trial]], small_store: Path, tmp_path: Path
) -> None:
    study, trials = small_study
    candidate = Candidate.make(trials[0].params["candidate"])
    workshop = Workshop(study, small_store, FeatureConfig(), 2, hidden)
    together = FrameStore.open(workshop.images(candidate, 10, 3))
    model = workshop.weights(candidate).with_suffix(".safetensors")
    alone = sample(model, tmp_path / "alone", num=10, seed=3, config=candidate.sample)
    assert alone is not None
    np.testing.assert_array_equal(together.images, alone.images)
    assert together.content == alone.content


def test_a_smaller_budget_asked_for_later_is_trained_aside(
    small_study: tuple[Path, list[Trial]], small_store: Path
) -> None:
    study, trials = small_study
    workshop = Workshop(study, small_store, FeatureConfig(), 1, hidden)
    whole = Candidate.make(trials[0].params["candidate"])
    half = whole.changed({"train.total_kimg": 0.08})
    kept = workshop.weights(whole).with_suffix(".safetensors").read_bytes()
    later = workshop.weights(half).with_suffix(".safetensors").read_bytes()
    assert workshop.weights(whole).with_suffix(".safetensors").read_bytes() == kept != later
    assert len(list((study / "runs").iterdir())) == 2
    averaged = workshop.weights(half.changed({"ema": 0.1}))
    assert averaged.with_suffix(".safetensors").exists()
    assert len(list((study / "runs").iterdir())) == 2
