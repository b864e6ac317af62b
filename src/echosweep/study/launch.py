"""Run a study: everything checked first, then the stages, then the report.

The same call continues a study that was interrupted, and joins one that is running. Invariant: a
folder belongs to one recipe and one set of images; its stages may change, and only what depends on
the change is done.
"""

import contextlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from echosweep import runs
from echosweep.config import FeatureConfig, StudyOptions, changes
from echosweep.data.phantom import phantom, remove_phantom
from echosweep.data.prepare import prepare
from echosweep.data.store import FrameStore
from echosweep.errors import EchoSweepError, UsageError
from echosweep.places import check_no_way_out
from echosweep.progress import Show, hidden
from echosweep.reporting.study_checks import read_facts
from echosweep.study import BACKENDS
from echosweep.study.backends import BackendSettings
from echosweep.study.checks import check, check_copies_can_be_sought
from echosweep.study.ledger import Ledger
from echosweep.study.plan import check_disk, count_images, plan, print_plan
from echosweep.study.recipe import Recipe, StageEntry
from echosweep.study.runner import Runner, Say

_FORMAT = 1
_BEFORE = ("data", "ledger.journal", "ledger.lock")  # what may be there before study.json


def study(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    config: StudyOptions | None = None,
    show: Show = hidden,
    say: Say = print,
    **options: Any,
) -> Path:
    """Run a recipe on a frame store into the folder `out`; return the page of its report.

    Args:
        recipe: A shipped one's name, a YAML file, or a Recipe.
        out: Folder of the study.
        config: How to run it.
        show: Makes progress bars.
        say: Hears of every trial that ends.
        options: Fields of StudyOptions (data, backend, workers, ...), on top of `config`.

    Raises:
        UsageError: For all that can be known to go wrong, before any work.
        EchoSweepError: Where a stage failed, after the report if it chose nothing.
        KeyboardInterrupt: After saving, when asked to stop.
    """
    wanted = StudyOptions.merge(config, options)
    recipe, out, data = read(recipe, wanted), Path(out), wanted.data
    stages = check(recipe)
    _check_place(out, recipe, data)
    check_copies_can_be_sought(recipe, stages, count_images(recipe, data))
    check_disk(recipe, data, out)
    ledger = _ledger(wanted.storage, out, recipe)
    runs_on = BACKENDS[wanted.backend](_settings(recipe, wanted))
    store = _data(recipe, out, data, show)
    claim(out, recipe, store)
    if wanted.retry_failed:
        for error in (out / "trials").glob("*/error.json"):
            error.unlink()
    runner = Runner(out, recipe, stages, runs_on, ledger, show, say)
    runner.run()
    page = _report(out)
    if runner.failed:
        raise EchoSweepError(
            f"stage {', '.join(runner.failed)} failed, the others are done: {page} has the error; "
            "mend it and run the same command with --retry-failed"
        )
    return page


def dry_run(recipe: str | Path | Recipe, options: StudyOptions, show: Show = hidden) -> None:
    """Print every trial of a study with its hours and memory, and the total."""
    chosen = read(recipe, options)
    check(chosen)
    print_plan(plan(chosen, options.data, workers=options.workers, gpus=chosen.gpus, show=show))


def _report(out: Path) -> Path:
    """Return the page of the report, made if a record is newer than it."""
    from echosweep.commands.report import report  # with matplotlib: not before the checks
    from echosweep.reporting.study_page import PAGE

    page = out / "report" / PAGE
    records = [path.stat().st_mtime for path in (out / "stages").iterdir()]
    whole = page.exists() and page.read_bytes().rstrip().endswith(b"</html>")
    return page if whole and page.stat().st_mtime > max(records) else report(out)


def read(recipe: str | Path | Recipe, options: StudyOptions | None = None) -> Recipe:
    """Return the recipe with what the options of a study change of it.

    exhaustive: its halvings as grids; gpus; and what images are compared by.
    """
    options = options or StudyOptions()
    found = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    values = found.model_dump(exclude_unset=True)
    if options.exhaustive:
        values["stages"] = [_in_full(stage) for stage in found.stages]
    if options.gpus is not None:
        values["gpus"] = options.gpus
    features = options.part(FeatureConfig).model_dump(exclude_unset=True)
    return Recipe.make({**values, "features": {**values.get("features", {}), **features}})


def _in_full(stage: StageEntry) -> dict[str, Any]:
    halved = stage.options.get("strategy") == "halving"
    return stage.model_dump() | ({"strategy": "grid"} if halved else {})


def _settings(recipe: Recipe, options: StudyOptions) -> BackendSettings:
    pairs = (option.partition("=") for option in options.slurm)
    slurm = tuple((name, value) for name, _, value in pairs)
    return BackendSettings(options.workers, recipe.gpus, options.address, slurm)


def _check_place(out: Path, recipe: Recipe, data: str | Path | None) -> None:
    """Raise UsageError where `out` is another recipe's, or no study, or there is no data."""
    if data is None and recipe.data is None:
        raise UsageError(
            f"recipe {recipe.name!r} needs --data STORE; make one with `echosweep prepare VIDEOS "
            "--out STORE`"
        )
    if data is not None and recipe.data is not None:
        raise UsageError(f"recipe {recipe.name!r} makes its own data; leave --data out")
    if (out / "study.json").exists():
        known = read_facts(out)["identity"]
        _check_same(out, known, {**recipe.identity(), "images": known.get("images")})
    elif out.exists() and any(path.name not in _BEFORE for path in out.iterdir()):
        raise UsageError(f"{out} is not empty and not a study; choose another --out")
    check_no_way_out(out)


def _check_same(out: Path, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = changes({name: known.get(name) for name in wanted}, wanted)
    if different:
        raise UsageError(
            f"{out} is the study of another recipe, or of other images ({'; '.join(different)}); "
            "stages may change, this may not: choose another --out"
        )


def _data(recipe: Recipe, out: Path, data: str | Path | None, show: Show) -> FrameStore:
    """Return the data, the recipe's own made if it is not there."""
    if recipe.data is None:
        assert data is not None
        return FrameStore.open(data)
    store, made = out / "data" / "phantom", recipe.data
    _check_made(out / "data" / "data.json", made.model_dump(mode="json"))
    if not store.exists():
        videos = out / "data" / "videos"
        with show("phantom", "frames") as progress:
            phantom(videos, videos=made.videos, frames=made.frames, progress=progress)
        with show("prepare", "frames") as progress:
            prepare(videos, store, size=made.size, every=made.every, progress=progress)
    remove_phantom(out / "data" / "videos")
    return FrameStore.open(store)


def _check_made(note: Path, wanted: dict[str, Any]) -> None:
    """Note what data the recipe asks for; raise UsageError if others were made, or begun."""
    with contextlib.suppress(FileNotFoundError):
        if runs.read_record(note, "choose another --out") != wanted:
            raise UsageError(
                f"{note.parent} holds data of another recipe, or was begun for it; give that "
                "recipe, or choose another --out"
            )
        return
    runs.write_record(note, wanted)


def _ledger(storage: str | None, out: Path, recipe: Recipe) -> Ledger | None:
    """Return the ledger, checked; None without Optuna, where nobody asked for one."""
    if storage is None and importlib.util.find_spec("optuna") is None:
        return None
    # Two labs, or two folders of one recipe, may write to one database.
    ledger = Ledger(storage, out, f"{recipe.name}-{runs.signature(str(out.resolve()), 8)}")
    ledger.check()
    return ledger


def claim(out: Path, recipe: Recipe, store: FrameStore) -> None:
    """Write study.json and recipe.yaml; raise UsageError for other images than before."""
    for split in (recipe.select.split, recipe.report.split):
        store.rows(split)
    # Not the images alone: the same ones split otherwise would let test videos choose.
    identity = recipe.identity() | {"images": store.identity}
    path = out / "study.json"
    if path.exists():
        _check_same(out, read_facts(out)["identity"], identity)
    source = store.manifest.get("source", {})
    runs.write_record(
        path,
        {
            "format": _FORMAT,
            "identity": identity,
            "data": {
                "path": str(store.path.resolve()),
                "content": store.content,
                "identity": store.identity,
                "name": source.get("name", store.path.name),
                "kind": source.get("kind"),
                "preparation": store.manifest["preparation"],
                "splits": store.manifest["splits"],
            },
            "features": recipe.features.model_dump(mode="json"),
            "gpus": recipe.gpus,
        },
    )
    values = recipe.model_dump(mode="json", exclude_unset=True)
    runs.write_text(out / "recipe.yaml", yaml.safe_dump(values, sort_keys=False))
