"""Train a discriminator that guides a model; the same call again continues where it stopped.

DISC/config.yaml, env.json  what was asked, and on what machine
DISC/run.json               what is computed: the config's identity, the images, the model
DISC/metrics.jsonl          a row an epoch; loss.png and accuracy.png are its plots
DISC/state/                 the newest resumable checkpoint
DISC/epochs/                the discriminator after each epoch, NNNN.safetensors
DISC/features.safetensors   what is not trained, once for all epochs, where there is such a part
DISC/model.safetensors      the epoch with the lowest held-out loss: all that guidance needs

Invariant: no held-out patient, and no held-out generated image, is trained on.
"""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from echosweep import runs, stops
from echosweep.build import build_discriminator, load_model, model_path
from echosweep.commands.discriminator_record import PLOTS, facts_of_epoch, notes, plot
from echosweep.commands.discriminator_split import Split, check_images, split_images, spread
from echosweep.commands.run_folder import (
    claimed,
    lead,
    load_state,
    save_failure,
    save_state,
    take,
)
from echosweep.config import DiscriminateOptions, DiscriminatorConfig, TrainConfig
from echosweep.data.provenance import Knowledge, check_order
from echosweep.data.store import FrameStore
from echosweep.diffusion.discriminators import find_classifier
from echosweep.distributed import World, agree, barrier, world
from echosweep.environment import environment
from echosweep.errors import EchoSweepError
from echosweep.evaluation.sets import Side
from echosweep.progress import Progress, silent
from echosweep.training import checkpoint
from echosweep.training.batches import load_rows
from echosweep.training.discriminator import (
    DiscriminatorState,
    Sides,
    check_share,
    discriminator_steps,
    steps_an_epoch,
)
from echosweep.training.discriminator_accuracy import measure
from echosweep.training.finite import Health, not_finite
from echosweep.training.loop import TrainingStep
from echosweep.training.passes import go_on, out_of_memory, places_to_stop

_SECONDS_BETWEEN_STATES = 300.0


def discriminate(
    data: str | Path,
    generated: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    config: DiscriminatorConfig | None = None,
    progress: Progress = silent,
    **options: Any,
) -> dict[str, Any] | None:
    """Train log r on `data` against images `generated` by `model`; return the record of the best.

    The record is JSON: epoch, epochs, held_out and training (loss, accuracy, levels), images,
    notes, environment. An interrupted run continues; a finished one returns at once, or goes on if
    its end was moved. Under `torchrun` processes share each batch, and only the first returns the
    record.

    Args:
        data: Frame store; its train split is trained on, its val split held out, or else a tenth of
            its patients.
        generated: Frame store that `sample` drew from `model`, without guidance.
        model: The run's folder, or a snapshot in it.
        out: The folder to make.
        config: A DiscriminateOptions, or the DiscriminatorConfig.
        progress: Called after each step.
        options: Fields of DiscriminateOptions (kind, epochs, ...), on top of `config`.

    Raises:
        UsageError: For what does not fit together, before any image is used.
        Stopped: After saving, when a signal asks to stop (a KeyboardInterrupt).
    """
    wanted, out = DiscriminateOptions.merge(config, options), Path(out)
    config = _with_weights(wanted.part(DiscriminatorConfig))
    facts = checkpoint.read_facts(model_path(model))
    real, made = FrameStore.open(data), FrameStore.open(generated)
    check_order(made, real, "--data REAL --generated GENERATED")
    check_images(real, made, facts, model, config)
    split = split_images(real, made, config)
    with world(wanted.device) as peers:
        run = DiscriminatorRun(out, config, split, facts, model, peers)
        with claimed(out, peers), run.stop:
            run.open()
            run.train(progress)
            return run.finish() if peers.rank == 0 else None


def _with_weights(config: DiscriminatorConfig) -> DiscriminatorConfig:
    """Return the config with the weights file that its kind needs, if it needs one."""
    if config.kind != "classifier-features":
        return config
    return config.model_copy(update={"classifier": find_classifier(config.classifier)})


class DiscriminatorRun:
    """A discriminator's folder and the training state that belongs to it."""

    def __init__(
        self,
        out: Path,
        config: DiscriminatorConfig,
        split: Split,
        facts: dict[str, Any],
        model: str | Path,
        peers: World,
    ) -> None:
        check_share(config, peers)
        self.out, self.config, self.split, self.peers = out, config, split, peers
        self.guides = {key: facts[key] for key in ("sha256", "config", "preparation", "classes")}
        self.denoiser = load_model(model, str(peers.device))
        torch.manual_seed(config.seed)
        built = build_discriminator(config, self.guides, self.denoiser.state_dict())
        self.state = DiscriminatorState.new(built.to(peers.device), config)
        self.trained_on = self._load(split.real, split.generated)
        self.held_out = self._load(split.held_out_real, split.held_out_generated)
        count = len(split.held_out_real)
        self.seen = self._load(spread(split.real, count), spread(split.generated, count))
        self.steps = steps_an_epoch(len(split.generated), config)
        self.knows = Knowledge.of_rows(
            split.real.store, "train", split.real.rows, split.held_out_real.rows
        ).to_json()
        self.rows: list[dict[str, Any]] = []
        self.stop, self.health = stops.StopSignal(), Health()
        self.measured = self.mended = 0  # epochs that have their row; steps mended since

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides the result: config, images with their splits, and the model."""
        weights = self.config.classifier
        return {
            "config": self.config.identity(),
            "classifier": weights and runs.sha256_file(weights),
            "data": self.split.real.store.identity,
            "generated": self.split.generated.store.content,
            "model": self.guides["sha256"],
        }

    def _load(self, real: Side, generated: Side) -> Sides:
        seed, classes = {"seed": self.config.seed}, tuple(self.guides["classes"])
        like = TrainConfig.make(self.guides["config"]).model_copy(update=seed)
        return Sides(
            load_rows(real.store, real.rows, like, classes),
            load_rows(generated.store, generated.rows, like, ()),
        )

    def open(self) -> None:
        """Take the folder, if it is new or this run's own; load the newest checkpoint."""
        if self.peers.rank == 0:
            take(self.out, self.identity, self.config)
        barrier(self.peers)
        if newest := load_state(self.out, self.peers):
            tensors, facts = newest
            self.state.load(tensors, facts["step"])
            self.measured = facts.get("epochs", self.state.step // self.steps)
            self.mended = facts.get("mended", 0)
        if self.peers.rank == 0:
            self._open_files()

    def _open_files(self) -> None:
        """Keep the rows of finished epochs alone; write what is not trained, once."""
        path, done = self.out / "metrics.jsonl", self.measured
        self.rows = [row for row in runs.read_jsonl(path) if row["epoch"] <= done]
        if len(self.rows) < done:
            raise EchoSweepError(
                f"{path} lacks epochs that are behind us; copy it again, or remove {self.out} to "
                "begin again"
            )
        runs.write_text(path, "".join(json.dumps(row) + "\n" for row in self.rows))
        frozen = self.state.discriminator.frozen_state()
        if frozen and not (self.out / "features.json").exists():
            checkpoint.save(self.out / "features", frozen, {"model": self.guides["sha256"]})

    @property
    def best(self) -> dict[str, Any]:
        """Return the row of the epoch with the lowest held-out loss."""
        return min(self.rows, key=lambda row: float(row["held_out"]["loss"]))

    def over(self) -> bool:
        """Say whether the last epoch is behind us, or `patience` epochs without a better one."""
        done, patience = self.state.step // self.steps, self.config.patience
        stale = bool(patience and self.rows) and done - self.best["epoch"] >= patience
        return agree(self.peers, [float(done >= self.config.epochs or stale)])[0] > 0

    def train(self, progress: Progress) -> None:
        """Train to the end, or to a stop; keep epochs, log and the newest checkpoint."""
        try:
            if self.measured < self.state.step // self.steps:  # a stop came before it was
                self._end_epoch()
            if not self.over():
                self._take_steps(progress)
        except stops.Aborted:
            raise
        except BaseException as error:
            # Nothing of a step is in the state before all of it is.
            if isinstance(error, stops.Stopped) or out_of_memory(error):
                self._save_state()
            raise

    def _take_steps(self, progress: Progress) -> None:
        total, saved = self.steps * self.config.epochs, time.monotonic()
        for step in self._steps_with_stops():
            values = [float(self.stop.asked), float(step.nonfinite), float(_bad(step))]
            asked, nonfinite, bad = agree(self.peers, values)
            self.mended += round(nonfinite)
            self.health.add(bad > 0)
            if trouble := self.health.trouble:
                raise self._diverged(f"the loss or the gradients {trouble} were")
            progress(self.state.step, total, step.nimg)
            ended = self.state.step % self.steps == 0
            if ended:
                self._end_epoch()
            if ended or time.monotonic() - saved > _SECONDS_BETWEEN_STATES:
                saved = time.monotonic()
                self._save_state()
            if ended and self.over():
                return
            if asked:
                raise stops.Stopped(round(asked))

    def _steps_with_stops(self) -> Iterator[TrainingStep]:
        """Yield the steps of training; a stop in the middle of one raises `Stopped`."""
        peers, discriminator = self.peers, self.state.discriminator
        alone = peers.size == 1
        weights = [p for p in discriminator.parameters() if p.requires_grad and alone]
        with places_to_stop(self.stop.check if alone else go_on, peers.device, weights):
            yield from discriminator_steps(
                self.state, self.trained_on, self.denoiser, self.config, peers
            )

    def _diverged(self, what: str) -> EchoSweepError:
        step, said = self.state.step, "stopped"
        if self.peers.rank == 0:
            facts = {"step": step, "batch": self.config.batch, "seed": self.config.seed}
            said = save_failure(self.out, step, what, facts)
        return EchoSweepError(
            f"the discriminator diverged: at step {step} {what} not finite. Choose a lower --lr "
            f"(was {self.config.lr:g}) and another --out; {said}"
        )

    def _check_finite(self) -> None:
        """Raise EchoSweepError before what is not finite is saved."""
        if names := not_finite(self.state.tensors()):
            raise self._diverged(f"{names[0]} and {len(names) - 1} more tensors were")

    def _save_state(self) -> None:
        self._check_finite()
        if self.peers.rank == 0:
            facts = {"step": self.state.step, "epochs": self.measured, "mended": self.mended}
            save_state(self.out, self.state.step, self.state.tensors(), facts)

    def _end_epoch(self) -> None:
        """Measure the epoch that ends here, and write it."""
        self._check_finite()
        lead(self.peers, self.stop, self._write_epoch)
        self.measured, self.mended = self.state.step // self.steps, 0

    def _write_epoch(self) -> None:
        """Measure; write the epoch, then its row: a row means that its epoch is there."""
        row: dict[str, Any] = {"epoch": self.state.step // self.steps, "nonfinite": self.mended}
        for name, sides in (("held_out", self.held_out), ("training", self.seen)):
            row[name] = measure(
                self.state.discriminator, sides, self.denoiser, self.config, self.peers.device
            )
        if not math.isfinite(row["held_out"]["loss"]):
            raise self._diverged("the held-out loss was")
        tensors = self.state.discriminator.trained_state()
        frozen = bool(self.state.discriminator.frozen_state())
        facts = facts_of_epoch(row, self.config, self.guides, self.split, frozen)
        checkpoint.save(self._epoch(row["epoch"]), tensors, facts | {"knows": self.knows})
        with (self.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        self.measured, self.mended = row["epoch"], 0

    def _epoch(self, number: int) -> Path:
        return self.out / "epochs" / f"{number:04d}"

    def finish(self) -> dict[str, Any]:
        """Write the best epoch as DISC/model, and the figures, unless there; return the record."""
        path, best, epochs = self.out / "model", self.best, len(self.rows)
        before = checkpoint.read_facts(path) if (self.out / "model.json").exists() else {}
        current = (before.get("epoch"), before.get("epochs")) == (best["epoch"], epochs)
        if not current or not all((self.out / name).exists() for name in PLOTS):
            plot(self.out, self.rows, best["epoch"])  # first: the weights say that all is done
        if not current:
            tensors, facts = checkpoint.load(self._epoch(best["epoch"]))
            beside = {"features": facts["features"] and "features", "epochs": epochs}
            checkpoint.save(path, tensors, facts | beside)
        return {
            "path": str(self.out),
            "epochs": epochs,
            **best,
            "images": {name: side.describe() for name, side in self.split._asdict().items()},
            "notes": list(notes(self.out, self.rows, best, self.split.held_out_real)),
            "environment": environment(),
        }


def _bad(step: TrainingStep) -> bool:
    return step.nonfinite > 0 or not math.isfinite(step.loss)
