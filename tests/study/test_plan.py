import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echosweep.config import FeatureConfig
from echosweep.data.store import FrameStore
from echosweep.errors import UsageError
from echosweep.progress import hidden
from echosweep.study import timings as timing
from echosweep.study.candidate import Candidate
from echosweep.study.plan import check_disk, makespan, plan, plan_trials, print_plan
from echosweep.study.recipe import Recipe
from echosweep.study.timings import Data, Timings, start
from echosweep.study.trial import Trial
from echosweep.study.trial_costs import TrialCosts
from echosweep.training.batches import class_names

TRAIN = {"network": "ddpmpp-tiny", "model_channels": 8, "batch": 8, "total_kimg": 0.9}
TRAIN |= {"snapshots": 2, "grid_images": 0}
STAGES: list[dict[str, Any]] = [
    {"name": "floor", "stage": "floor"},
    {
        "name": "networks",
        "space": {"train.framework": ["edm", "vp", "ve"], "train.lr": [1e-3, 1e-4, 1e-5]},
        "strategy": "halving",
    },
    {"name": "sampler", "space": {"sample.steps": [4, 8]}},
    {
        "name": "guidance",
        "set": {"sample.guidance": "autoguidance"},
        "space": {"sample.w1": [0.5, 1.0]},
        "baseline": True,
    },
    {"name": "shift", "stage": "shift", "classifiers": ["linear"], "epochs": 2, "repeats": 1},
    {"name": "final", "stage": "final", "rate": 0.05},
]


def make_recipe(stages: list[dict[str, Any]], **values: Any) -> Recipe:
    return Recipe.make(
        {
            "name": "small",
            "about": "a test",
            "features": {"features": ["random"]},
            "select": {"num": 8},
            "report": {"num": 8},
            "gpus": 0,
            "base": {"train": TRAIN, "sample": {"steps": 4}},
            "stages": stages,
            **values,
        }
    )


@pytest.fixture(scope="module")
def timings(small_store: Path) -> Timings:
    store = FrameStore.open(small_store)
    counts = {split: len(store.rows(split)) for split in ("train", "val", "test")}
    data = Data(store.preparation, counts, partial(class_names, store))
    made = Timings(data, FeatureConfig(features=("random",)), torch.device("cpu"), 0, hidden)
    made.learn([candidate().train])
    return made


def candidate(**changes: Any) -> Candidate:
    base = Candidate.make({"train": TRAIN, "sample": {"steps": 4}})
    return base.changed({path.replace("__", "."): value for path, value in changes.items()})


def measure(one: Candidate, num: int = 16) -> Trial:
    return Trial("measure", {"candidate": one.task(), "num": num, "seed": 0, "split": "val"})


def test_every_trial_that_a_study_will_ask_for_is_rehearsed() -> None:
    acts = {act.name: act.steps for act in plan_trials(make_recipe(STAGES))}
    assert {name: len(steps) for name, steps in acts.items()} == {
        **{"floor": 1, "networks": 9 + 3 + 1, "sampler": 2, "guidance": 3, "shift": 1, "final": 2}
    }
    kimg = [step.trial.params["candidate"]["train"]["total_kimg"] for step in acts["networks"]]
    assert kimg == pytest.approx([0.1] * 9 + [0.3] * 3 + [0.9])
    assert [step.round for step in acts["networks"]] == [1] * 9 + [2] * 3 + [3]
    assert [step.label for step in acts["sampler"]] == ["steps 4", "steps 8"]


def test_what_hangs_on_a_choice_is_assumed_and_guidance_is_counted() -> None:
    acts = {act.name: act.steps for act in plan_trials(make_recipe([*STAGES[1:], STAGES[0]]))}
    assert [step.assumed for step in acts["networks"]] == [False] * 9 + [True] * 4
    assert all(step.assumed for name in ("sampler", "guidance", "final") for step in acts[name])
    assert not acts["floor"][0].assumed
    # The baseline loses, so what is reported is guided, and has a control.
    guided, control = (step.trial.params["candidate"]["sample"] for step in acts["final"])
    assert guided["guidance"] == "autoguidance"
    assert "guidance" not in control


def test_a_recipe_that_cannot_run_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown field 'train\.netwrok'"):
        plan_trials(make_recipe([{"name": "networks", "space": {"train.netwrok": ["adm"]}}]))


def test_a_trial_is_the_sum_of_its_parts(timings: Timings) -> None:
    one = candidate()
    network = timings.network(one.train)
    cost = TrialCosts(timings).cost(measure(one))
    held_out = timings.data.images["val"]
    training = 900 * network.training + 3 * held_out * network.evaluation
    sampling = 16 * 7 * network.evaluation
    features = (16 + 16) * timings.features
    assert cost.seconds == pytest.approx(start() + training + sampling + features)
    weights = (3 + 1 + 2 * 4) * network.parameters * 4  # snapshots, the end, two checkpoints
    assert cost.disk == pytest.approx(weights + 16 * 16 * 16 + 32 * timings.extractors[0].dims * 4)
    assert cost.memory_gb == network.memory_gb


def test_what_is_there_costs_nothing(timings: Timings) -> None:
    costs = TrialCosts(timings)
    costs.cost(measure(candidate()))
    assert costs.cost(measure(candidate())) == (start(), 0, 0)


def test_a_longer_run_goes_on_and_a_shorter_one_begins_anew(timings: Timings) -> None:
    def trained(costs: TrialCosts, kimg: float) -> float:
        one = candidate(train__total_kimg=kimg)
        network = timings.network(one.train)
        drawn = 16 * 7 * network.evaluation
        return costs.cost(measure(one)).seconds - start() - drawn

    costs, alone = TrialCosts(timings), TrialCosts(timings)
    parts = [trained(costs, kimg) for kimg in (0.1, 0.3, 0.9)]
    whole = trained(alone, 0.9)
    evaluation = timings.network(candidate().train).evaluation
    # What is there is not trained again; snapshots of the shorter runs and features are more.
    snapshots = (2 + 2 * 2 / 3 + 2 * 2 / 3 - 2) * timings.data.images["val"] * evaluation
    assert sum(parts) == pytest.approx(whole + snapshots + 2 * 16 * timings.features)
    short = trained(costs, 0.2)
    assert short > 200 * timings.network(candidate().train).training


def test_a_run_with_a_budget_takes_that_long(timings: Timings) -> None:
    def seconds(hours: float) -> float:
        one = candidate(train__total_kimg=None, train__budget_hours=hours)
        return TrialCosts(timings).cost(measure(one)).seconds

    assert seconds(3) - seconds(1) == pytest.approx(2 * 3600)


@pytest.mark.parametrize(
    ("guidance", "w2", "times"),
    [
        ("discriminator", None, 1.31),
        ("discriminator", 1.0, 1.58),
        ("autoguidance", None, 2.0),
        ("autoguidance", 0.0, 1.5),
    ],
)
def test_guidance_takes_its_share(
    timings: Timings, guidance: str, w2: float | None, times: float
) -> None:
    one = candidate(sample__guidance=guidance, sample__w1=1.0, sample__w2=w2)
    few, many = (TrialCosts(timings).cost(measure(one, num)).seconds for num in (32, 176))
    plain = 144 * 7 * timings.network(one.train).evaluation
    assert many - few == pytest.approx(plain * times + 144 * timings.features)


def test_the_disk_is_that_of_a_real_run(small_run: Path, timings: Timings) -> None:
    one = candidate(train__total_kimg=0.48)
    weights = sum(path.stat().st_size for path in small_run.rglob("*.safetensors"))
    images = 16 * 256 + 32 * timings.extractors[0].dims * 4
    # A run as short as this has one resumable checkpoint, not two.
    state = 4 * timings.network(one.train).parameters * 4
    found = TrialCosts(timings).cost(measure(one)).disk - images - state
    assert found == pytest.approx(weights, rel=0.1)


def test_a_network_that_takes_long_is_scaled(
    timings: Timings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "_LONGEST", 0.0)
    small, large = candidate().train, candidate(train__model_channels=16).train
    again = Timings(timings.data, FeatureConfig(), torch.device("cpu"), 0, hidden)
    again.learn([large, small])
    one, other = again.network(small), again.network(large)
    assert (one.scaled, other.scaled) == (False, True)
    assert other.training / other.evaluation == pytest.approx(one.training / one.evaluation)
    assert other.evaluation > one.evaluation  # four times the arithmetic
    assert again.scaled == ["ddpmpp-tiny"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.integers(1, 8))
def test_no_schedule_is_better_than_its_bounds(times: list[float], workers: int) -> None:
    # Graham 1966: list scheduling.
    end = makespan(times, workers)
    assert end >= max(max(times), sum(times) / workers) - 1e-9
    assert end <= sum(times) / workers + max(times) + 1e-9


def test_a_plan_adds_up(small_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(make_recipe(STAGES), small_store, workers=2, device="cpu")
    stages, total = found["stages"], found["total"]
    assert total["trials"] == 22
    for name in ("hours", "disk_gb"):
        each = [sum(trial[name] for trial in stage["trials"]) for stage in stages]
        assert [stage[name] for stage in stages] == pytest.approx(each)
        assert total[name] == pytest.approx(sum(each))
    assert total["hours"] / 2 <= total["wall_hours"] < total["hours"]
    print_plan(found)
    printed = capsys.readouterr().out
    assert "networks: 13 trials" in printed
    assert "in all: 22 trials" in printed
    assert "assumed: which candidates win is not known yet" in printed


def test_a_recipe_that_makes_its_own_data_needs_none() -> None:
    made = {"videos": 16, "frames": 4, "size": 16, "every": 2}
    found = plan(make_recipe(STAGES[:1], data=made), device="cpu")
    # 32 images, each with its features.
    assert found["total"]["disk_gb"] * 1e9 == pytest.approx(32 * 64 * 4)
    with pytest.raises(UsageError, match="needs --data STORE"):
        plan(make_recipe(STAGES[:1]), device="cpu")


def test_a_full_disk_is_known_beforehand(
    tmp_path: Path, small_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "new" / "study"
    cost = {"machine": "any", "hours": 1, "gpu_hours": 0, "disk_gb": 1e9}
    with pytest.raises(
        UsageError, match=r"needs 1,000,000 TB in all, so another .* of disk space in"
    ):
        check_disk(make_recipe(STAGES, cost=cost), small_store, study)
    check_disk(make_recipe(STAGES, cost=cost | {"disk_gb": 1e-9}), small_store, study)
    check_disk(make_recipe(STAGES), small_store, study)
    many = {"num": 10**7}  # 2.56 GB of images
    small = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small)
    with pytest.raises(UsageError, match="make fewer images"):
        check_disk(make_recipe(STAGES, report=many), small_store, study)
    assert not study.parent.exists()


def test_what_a_study_has_already_needs_no_room(tmp_path: Path, small_store: Path) -> None:
    big = tmp_path / "images.npy"
    with big.open("wb") as file:
        file.truncate(10**12)  # a hole, which takes no room itself
    cost = {"machine": "any", "hours": 1, "gpu_hours": 0, "disk_gb": 1000}
    check_disk(make_recipe(STAGES, cost=cost), small_store, tmp_path)


def test_the_check_of_the_disk_needs_no_torch(tmp_path: Path, small_store: Path) -> None:
    code = (
        "import sys; from echosweep.study.plan import check_disk; from pathlib import Path;"
        "from echosweep.study.recipe import Recipe;"
        "check_disk(Recipe.load('demo'), None, Path(sys.argv[1]));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
