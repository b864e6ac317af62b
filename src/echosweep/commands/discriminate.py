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

from echosweep import runs
from echosweep.build import build_discriminator, load_model, model_path
from echosweep.commands.discriminator_split import Split, check_images, split_images, spread
from echosweep.commands.run_folder import claimed, save_state, states, take
from echosweep.config import DiscriminatorConfig, TrainConfig
from echosweep.data.provenance import Knowledge, check_order
from echosweep.data.store import FrameStore
from echosweep.diffusion.discriminators import find_classifier
from echosweep.distributed import World, agree, barrier, world
from echosweep.errors import EchoSweepError
from echosweep.evaluation.sets import FEW_GROUPS, Side
from echosweep.guides import published_interval
from echosweep.progress import Progress, silent
from echosweep.reporting import discriminator_figures, figures
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

_SECONDS_BETWEEN_STATES = 300.0
_HARM = 1.01  # more of the plain denoiser's error than that is no chance of the noise
_LOST_STEPS = 10  # one step of a bad batch is mended, so many in a row are not


def discriminate(
    data: str | Path,
    generated: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    config: DiscriminatorConfig | None = None,
    device: str | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> dict[str, Any] | None:
    """Train log r on `data` against images `generated` by `model`; return the record of the best.

    data: frame store; its train split is trained on, its val split held out, or else a tenth of
    its patients. generated: frame store that `sample` drew from `model`, without guidance. out: the
    folder to make. settings: fields of DiscriminatorConfig (kind, epochs, ...), on top of `config`.

    The record is JSON: epoch, epochs, held_out and training (loss, accuracy, levels), images,
    notes, environment. An interrupted run continues; a finished one returns at once, or goes on if
    its end was moved. Under `torchrun` processes share each batch, and only the first returns the
    record. Raises UsageError for what does not fit together, before any image is used, and
    KeyboardInterrupt, after saving, when stopped by Ctrl-C or SIGTERM.
    """
    config, out = _with_weights(DiscriminatorConfig.merge(config, settings)), Path(out)
    facts = checkpoint.read_facts(model_path(model))
    real, made = FrameStore.open(data), FrameStore.open(generated)
    check_order(made, real, "--data REAL --generated GENERATED")
    check_images(real, made, facts, model, config)
    split = split_images(real, made, config)
    with world(device) as peers:
        run = Run(out, config, split, facts, model, peers)
        with claimed(out, peers), runs.StopSignal() as stop:
            run.open()
            run.train(stop, progress)
            return run.finish() if peers.rank == 0 else None


def _with_weights(config: DiscriminatorConfig) -> DiscriminatorConfig:
    """Return the config with the weights file that its kind needs, if it needs one."""
    if config.kind != "classifier-features":
        return config
    return config.model_copy(update={"classifier": find_classifier(config.classifier)})


class Run:
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
        if newest := states(self.out)[-1:]:
            tensors, facts = checkpoint.load(newest[0], f"remove {self.out} to begin again")
            self.state.load(tensors, facts["step"])
        if self.peers.rank == 0:
            self._open_files()

    def _open_files(self) -> None:
        """Keep the rows of finished epochs alone; write what is not trained, once."""
        path, done = self.out / "metrics.jsonl", self.state.step // self.steps
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

    def train(self, stop: runs.StopSignal, progress: Progress) -> None:
        """Train to the end, or to `stop`; keep epochs, log and the newest checkpoint."""
        if self.over():
            return
        lost, mended, total = 0, 0, self.steps * self.config.epochs
        saved = time.monotonic()
        steps = discriminator_steps(
            self.state, self.trained_on, self.denoiser, self.config, self.peers
        )
        for step in steps:
            lost = 0 if math.isfinite(step.loss) else lost + 1
            mended += step.nonfinite
            asked, most = agree(self.peers, [float(stop.asked), lost])
            if most >= _LOST_STEPS:
                raise self._diverged(f"the loss of {_LOST_STEPS} steps")
            progress(self.state.step, total, step.nimg)
            ended = self.state.step % self.steps == 0
            if ended:
                self._end_epoch(mended)
                mended = 0
            if ended or asked or time.monotonic() - saved > _SECONDS_BETWEEN_STATES:
                saved = time.monotonic()
                self._save_state()
            if ended and self.over():
                return
            if asked:
                raise KeyboardInterrupt

    def _diverged(self, what: str) -> EchoSweepError:
        return EchoSweepError(
            f"the discriminator diverged: at step {self.state.step} {what} was not finite. Choose "
            f"a lower --lr (was {self.config.lr:g}) and another --out"
        )

    def _save_state(self) -> None:
        if self.peers.rank == 0:
            facts = {"step": self.state.step}
            save_state(self.out, self.state.step, self.state.tensors(), facts, keep=1)

    def _end_epoch(self, mended: int) -> None:
        """Measure; write the epoch, then its row: a row means that its epoch is there."""
        if self.peers.rank:
            return
        row: dict[str, Any] = {"epoch": self.state.step // self.steps, "nonfinite": mended}
        for name, sides in (("held_out", self.held_out), ("training", self.seen)):
            row[name] = measure(
                self.state.discriminator, sides, self.denoiser, self.config, self.peers.device
            )
        if not math.isfinite(row["held_out"]["loss"]):
            raise self._diverged("the held-out loss")
        tensors = self.state.discriminator.trained_state()
        checkpoint.save(self._epoch(row["epoch"]), tensors, self._facts(row))
        with (self.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)

    def _epoch(self, number: int) -> Path:
        return self.out / "epochs" / f"{number:04d}"

    def _facts(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return what guidance needs to know of an epoch's weights."""
        return {
            "kind": "discriminator",
            "epoch": row["epoch"],
            "config": self.config.model_dump(mode="json", exclude={"classifier"}),
            "guides": self.guides,
            "data": self.split.real.store.content,
            "generated": self.split.generated.store.content,
            "knows": self.knows,
            "features": "../features" if self.state.discriminator.frozen_state() else None,
            "accuracy": [
                [level["sigma"], (level["real"] + level["generated"]) / 2]
                for level in row["held_out"]["levels"]
            ],
            "best_weight": [
                [level["sigma"], level["best_weight"]] for level in row["held_out"]["levels"]
            ],
        }

    def finish(self) -> dict[str, Any]:
        """Write the best epoch as DISC/model, and the figures, unless there; return the record."""
        path, best, epochs = self.out / "model", self.best, len(self.rows)
        before = checkpoint.read_facts(path) if (self.out / "model.json").exists() else {}
        if (before.get("epoch"), before.get("epochs")) != (best["epoch"], epochs):
            tensors, facts = checkpoint.load(self._epoch(best["epoch"]))
            beside = {"features": facts["features"] and "features", "epochs": epochs}
            checkpoint.save(path, tensors, facts | beside)
            self._plot(best["epoch"])
        return {
            "path": str(self.out),
            "epochs": epochs,
            **best,
            "images": {name: side.describe() for name, side in self.split._asdict().items()},
            "notes": list(self._notes(best)),
            "environment": runs.environment(),
        }

    def _plot(self, best: int) -> None:
        loss = discriminator_figures.plot_loss(self.rows, best)
        figures.save(loss, self.out / "loss.png")
        accuracy = discriminator_figures.plot_accuracy(self.rows, best, published_interval())
        figures.save(accuracy, self.out / "accuracy.png")

    def _notes(self, best: dict[str, Any]) -> Iterator[str]:
        """Yield what a reader must know of the numbers."""
        patients = self.split.held_out_real.describe()["groups"]
        if patients < FEW_GROUPS:
            yield (
                f"the held-out real images are of {patients} patients: whether others are told "
                "from generated images as well cannot be said"
            )
        levels = best["held_out"]["levels"]
        harmed = [level["sigma"] for level in levels if level["guided_error"] > _HARM]
        if harmed:
            yield (
                "at w = 1 guidance denoises held-out real images worse than the model alone does "
                f"at sigma {', '.join(f'{sigma:g}' for sigma in harmed)}: guide where it helps, "
                "with --weighting error, or --guidance-min and --guidance-max"
            )
