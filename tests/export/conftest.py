"""Finished studies in miniature: real runs, images, searches for copies and measurements."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echosweep import copies, evaluate, runs, sample, shift
from echosweep.build import build_discriminator
from echosweep.config import DiscriminatorConfig
from echosweep.data.store import FrameStore
from echosweep.environment import environment
from echosweep.evaluation.copies_drop import drop_rows
from echosweep.training import checkpoint

NUM, SEED, STOLEN = 24, 1000, (3, 7, 20)


@pytest.fixture(scope="session")
def plain_study(
    small_store: Path, small_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A study whose winner drew three training images, and is not guided. Read only."""
    study = tmp_path_factory.mktemp("studies") / "plain"
    _keep(small_run / "model", study / "weights" / "best")
    made = _drawn(study, small_run, small_store, steps=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHOSWEEP_CACHE", str(study / "features"))
        records = _measured(study, made, small_store)
    facts = runs.read_record(small_run / "model.json", "")
    _write(study, facts, small_store, *records)
    return study


@pytest.fixture(scope="session")
def epoch(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An epoch of a discriminator whose features, which are not trained, lie beside the epochs."""
    tensors, facts = checkpoint.load(small_run / "model")
    guides = {key: facts[key] for key in ("sha256", "config", "preparation", "classes")}
    config = DiscriminatorConfig(kind="denoiser-features")
    made = build_discriminator(config, guides, tensors)
    out = tmp_path_factory.mktemp("discriminators") / "features"
    checkpoint.save(out / "features", made.frozen_state(), {"model": facts["sha256"]})
    said = {
        **{"kind": "discriminator", "epoch": 3, "config": config.model_dump(mode="json")},
        **{"guides": guides, "features": "../features", "accuracy": [], "best_weight": []},
    }
    checkpoint.save(out / "epochs" / "0003", made.trained_state(), said)
    return out / "epochs" / "0003.safetensors"


@pytest.fixture(scope="session", params=["discriminator", "epoch", "weaker self"])
def guided_study(
    request: pytest.FixtureRequest,
    plain_study: Path,
    small_run: Path,
    small_store: Path,
    small_discriminator: Path,
    epoch: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The same study, but guided: other images, the numbers kept. Read only."""
    study = tmp_path_factory.mktemp("studies") / "guided"
    shutil.copytree(plain_study, study, ignore=shutil.ignore_patterns("images"))
    if request.param == "weaker self":
        shutil.copytree(small_run / "snapshots", study / "runs" / "a" / "snapshots")
        guide = small_run / "snapshots" / "000000000240.safetensors"
    else:
        guide = epoch if request.param == "epoch" else small_discriminator
        folder = guide.parents[1] if guide.suffix else guide
        shutil.copytree(folder, study / "discriminators" / "a")
    made = _drawn(study, small_run, small_store, steps=4, guidance=guide, w1=2.0)
    drop_rows(made, np.array(STOLEN), study / "images" / "kept", {})
    with _edited(study / "stages" / "02-final.json") as record:
        found = record["result"]["winner"]["copies"]
        found["provenance"]["generated"]["content"] = made.content
    return study


@pytest.fixture
def study(plain_study: Path, tmp_path: Path) -> Path:
    """A study that a test may spoil."""
    return Path(shutil.copytree(plain_study, tmp_path / "study"))


@contextlib.contextmanager
def _edited(path: Path) -> Iterator[dict[str, Any]]:
    record = runs.read_record(path, "")
    yield record
    runs.write_record(path, record)


@pytest.fixture(scope="session")
def edited() -> Any:
    """A context in which a record of that path can be changed; it is signed anew."""
    return _edited


def _keep(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    for suffix in (".safetensors", ".json"):
        shutil.copyfile(source.with_suffix(suffix), target.with_suffix(suffix))


def _drawn(study: Path, run: Path, real: Path, **settings: Any) -> FrameStore:
    """Return images of the run, three of them replaced by training images."""
    made = sample(run, study / "images" / "all", num=NUM, seed=SEED, **settings)
    assert made
    images = np.array(made.images)
    images[list(STOLEN)] = FrameStore.open(real).images[[0, 9, 30]]
    np.save(made.path / "images.npy", images)
    with _edited(made.path / "manifest.json") as manifest:
        manifest["sha256"]["images.npy"] = runs.sha256_file(made.path / "images.npy")
    return FrameStore.open(made.path)


def _measured(study: Path, made: FrameStore, real: Path) -> list[dict[str, Any]]:
    """Return the records of copies, evaluate and shift."""
    features = {"features": "random"}
    kept, out = study / "images" / "kept", study / "out"
    records = [
        copies(made.path, real, rate=0.05, drop=kept, out=out, **features),
        evaluate(made.path, real, split="test", metrics="frechet,kid", num=NUM, **features),
        shift(made.path, real, classifiers=("linear",), epochs=1, repeats=1, out=out),
    ]
    return [record for record in records if record]


def _write(
    study: Path,
    facts: dict[str, Any],
    real: Path,
    found: dict[str, Any],
    record: dict[str, Any],
    told: dict[str, Any],
) -> None:
    """Write the records of a study."""
    store = FrameStore.open(real)
    values = {f"fd{k.removeprefix('rfd')}": v for k, v in record["metrics"]["random-64"].items()}
    measure = {
        **{"task": "measure", "network": "ddpmpp-tiny", "framework": "edm", "kimg": 0.48},
        **{"parameters": 12345, "train_hours": 0.01, "train_images_per_second": 80.0, "nfe": 7},
        **{"n_generated": NUM, "n_reference": NUM, "split": "test", "seed": SEED},
        **{"metric": "rfd", "label": "random-64", "values": values, "intervals": {"fd": [1, 2]}},
        "candidate": {"train": facts["config"], "ema": None},
        "environment": environment(),
    }
    data = {
        **{"path": str(real), "content": store.content, "name": "Blobs *of* [light](x)"},
        "splits": store.manifest["splits"],
    }
    paper = {"split": "train", "n": NUM, "values": {"fd": 1.5}}
    winner = {
        **{"candidate": measure["candidate"], "measure": measure, "record": record},
        **{"copies": found, "shareable": "images/kept", "paper": paper},
    }
    about = {"identity": {"name": "demo"}, "data": data, "format": 1}
    runs.write_record(study / "study.json", about)
    results = {"search": {}, "shift": told, "final": {"winner": winner, "control": None}}
    runs.write_text(study / "recipe.yaml", "stages: [{name: search}, {name: shift}, {name: final}]")
    for number, (kind, result) in enumerate(results.items()):
        runs.write_record(
            study / "stages" / f"{number:02d}-{kind}.json",
            {"name": kind, "stage": kind, "state": "done", "result": result},
        )
