"""What a candidate is made of, each part made once: weights, guides, images.

A part's folder is named by what it depends on, train_sig < sample_sig, so a later stage finds the
run that an earlier one trained, and asking twice costs nothing. Invariant: a part is made by one
process at a time; who else needs it waits, and finds it made.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from echosweep import runs
from echosweep.commands.discriminate import discriminate
from echosweep.commands.ema import ema
from echosweep.commands.sample import sample
from echosweep.commands.train import train
from echosweep.config import FeatureOptions, SampleConfig, TrainConfig
from echosweep.errors import EchoSweepError
from echosweep.progress import Progress, Show
from echosweep.study import several
from echosweep.study.candidate import Candidate
from echosweep.study.commands import discriminate_command, sample_command, train_command
from echosweep.study.recipe import DISCRIMINATOR_SEED
from echosweep.training import checkpoint
from echosweep.training.posthoc_ema import stored_tracks


@dataclass(frozen=True)
class Artifacts:
    """Where parts are made, and of what. gpus: several are used by a process each."""

    study: Path
    data: Path
    features: FeatureOptions
    gpus: int
    show: Show

    def weights(self, candidate: Candidate) -> Path:
        """Return the checkpoint of a candidate's weights, trained and averaged if need be."""
        path = self.study / "weights" / _signature(candidate.train, candidate.ema)
        with self._alone(path):
            if not path.with_suffix(".json").exists():
                if candidate.ema is None:
                    _link(self._trained(candidate.train) / "model", path)
                else:
                    self._average(candidate, path)
        return path

    def run(self, config: TrainConfig) -> Path:
        """Return the folder in which a model is trained, to this budget or beyond."""
        return self.study / "runs" / runs.signature(config.identity())

    def _aside(self, config: TrainConfig) -> Path:
        """Return the folder of a run to this budget alone."""
        run = self.run(config)
        return run.with_name(f"{run.name}-{_signature(config, None)}")

    def images(self, candidate: Candidate, num: int, seed: int) -> Path:
        """Return the frame store of `num` images of a candidate, from `seed` on."""
        what = {**candidate.identity(), "num": num, "seed": seed}
        out = self.study / "images" / runs.signature(what)
        weights = self.weights(candidate)
        config = self._guided(candidate)
        with self._alone(out):
            if not out.exists():
                self._draw(out, f"{weights}.safetensors", config, num, seed)
        return out

    def guide(self, candidate: Candidate) -> Path | None:
        """Return what guides a candidate: a discriminator or an earlier self, made if need be."""
        match str(candidate.sample.guidance):
            case "autoguidance":
                return self._weaker(candidate)
            case "discriminator":
                folder = self._discriminator(candidate)
                epochs = folder / "epochs" / f"{candidate.epoch or 0:04d}.safetensors"
                if candidate.epoch and not epochs.exists():
                    raise EchoSweepError(
                        f"epoch {candidate.epoch}: the discriminator stopped before it; raise "
                        "discriminator.patience, or search earlier epochs"
                    )
                return epochs if candidate.epoch else folder
        return None

    def _draw(self, out: Path, model: str, config: SampleConfig, num: int, seed: int) -> None:
        with self.show("sample", "images") as progress:
            timed = _Timed(progress)
            self._call(
                sample_command(model, out, config, num, seed),
                lambda: sample(model, out, num=num, seed=seed, config=config, progress=timed),
            )
        runs.write_json(_rate_path(out), {"images_per_second": timed.rate})

    def _guided(self, candidate: Candidate) -> SampleConfig:
        return candidate.sample.model_copy(update={"guidance": self.guide(candidate)})

    def _trained(self, config: TrainConfig) -> Path:
        out = self.run(config)
        if _is_beyond(out, config):  # weights on the way there are not kept at every budget
            out = self._aside(config)
        with self._alone(out), self.show("train", "images") as progress:
            self._call(
                train_command(self.data, out, config),
                lambda: train(self.data, out, config=config, progress=progress),
            )
        return out

    def _average(self, candidate: Candidate, path: Path) -> None:
        plain = self.weights(candidate.model_copy(update={"ema": None}))
        nimg, run = checkpoint.read_facts(plain)["nimg"], self.run(candidate.train)
        # Where a run was beyond the budget, another was trained to it.
        home = run if nimg in stored_tracks(run) else self._aside(candidate.train)
        assert candidate.ema is not None
        out = path.with_suffix(".safetensors")
        with self.show("average weights", "weights") as progress:
            ema(home, candidate.ema, out, at_kimg=nimg / 1000, progress=progress)

    def _weaker(self, candidate: Candidate) -> Path:
        """Return the snapshot of the run that is nearest to the share `weak` of its images."""
        wanted = candidate.weak * checkpoint.read_facts(self.weights(candidate))["nimg"]
        found = sorted((self.run(candidate.train) / "snapshots").glob("*.json"))
        nearest = min(found, key=lambda path: abs(int(path.stem) - wanted))
        return nearest.with_suffix(".safetensors")

    def _discriminator(self, candidate: Candidate) -> Path:
        plain, config = candidate.unguided(), candidate.discriminator
        what = [plain.identity(), config.model_dump(mode="json"), candidate.discriminator_images]
        out = self.study / "discriminators" / runs.signature(what)
        images = self.images(plain, candidate.discriminator_images, DISCRIMINATOR_SEED)
        model = self.weights(plain).with_suffix(".safetensors")
        with self._alone(out), self.show("discriminate", "images") as progress:
            self._call(
                discriminate_command(self.data, images, model, out, config),
                lambda: discriminate(
                    self.data, images, model, out, config=config, progress=progress
                ),
            )
        return out

    def _call(self, words: Sequence[str], here: Callable[[], object]) -> None:
        """Do it in this process, or by the same command on several GPUs."""
        if self.gpus <= 1:
            here()
            return
        if code := several.run(words, self.gpus):
            raise EchoSweepError(f"`{' '.join(words[:2])}` on {self.gpus} GPUs ended with {code}")

    @contextlib.contextmanager
    def _alone(self, part: Path) -> Iterator[None]:
        """Hold a part for this process; where another holds it, wait, and then find it made."""
        lock = self.study / "locks" / f"{part.parent.name}-{part.name}"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _signature(config: TrainConfig, length: float | None) -> str:
    """Return the name of the weights at a budget and of a length."""
    budget = {"total_kimg": config.total_kimg, "budget_hours": config.budget_hours}
    return runs.signature([config.identity(), budget, length])


def _is_beyond(out: Path, config: TrainConfig) -> bool:
    """Say whether a run was trained, or began to be, to another end that is later."""
    if not (out / "config.yaml").exists():
        return False
    last = TrainConfig.read(out / "config.yaml")
    ends = ((last.total_kimg, config.total_kimg), (last.budget_hours, config.budget_hours))
    return any(was is not None and (now is None or was > now) for was, now in ends)


def _link(source: Path, target: Path) -> None:
    """Keep a checkpoint under a second name: the run replaces its own files, never these bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    runs.remove_temporaries(target.parent)
    for suffix in (".safetensors", ".json"):
        temporary = runs.temporary_path(target.with_suffix(suffix))
        os.link(source.with_suffix(suffix), temporary)
        temporary.replace(target.with_suffix(suffix))
    runs.fsync_directory(target.parent)


class _Timed:
    """A `Progress` that also knows the rate, of what was not there before."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._since = progress, time.perf_counter()
        self._first: int | None = None
        self.rate: float | None = None

    def __call__(self, done: int, total: int, units: float | None = None) -> None:
        self._progress(done, total, units)
        self._first = done if self._first is None else self._first
        if done > self._first:
            self.rate = (done - self._first) / (time.perf_counter() - self._since)


def rate_of(images: Path) -> float | None:
    """Return how many images a second were drawn here; None where no one measured."""
    path = _rate_path(images)
    try:
        rate = runs.read_record(path, "remove it").get("images_per_second")
    except FileNotFoundError:
        return None
    return float(rate) if isinstance(rate, int | float) else None


def _rate_path(images: Path) -> Path:
    return images.with_name(images.name + ".rate.json")
