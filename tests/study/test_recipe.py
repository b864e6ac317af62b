"""Recipes: what is wrong with one is said when it is read, in one line with the fix."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from echosweep.config import StudyOptions
from echosweep.errors import UsageError
from echosweep.published import INCEPTION
from echosweep.study.candidate import Candidate
from echosweep.study.checks import check, check_copies_can_be_sought
from echosweep.study.launch import read
from echosweep.study.plan import count_images
from echosweep.study.recipe import Recipe, shipped

SEARCH: dict[str, Any] = {"name": "a", "space": {"train.lr": [1e-3]}}
SHIFT: dict[str, Any] = {"name": "b", "stage": "shift"}
GUIDE = {"sample.guidance": "discriminator", "discriminator_images": 128}
GUIDED = {"stages": [{**SEARCH, "set": GUIDE}]}
SHOWN = {"stages": [SEARCH, {**SHIFT, "num": 1_000_001}]}
TRAINED_ON = {"stages": [{**SEARCH, "space": {"train.split": ["train", "all"]}}]}


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_can_be_run(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "weights.pth").touch()
    monkeypatch.setenv(INCEPTION.variable, str(tmp_path / "weights.pth"))
    recipe = Recipe.load(name)
    options = check(recipe)
    assert recipe.name == name
    assert list(options) == [stage.name for stage in recipe.stages]
    assert recipe.cost is not None
    assert recipe.select.split != recipe.report.split
    if recipe.data:
        check_copies_can_be_sought(recipe, options, count_images(recipe, None))


def test_a_recipe_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    recipe = Recipe.load("demo")
    values = recipe.model_dump(mode="json", exclude_unset=True)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    assert Recipe.load(tmp_path / "mine.yaml") == recipe


def test_an_exhaustive_recipe_prunes_nothing() -> None:
    strategies = {
        name: stage.strategy
        for name, stage in check(read("demo", StudyOptions(exhaustive=True))).items()
        if hasattr(stage, "strategy")
    }
    assert strategies["networks"] == "grid"
    assert strategies["autoguidance"] == "tpe"


def _space(space: dict[str, Any]) -> dict[str, Any]:
    return {"stages": [{"name": "a", "space": space}]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stagess": []}, "'stagess'; did you mean 'stages'"),
        ({"stages": [{"name": "a", "stage": "serch"}]}, "'serch' is not known; did you mean"),
        ({"stages": [{"name": "a", "spaec": {}}]}, "'spaec'"),
        ({"stages": [{"name": "a", "space": {"train.lrr": [1e-3]}}]}, "did you mean 'train.lr'"),
        ({"stages": [{"name": "a", "space": {"train.network": ["adn"]}}]}, "did you mean 'adm'"),
        ({"stages": [{"name": "a", "space": {"epoch": [1]}}]}, "needs sample.guidance"),
        ({"stages": [{"name": "a", "space": {"weak": [0.5]}}]}, "needs sample.guidance"),
        ({"stages": [{"name": "a", "space": {"sample.w1": [1.0]}}]}, "needs --guidance"),
        ({"stages": [{"name": "a", "stage": "shift"}]}, "a search before it"),
        ({"stages": [{"name": "a", "stage": "final"}]}, "a search before it"),
        (
            {"stages": [{"name": "a", "space": {"train.lr": {"low": 1e-4, "high": 1e-3}}}]},
            "list the values",
        ),
        (
            {
                "stages": [
                    {"name": "a", "space": {"train.lr": [1e-3]}, "choose": "knee"},
                ]
            },
            "knee needs",
        ),
        (
            {"stages": [{"name": n, "space": {"train.lr": [1e-3]}} for n in "aa"]},
            "its own name",
        ),
        ({"features": {"features": ["inception"]}}, "no Inception weights"),
        ({"select": {"split": "test"}}, "select.split = 'test': must be 'train' or 'val'"),
        ({"select": {"nmu": 3}}, "'select.nmu'; did you mean 'num'?"),
        ({"select": {"num": 0}}, "select.num = 0: must be above 0"),
        ({"select": 3}, "select = 3: must be `name: value` lines"),
        ({"name": 3}, "name = 3: must be text; write it in quotes"),
        ({"name": "../x"}, "name = '../x': must be 1 to 64 of A-Z"),
        ({"stages": [{**SEARCH, "name": "x/../../../E"}]}, "stages.0.name = 'x/../../../E': must"),
        ({"stages": [{**SEARCH, "name": "."}]}, "stages.0.name = '.': must be 1 to 64 of"),
        ({"gpus": -1}, "gpus = -1: must be 0 or more"),
        ({"select": {"seed": -1}}, "select.seed = -1: must be 0 or more"),
        ({"base": {}}, "the recipe lacks base.train; add it"),
        ({"stages": []}, "stages = []: must be a list of at least 1"),
        ({"stages": ["a"]}, "stages.0 = 'a': must be `name: value` lines"),
        ({"stages": {"name": "a"}}, "stages: must be a list"),
        ({"stages": [{"stage": "search"}]}, "lacks stages.0.name"),
        ({"stages": [{"name": "a"}]}, "stage 'a' lacks space; add it"),
        (_space({"sample.steps": 3}), "space.sample.steps: write a list, as [3]"),
        (_space({"train.framework": "edm"}), "space.train.framework: write a list, as [edm]"),
        (_space({"sample.steps": None}), "space.sample.steps: write a list, as [null]"),
        (_space({"train.lr": {"low": 1e-4}}), "stage 'a' lacks space.train.lr.high; add it"),
        (_space({"train.lr": {"low": 1, "high": 2, "intger": 1}}), "did you mean 'integer'?"),
        (_space({"train.lr": {"low": 2, "high": 1}}), "low must be below high"),
        (_space({"train.lr": {"low": "a", "high": 1}}), "low = 'a': must be a number"),
        (_space({"train.lr": [{"a": 1}]}), "space.train.lr.0: must be text, "),
        (TRAINED_ON | {"select": {"split": "train"}}, "train.split: train"),
        ({"select": {"seed": 10_000_000, "num": 16}}, "write report.seed: 0"),
        ({"select": {"seed": 0, "num": 10_000_001}}, "write report.seed: 10000001"),
        ({"report": {"seed": 10}, "select": {"num": 16}}, "write report.seed: 10000000"),
        ({"report": {"seed": 2**31 - 8, "num": 24}}, "write report.seed: 10000000"),
        ({"report": {"seed": 20_000_127, "num": 24}, **GUIDED}, "write report.seed: 10000000"),
        ({"select": {"seed": 20_000_000, "num": 24}, **GUIDED}, "write select.seed: 10000000"),
        ({"stages": [SEARCH, {**SHIFT, "split": "val"}]}, "write split: test"),
        (
            {"report": {"seed": 9_000_000}, "select": {"seed": 10_000_000}, **SHOWN},
            "write report.seed: 0",
        ),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_fix(
    small_recipe: dict[str, Any],
    change: dict[str, Any],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(INCEPTION.variable, raising=False)
    with pytest.raises(UsageError) as error:
        check(Recipe.make({**small_recipe, **change}, where="key in the recipe:"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "tuple[" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(("images", "rate"), [(98, 0.01), (0, 0.5), (8, 0.1)])
def test_a_study_that_could_not_be_exported_says_so_before_it_trains(
    small_recipe: dict[str, Any], images: int, rate: float
) -> None:
    """As `copies` counts: n held-out images show a rate of 1/(n + 1)."""
    end = {"name": "end", "stage": "final", "rate": rate}
    recipe = Recipe.make({**small_recipe, "stages": [SEARCH, end]})
    options, split = check(recipe), recipe.base.train.split
    with pytest.raises(
        UsageError, match=f"stage 'end': {images} images that did not train"
    ) as error:
        check_copies_can_be_sought(recipe, options, {split: 500, "test": images})
    for number in re.findall(r"at least (\d+)", str(error.value)):
        check_copies_can_be_sought(recipe, options, {split: 500, "test": int(number)})
    for fix in re.findall(r"write rate: ([\d.]+)", str(error.value)):
        mended = Recipe.make({**small_recipe, "stages": [SEARCH, {**end, "rate": float(fix)}]})
        check_copies_can_be_sought(mended, check(mended), {split: 500, "test": images})


def test_a_recipe_without_a_name_is_not_printed_whole(
    small_recipe: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in small_recipe.items() if k != "name"}))
    with pytest.raises(UsageError) as error:
        Recipe.load(path)
    assert str(error.value) == f"the recipe {path} lacks name; add it"


def test_words_of_a_search_are_read_as_they_are_written(
    small_recipe: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    stages = "stages: [{name: a, space: {sample.compile: [on, off], train.lr: [1e-3, 2e-3]}}]"
    values = {name: value for name, value in small_recipe.items() if name != "stages"}
    path.write_text(f"{yaml.safe_dump(values)}\n{stages}\n")
    space = check(Recipe.load(path))["a"].model_dump()["space"]
    assert space == {"sample.compile": ("on", "off"), "train.lr": (1e-3, 2e-3)}


@pytest.mark.parametrize(
    ("split", "chooses", "refused"),
    [
        ("train", "val", False),
        ("train", "train", False),
        ("val", "train", False),
        ("val", "val", True),
        ("test", "val", True),
        ("all", "train", True),
    ],
)
def test_no_image_trains_that_chooses_or_reports(
    small_recipe: dict[str, Any], split: str, chooses: str, refused: bool
) -> None:
    base = {**small_recipe["base"], "train": {**small_recipe["base"]["train"], "split": split}}
    made = Recipe.make({**small_recipe, "base": base, "select": {"split": chooses, "num": 16}})
    with pytest.raises(UsageError, match="train") if refused else contextlib.nullcontext():
        check(made)


@given(*[st.integers(0, 60)] * 2, *[st.integers(1, 30)] * 2)
def test_seeds_are_refused_if_and_only_if_they_overlap(
    small_recipe: dict[str, Any], chooses: int, reports: int, num: int, reported: int
) -> None:
    changes = {
        "select": {"seed": chooses, "num": num},
        "report": {"seed": reports, "num": reported},
    }
    apart = not {*range(chooses, chooses + num)} & {*range(reports, reports + reported)}
    try:
        check(Recipe.make({**small_recipe, **changes}))
        assert apart
    except UsageError as error:
        assert not apart
        fix = int(str(error).rpartition("report.seed: ")[2])
        changes["report"]["seed"] = fix
        check(Recipe.make({**small_recipe, **changes}))


def test_averages_need_what_they_are_made_of(small_recipe: dict[str, Any]) -> None:
    base = small_recipe["base"]
    base = {**base, "train": {**base["train"], "posthoc_ema": False}}
    stages = [{"name": "a", "space": {"ema": [0.1]}}]
    with pytest.raises(UsageError, match=r"train\.posthoc_ema: true"):
        check(Recipe.make({**small_recipe, "base": base, "stages": stages}))


def test_reading_and_checking_needs_no_torch() -> None:
    code = (
        "import sys; from echosweep.study.launch import read;"
        "from echosweep.study.checks import check; check(read('demo'));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_candidate_says_what_decides_its_images(small_recipe: dict[str, Any]) -> None:
    plain = Candidate.make(small_recipe["base"])
    other = plain.changed({"train.snapshots": 5, "weak": 0.5, "discriminator.lr": 1e-5})
    assert other.identity() == plain.identity()
    assert plain.changed({"sample.steps": 7}).identity() != plain.identity()
    guided = plain.changed({"sample.guidance": "autoguidance", "sample.w1": 0.5})
    assert guided.changed({"weak": 0.5}).identity() != guided.identity()
    assert guided.unguided().identity() == plain.identity()


def test_a_candidate_is_made_again_from_its_task(small_recipe: dict[str, Any]) -> None:
    base = Candidate.make(small_recipe["base"])
    for guidance in (None, "autoguidance", "discriminator"):
        candidate = base.changed({"sample.guidance": guidance, "ema": 0.1})
        assert Candidate.make(candidate.task()).identity() == candidate.identity()
