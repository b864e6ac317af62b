"""Train a denoiser on a frame store; the same call again continues where it stopped.

RUN/config.yaml, env.json   what was asked, and on what machine
RUN/run.json                what is computed: the config's identity, the data, their signature
RUN/metrics.jsonl           a row every few seconds; loss.png is its plot
RUN/state/                  resumable checkpoints, the newest two
RUN/snapshots/              averaged weights on the way, with sample grids
RUN/ema/                    with `posthoc_ema`: what averages of any length are made of
RUN/model.safetensors       averaged weights at the end, with model.json: all that sampling needs
"""

import contextlib
import math
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from echosweep import compute, runs
from echosweep.build import build_denoiser, build_sampler
from echosweep.commands.run_folder import claimed, save_state, states, take
from echosweep.config import SampleConfig, TrainConfig
from echosweep.data.provenance import Knowledge
from echosweep.data.store import FrameStore
from echosweep.devices import pick_device
from echosweep.distributed import World, agree, barrier, world
from echosweep.errors import EchoSweepError
from echosweep.progress import Progress, silent
from echosweep.reporting import figures
from echosweep.sampling import draw_images
from echosweep.training import checkpoint
from echosweep.training.batches import (
    class_names,
    load_batches,
    load_rows,
    rows_of,
    rows_with_class,
    sigma_data,
)
from echosweep.training.estimate import estimate, fitting_micro_batch
from echosweep.training.log import Log
from echosweep.training.loop import (
    TrainState,
    held_out_loss,
    share_of_batch,
    train_steps,
    try_pass,
)
from echosweep.training.posthoc_ema import STORED, stored_tracks, track_path

_STATES_KEPT = 2
_LOST_STEPS = 10  # one step of a bad batch is mended, so many in a row are not
_HELD_OUT_IMAGES = 256


def train(
    data: str | Path,
    out: str | Path,
    *,
    config: TrainConfig | None = None,
    device: str | None = None,
    tensorboard: bool = False,
    progress: Progress = silent,
    **settings: Any,
) -> Path:
    """Train on the frame store `data` into the run folder `out`; return `out`.

    settings: fields of TrainConfig (network, framework, total_kimg or budget_hours, ...), on top of
    `config`. An interrupted run continues; a finished one returns at once, or goes on if its end
    was moved. Raises UsageError for wrong settings or another run's folder, and KeyboardInterrupt,
    after saving, when stopped by Ctrl-C or SIGTERM.
    """
    config = TrainConfig.merge(config, settings)
    store, out = FrameStore.open(data), Path(out)
    with world(device) as peers:
        run = Run(out, config, store, peers)
        with claimed(out, peers), runs.StopSignal() as stop:
            run.open()
            run.train(stop, progress, tensorboard)
    return out


def plan(data: str | Path, *, config: TrainConfig, device: str | None = None) -> dict[str, Any]:
    """Return what `train` would do: the settings, the network's size, memory and time here."""
    store, picked = FrameStore.open(data, verify=False), pick_device(device)
    rows = rows_of(store, config)
    classes = class_names(store, config.label, config.split)
    denoiser = build_denoiser(config, store.preparation, classes)
    return {
        "config": config.model_dump(mode="json"),
        "data": {
            "images": len(rows),
            "shape": list(denoiser.image_shape),
            "fingerprint": store.fingerprint,
            "sigma_data_measured": sigma_data(store, rows),
        },
        "estimate": estimate(denoiser, config, picked),
    }


class Run:
    """A run folder and the training state that belongs to it."""

    def __init__(self, out: Path, config: TrainConfig, store: FrameStore, peers: World) -> None:
        share_of_batch(config, peers)
        self.out, self.config, self.store, self.peers = out, config, store, peers
        rows = rows_of(store, config)
        self.classes = class_names(store, config.label, config.split)
        self.knows = Knowledge.of_rows(store, config.split, rows).to_json()
        torch.manual_seed(config.seed)
        denoiser = build_denoiser(config, store.preparation, self.classes).to(peers.device)
        self.state = TrainState.new(denoiser, config)
        self.shape = (store.preparation.channels, *store.preparation.size)
        self.images_per_pass = config.micro_batch

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides the result: config, data and their signature (`train_sig`)."""
        # Not the images alone: the same ones split otherwise would let test videos into training.
        what = {"config": self.config.identity(), "data": self.store.identity}
        return {**what, "train_sig": runs.signature(what)}

    def open(self) -> None:
        """Take the folder, if it is new or this run's own; load the newest checkpoint."""
        if self.peers.rank == 0:
            take(self.out, self.identity, self.config)
        barrier(self.peers)
        if newest := states(self.out)[-1:]:
            fix = f"remove {newest[0]}.json to continue from the checkpoint before it"
            tensors, facts = checkpoint.load(newest[0], fix)
            self.state.load(tensors)
            self.state.nimg, self.state.seconds = facts["nimg"], facts["seconds"]
            self.images_per_pass = self.config.micro_batch or facts.get("micro_batch")
        if self.peers.rank == 0:
            self._forget_tracks_ahead()

    @property
    def fitted(self) -> TrainConfig:
        """Return the config with the images per pass that this machine takes."""
        return self.config.model_copy(update={"micro_batch": self.images_per_pass})

    def fraction(self) -> float:
        """Return the share of the run that is behind us: of its images or hours, what is more."""
        done = [self.state.nimg / 1000 / (self.config.total_kimg or float("inf"))]
        done.append(self.state.seconds / 3600 / (self.config.budget_hours or float("inf")))
        return min(1.0, max(done))

    def train(self, stop: runs.StopSignal, progress: Progress, tensorboard: bool) -> None:
        """Train to the end, or to `stop`; keep log, checkpoints and snapshots on the way."""
        if self.fraction() < 1:
            with contextlib.closing(self._log(tensorboard)) as log:
                self._take_steps(log, stop, progress)
        if self.peers.rank == 0:
            self._finish()

    def _take_steps(self, log: Log, stop: runs.StopSignal, progress: Progress) -> None:
        self._prepare()
        batches = load_batches(self.store, self.config, self.peers.device)
        lost, saved, before = 0, self.state.seconds, self.fraction()
        if self.state.nimg == 0:
            self._snapshot(log)  # the untrained network: what all later ones are compared with
        for step in train_steps(self.state, batches, self.fitted, self.peers):
            log.add(step)
            lost = 0 if math.isfinite(step.loss) else lost + 1
            done, asked, most = agree(self.peers, [self.fraction(), float(stop.asked), lost])
            if most >= _LOST_STEPS:
                raise EchoSweepError(
                    f"training diverged: at {step.nimg} images the loss of {_LOST_STEPS} steps was "
                    f"not finite. Choose a lower --lr (was {self.config.lr:g}) or a longer "
                    "--warmup-kimg, and another --out"
                )
            progress(*self._position(done), step.nimg)
            if _passed(before, done, self.config.snapshots):
                self._snapshot(log)
            if self.config.posthoc_ema and _passed(before, done, STORED):
                self._store_tracks()
            before = done
            if done >= 1 or asked or self.state.seconds - saved > self._checkpoint_seconds:
                saved = self.state.seconds
                self._checkpoint()
            if done >= 1:
                return
            if asked:
                raise KeyboardInterrupt

    def _prepare(self) -> None:
        """Fit passes to the memory and weights to the device; compile where that pays."""
        device, share = self.peers.device, share_of_batch(self.config, self.peers)
        if device.type == "cuda":
            self.state.to_channels_last()
        if self.config.micro_batch is None:
            # A resumed run takes no larger passes than before: other sums round otherwise.
            most = self.images_per_pass or share
            fits = fitting_micro_batch(self.state, self.config, share, most, device)
            self.images_per_pass = -round(agree(self.peers, [-float(fits)])[0])  # the fewest of all
        if compute.worth_compiling(self.config.compile, device, self._steps):
            images = min(self.images_per_pass or share, share)
            trial = partial(try_pass, self.state.denoiser, images, self.config, device)
            compute.compile_network(self.state.denoiser.network, trial)

    @property
    def _steps(self) -> float:
        """Return the steps of the run; how many an hour holds is not known: enough."""
        if self.config.total_kimg is None:
            return math.inf if (self.config.budget_hours or 0) >= 1 else 0
        return self.config.total_kimg * 1000 / self.config.batch

    def _position(self, done: float) -> tuple[int, int]:
        """Return (images so far, images in all): the latter from the hours where they decide."""
        total = round(self.state.nimg / done) if done else self.state.nimg
        return self.state.nimg, max(total, self.state.nimg)

    @property
    def _checkpoint_seconds(self) -> float:
        return self.config.checkpoint_minutes * 60

    def _log(self, tensorboard: bool) -> Log:
        return Log(
            self.out if self.peers.rank == 0 else None,
            self.state.nimg,
            math.prod(self.shape),
            tensorboard,
        )

    def _facts(self) -> dict[str, Any]:
        """Return what sampling needs to know of the weights."""
        return {
            "nimg": self.state.nimg,
            "seconds": self.state.seconds,
            "config": self.config.model_dump(mode="json"),
            "preparation": asdict(self.store.preparation),
            "classes": list(self.classes),
            "train_sig": self.identity["train_sig"],
            "data": self.store.content,
            "knows": self.knows,
        }

    def _checkpoint(self) -> None:
        if self.peers.rank:
            return
        facts = {
            "nimg": self.state.nimg,
            "seconds": self.state.seconds,
            "micro_batch": self.images_per_pass,
        }
        save_state(self.out, self.state.nimg, self.state.tensors(), facts, _STATES_KEPT)

    def _store_tracks(self) -> None:
        if self.peers.rank == 0:
            checkpoint.save(
                track_path(self.out, self.state.nimg), self.state.track_tensors(), self._facts()
            )

    def _forget_tracks_ahead(self) -> None:
        """Remove what was stored after the checkpoint: those steps will be taken anew."""
        for nimg in stored_tracks(self.out):
            if nimg > self.state.nimg:
                checkpoint.remove(track_path(self.out, nimg))

    def _snapshot(self, log: Log) -> None:
        if self.peers.rank:
            return
        path = self.out / "snapshots" / f"{self.state.nimg:012d}"
        checkpoint.save(path, self.state.average.state_dict(), self._facts())
        log.note(held_out_loss=self._held_out_loss())
        if self.config.grid_images:
            sampler = SampleConfig(steps=self.config.grid_steps)
            images = draw_images(
                self.state.average,
                range(self.config.grid_images),
                build_sampler(sampler, self.state.average.framework),
                self.classes,
            )
            columns = math.ceil(math.sqrt(self.config.grid_images))
            figures.save(figures.contact_sheet(images, columns), path.with_suffix(".png"))

    def _held_out_loss(self) -> float | None:
        """Return the averaged weights' loss on the val split, None where there is none.

        Images of a class that training does not have are left out.
        """
        if "val" not in self.store.splits or self.config.split in ("val", "all"):
            return None
        rows = rows_with_class(self.store, self.store.rows("val"), self.config.label, self.classes)
        if not len(rows):
            return None
        rows = rows[:: -(-len(rows) // _HELD_OUT_IMAGES)]
        held_out = load_rows(self.store, rows, self.config, self.classes)
        loss = held_out_loss(self.state.average, held_out, self.fitted, self.peers.device)
        return loss / math.prod(self.shape)

    def _finish(self) -> None:
        """Write the final weights and the loss curve, unless they are there."""
        path = self.out / "model"
        if not (self.out / "model.json").exists() or (
            checkpoint.read_facts(path)["nimg"] != self.state.nimg
        ):
            checkpoint.save(path, self.state.average.state_dict(), self._facts())
            records = runs.read_jsonl(self.out / "metrics.jsonl")
            figures.save(figures.plot_loss(records), self.out / "loss.png")


def _passed(before: float, now: float, parts: int) -> bool:
    """Say whether the end of one of that many equal parts lies between two shares of a run."""
    return int(now * parts + 1e-9) > int(before * parts + 1e-9)
