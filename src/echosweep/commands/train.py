"""Train a denoiser on a frame store; the same call again continues where it stopped.

RUN/config.yaml, env.json   what was asked, and on what machine
RUN/run.json                what is computed: the config's identity, the data, their signature
RUN/metrics.jsonl           a row every few seconds; loss.png is its plot
RUN/state/                  resumable checkpoints, the newest two
RUN/snapshots/              averaged weights on the way, with sample grids
RUN/ema/                    with `posthoc_ema`: what averages of any length are made of
RUN/model.safetensors       averaged weights at the end, with model.json: all that sampling needs
RUN/failed/                 of a run that diverged: which step it was, and from which state it comes

Invariant: no number that is not finite is saved as a weight, an average or a moment.
"""

import contextlib
import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from echosweep import compute, runs, stops
from echosweep.build import build_denoiser
from echosweep.commands.run_folder import claimed, lead, load_state, stop_together, take
from echosweep.commands.train_files import RunFiles
from echosweep.config import TrainConfig, TrainOptions
from echosweep.data.store import FrameStore
from echosweep.devices import pick_device
from echosweep.distributed import World, agree, barrier, world
from echosweep.errors import EchoSweepError
from echosweep.progress import Progress, silent
from echosweep.training.batches import Batches, class_names, load_batches, rows_of, sigma_data
from echosweep.training.estimate import estimate, fitting_micro_batch
from echosweep.training.finite import Health, not_finite
from echosweep.training.log import Log
from echosweep.training.loop import TrainingStep, TrainState, share_of_batch, train_steps, try_pass
from echosweep.training.passes import Check, go_on, out_of_memory, places_to_stop
from echosweep.training.posthoc_ema import STORED


def train(
    data: str | Path,
    out: str | Path,
    *,
    config: TrainConfig | None = None,
    progress: Progress = silent,
    **options: Any,
) -> Path:
    """Train on the frame store `data` into the run folder `out`; return `out`.

    An interrupted run continues; a finished one returns at once, or goes on if its end was moved.

    Args:
        data: Frame store to train on.
        out: Run folder.
        config: A TrainOptions, or the TrainConfig.
        progress: Called after each step.
        options: Fields of TrainOptions (network, framework, total_kimg or budget_hours, ...), on
            top of `config`.

    Raises:
        UsageError: For wrong settings or another run's folder.
        Stopped: After saving, when a signal asks to stop (a KeyboardInterrupt).
    """
    wanted = TrainOptions.merge(config, options)
    store, out = FrameStore.open(data), Path(out)
    with world(wanted.device) as peers:
        run = TrainRun(out, wanted.part(TrainConfig), store, peers)
        with claimed(out, peers), run.stop:
            run.open()
            run.train(progress, wanted.tensorboard)
    return out


def plan(data: str | Path, *, config: TrainConfig) -> dict[str, Any]:
    """Return what `train` would do: the settings, the network's size, memory and time here."""
    picked, config = pick_device(TrainOptions.merge(config, {}).device), config.part(TrainConfig)
    store = FrameStore.open(data, verify=False)
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


class TrainRun:
    """A run folder and the training state that belongs to it."""

    def __init__(self, out: Path, config: TrainConfig, store: FrameStore, peers: World) -> None:
        share_of_batch(config, peers)
        self.out, self.config, self.store, self.peers = out, config, store, peers
        self.stop, self.health, self.compiled = stops.StopSignal(), Health(), False
        self.made = 0.0  # the share of the run whose snapshots and averages are written
        classes = class_names(store, config.label, config.split)
        self.files = RunFiles(out, config, store, classes, self.identity)
        torch.manual_seed(config.seed)
        denoiser = build_denoiser(config, store.preparation, classes).to(peers.device)
        self.state = TrainState.new(denoiser, config)

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
        if newest := load_state(self.out, self.peers):
            tensors, facts = newest
            self.state.load(tensors)
            self.state.nimg, self.state.seconds = facts["nimg"], facts["seconds"]
            self.state.micro_batch = self.config.micro_batch or facts.get("micro_batch")
            self.made = min(facts.get("made", 1.0), self.fraction())
        if self.peers.rank == 0:
            self.files.forget_what_is_ahead(self.state.nimg)

    @property
    def fitted(self) -> TrainConfig:
        """Return the config with the images per pass that this machine takes."""
        return self.config.model_copy(update={"micro_batch": self.state.micro_batch})

    def fraction(self) -> float:
        """Return the share of the run that is behind us: of its images or hours, what is more."""
        done = [self.state.nimg / 1000 / (self.config.total_kimg or float("inf"))]
        done.append(self.state.seconds / 3600 / (self.config.budget_hours or float("inf")))
        return min(1.0, max(done))

    def train(self, progress: Progress, tensorboard: bool) -> None:
        """Train to the end, or to a stop; keep log, checkpoints and snapshots on the way."""
        if self.fraction() < 1 or self.made < 1:
            with contextlib.closing(self._log(tensorboard)) as log:
                try:
                    self._prepare()
                    self._take_steps(log, progress)
                except stops.Aborted:
                    raise
                except BaseException as error:
                    # Nothing of a step is in the state before all of it is.
                    if isinstance(error, stops.Stopped) or out_of_memory(error):
                        self._checkpoint()
                    raise
        if self.peers.rank > 0:
            return
        if self.files.finished(self.state):
            runs.note_finished(self.out)
        else:
            self._check_finite()
            self._say(self.files.finish(self.state))

    def _take_steps(self, log: Log, progress: Progress) -> None:
        batches = load_batches(self.store, self.config, self.peers.device)
        saved = self.state.seconds
        done = agree(self.peers, [self.fraction()])[0]
        self._keep(log, done)
        if done >= 1:
            self._checkpoint()
            return
        for step in self._steps_with_stops(batches):
            log.add(step)
            bad = step.nonfinite > 0 or not math.isfinite(step.loss)
            values = [self.fraction(), float(self.stop.asked), float(bad)]
            done, asked, bad_anywhere = agree(self.peers, values)
            self._note_health(step, bad_anywhere > 0)
            progress(*self._position(done), step.nimg)
            self._keep(log, done)
            if done >= 1 or self.state.seconds - saved > self._checkpoint_seconds:
                saved = self.state.seconds
                self._checkpoint()
            if done >= 1:
                return
            if asked:
                raise stops.Stopped(round(asked))

    def _steps_with_stops(self, batches: Batches) -> Iterator[TrainingStep]:
        """Yield the steps of training; a stop in the middle of one raises `Stopped`."""
        peers = self.peers
        check: Check = partial(stop_together, peers, self.stop)
        if peers.size > 1:  # GPUs would wait for each other before each pass
            check = go_on if peers.device.type == "cuda" else check
            yield from train_steps(self.state, batches, self.config, peers, check)
            return
        # A compiled network calls no hooks of its parts.
        weights = () if self.compiled else self.state.denoiser.parameters()
        with places_to_stop(go_on if self.compiled else check, peers.device, weights):
            yield from train_steps(self.state, batches, self.config, peers, check)

    def _note_health(self, step: TrainingStep, bad: bool) -> None:
        """Count a step with numbers that are not finite; raise EchoSweepError at too many."""
        self.health.add(bad)
        count = self.health.mended
        if trouble := self.health.trouble:
            raise self._diverged(f"the loss or the gradients {trouble} were")
        if bad and count & (count - 1) == 0:  # the first, the second, the fourth, ...
            self._say(
                f"at {step.nimg} images the gradients were not finite and were mended, the "
                f"{count}. time in {self.health.steps} steps; a lower --lr may help"
            )

    def _say(self, text: str) -> None:
        if text and self.peers.rank == 0:
            print(f"note: {text}", file=sys.stderr)

    def _diverged(self, what: str) -> EchoSweepError:
        """Return the error of a run that cannot go on; write what finds the step again."""
        nimg, lr = self.state.nimg, self.config.lr
        said = self.files.failure(self.state, what) if self.peers.rank == 0 else "stopped"
        return EchoSweepError(
            f"training diverged: at {nimg} images {what} not finite. Choose a lower --lr (was "
            f"{lr:g}) or a longer --warmup-kimg, and another --out; {said}"
        )

    def _check_finite(self) -> None:
        """Raise EchoSweepError before what is not finite is saved."""
        if names := not_finite(self.state.tensors()):
            raise self._diverged(f"{names[0]} and {len(names) - 1} more tensors were")

    def _prepare(self) -> None:
        """Fit passes to the memory and weights to the device; compile where that pays."""
        device, share = self.peers.device, share_of_batch(self.config, self.peers)
        if device.type == "cuda":
            self.state.to_channels_last()
        if self.config.micro_batch is None:
            # A resumed run takes no larger passes than before: other sums round otherwise.
            most = self.state.micro_batch or share
            fits = fitting_micro_batch(self.state, self.config, share, most, device)
            fewest = -round(agree(self.peers, [-float(fits)])[0])
            self.state.micro_batch = fewest
        if compute.worth_compiling(self.config.compile, device, self._steps):
            images = min(self.state.micro_batch or share, share)
            trial = partial(try_pass, self.state.denoiser, images, self.config, device)
            self.compiled = compute.compile_network(self.state.denoiser.network, trial)

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
            math.prod(self.state.denoiser.image_shape),
            tensorboard,
        )

    def _checkpoint(self) -> None:
        self._check_finite()
        if self.peers.rank == 0:
            self.files.checkpoint(self.state, self.made)

    def _keep(self, log: Log, done: float) -> None:
        """Write the snapshot and the averages that are due; of the untrained network too."""
        snapshot = _passed(self.made, done, self.config.snapshots) or self.state.nimg == 0
        averages = self.config.posthoc_ema and _passed(self.made, done, STORED)

        def write() -> None:
            if snapshot:
                self._say(self.files.snapshot(self.state, log, self.fitted, self.stop.check))
            if averages:
                self.files.averages(self.state)
            self.made = done

        if snapshot or averages:
            self._check_finite()
            lead(self.peers, self.stop, write)
        self.made = done


def _passed(before: float, now: float, parts: int) -> bool:
    """Say whether the end of one of that many equal parts lies between two shares of a run."""
    return int(now * parts + 1e-9) > int(before * parts + 1e-9)
