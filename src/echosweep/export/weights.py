"""Weights by what they are: found by their SHA-256, copied, and read again.

Images say which weights they were drawn from, and a study keeps weights in several places; so the
hash, not a path, says what belongs to an image. Invariant: what is copied has that hash.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from echosweep import runs
from echosweep.config import SampleConfig, TrainConfig
from echosweep.errors import EchoSweepError
from echosweep.training import checkpoint

_FIX = "copy the study again"
_PLACES = (
    *("weights/*.json", "runs/*/model.json", "runs/*/snapshots/*.json"),
    *("discriminators/*/model.json", "discriminators/*/epochs/*.json"),
)


class Weights(NamedTuple):
    """A checkpoint: PATH.safetensors, and what PATH.json says of it."""

    path: Path
    facts: dict[str, Any]


def find_weights(study: Path, sha256: str) -> Weights:
    """Return the weights of that SHA-256 in a study; raise EchoSweepError if they are not there."""
    for place in _PLACES:
        for path in sorted(study.glob(place)):
            with contextlib.suppress(EchoSweepError, FileNotFoundError):  # of other weights
                facts = runs.read_record(path, "")
                if facts.get("sha256") == sha256 and path.with_suffix(".safetensors").is_file():
                    return Weights(path.with_suffix(""), facts)
    raise EchoSweepError(
        f"{study} has no weights with SHA-256 {sha256[:12]}..., from which the winner's images "
        "were drawn: copy the whole study, or remove the winner's images and run it again"
    )


def copy_model(weights: Weights, out: Path) -> None:
    """Write the weights to `out`/model, with how they were trained: what `sample` takes."""
    _copy(weights, out / "model")
    TrainConfig.make(weights.facts["config"]).write(out / "config.yaml")


def copy_guide(weights: Weights, out: Path) -> None:
    """Write what guides, a discriminator or a weaker model, to `out`/model."""
    features = weights.facts.get("features")
    if features:  # what a discriminator did not train lies beside its epochs
        path = checkpoint.features_of(weights.path, features)
        _copy(Weights(path, runs.read_record(path.with_suffix(".json"), _FIX)), out / "features")
        weights = weights._replace(facts=weights.facts | {"features": "features"})
    _copy(weights, out / "model")


def sampling(drawn: dict[str, Any], guide: str | None) -> dict[str, Any]:
    """Return the settings that images were drawn with, as sample.yaml has them.

    drawn: as the images' manifest has them. guide: the folder of what guides, where one does.
    """
    config = SampleConfig.make({**drawn, "guidance": guide})
    always = config.model_dump(mode="json", include={"sampler", "steps"})
    return always | config.model_dump(mode="json", exclude_defaults=True)


def _copy(weights: Weights, target: Path) -> None:
    source, copied = (f"{path}.safetensors" for path in (weights.path, target))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, copied)
    if runs.sha256_file(Path(copied)) != weights.facts["sha256"]:
        raise EchoSweepError(
            f"{source} does not match its SHA-256: it was changed or damaged; {_FIX}"
        )
    runs.write_record(target.with_suffix(".json"), weights.facts)
