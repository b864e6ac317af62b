"""What a training run writes into its folder on the way: checkpoints, snapshots, averages, weights.

Called in the first process alone. Invariant: each is whole or absent, and what is there of a step
that a resumed run takes anew is removed before.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from echosweep import runs
from echosweep.build import build_sampler
from echosweep.commands.run_folder import save_failure, save_state
from echosweep.config import SampleConfig, TrainConfig
from echosweep.data.provenance import Knowledge
from echosweep.data.store import FrameStore, constant
from echosweep.reporting import figures
from echosweep.sampling import draw_images
from echosweep.training import checkpoint
from echosweep.training.batches import load_batches, load_rows, rows_of, rows_with_class
from echosweep.training.log import Log
from echosweep.training.loop import TrainState, held_out_loss
from echosweep.training.passes import Check
from echosweep.training.posthoc_ema import stored_tracks, track_path

_HELD_OUT_IMAGES = 256


class RunFiles:
    """The files of a run.

    identity: what decides the result, with its signature. classes: of the label, in order.
    """

    def __init__(
        self,
        out: Path,
        config: TrainConfig,
        store: FrameStore,
        classes: tuple[str, ...],
        identity: Mapping[str, Any],
    ) -> None:
        self.out, self.config, self.store, self.classes = out, config, store, classes
        self._signature = identity["train_sig"]
        rows = rows_of(store, config)
        self._knows = Knowledge.of_rows(store, config.split, rows).to_json()

    def _facts(self, state: TrainState) -> dict[str, Any]:
        """Return what sampling needs to know of the weights."""
        return {
            "nimg": state.nimg,
            "seconds": state.seconds,
            "config": self.config.model_dump(mode="json"),
            "preparation": asdict(self.store.preparation),
            "classes": list(self.classes),
            "train_sig": self._signature,
            "data": self.store.content,
            "knows": self._knows,
        }

    def checkpoint(self, state: TrainState, made: float) -> None:
        """Write all that resuming needs; made: the share of the run whose snapshots are there."""
        facts = {
            "nimg": state.nimg,
            "seconds": state.seconds,
            "micro_batch": state.micro_batch,
            "made": made,
        }
        save_state(self.out, state.nimg, state.tensors(), facts)

    def averages(self, state: TrainState) -> None:
        """Write what averages of any length are made of."""
        checkpoint.save(track_path(self.out, state.nimg), state.track_tensors(), self._facts(state))

    def forget_what_is_ahead(self, nimg: int) -> None:
        """Remove what was stored after the checkpoint: those steps will be taken anew."""
        for stored in stored_tracks(self.out):
            if stored > nimg:
                checkpoint.remove(track_path(self.out, stored))
        for facts in (self.out / "snapshots").glob("[0-9]" * 12 + ".json"):
            if int(facts.stem) > nimg:
                facts.with_suffix(".png").unlink(missing_ok=True)
                checkpoint.remove(facts.with_suffix(""))

    def snapshot(self, state: TrainState, log: Log, fitted: TrainConfig, check: Check) -> str:
        """Write the averaged weights, a sample grid and a row; return what the grid warns of.

        check: called before each pass.
        """
        path = self.out / "snapshots" / f"{state.nimg:012d}"
        checkpoint.save(path, state.average.state_dict(), self._facts(state))
        held_out, warning = self._held_out_loss(state, fitted, check), ""
        if self.config.grid_images:
            images = draw_images(
                state.average,
                range(self.config.grid_images),
                build_sampler(SampleConfig(steps=self.config.grid_steps), state.average.framework),
                self.classes,
            )
            columns = math.ceil(math.sqrt(self.config.grid_images))
            figures.save(figures.contact_sheet(images, columns), path.with_suffix(".png"))
            if state.nimg and (flat := constant(images)):
                warning = (
                    f"at {state.nimg} images {flat} of the {len(images)} images of the sample grid "
                    "have one grey level alone"
                )
        log.note(held_out_loss=held_out)  # the last: what is cut short before is made again
        return warning

    def _held_out_loss(self, state: TrainState, fitted: TrainConfig, check: Check) -> float | None:
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
        device = next(state.average.parameters()).device
        loss = held_out_loss(state.average, held_out, fitted, device, check)
        return loss / math.prod(state.average.image_shape)

    def failure(self, state: TrainState, what: str) -> str:
        """Write what finds the last step again; return what to say of it."""
        batch, rows = self.config.batch, rows_of(self.store, self.config)
        order = load_batches(self.store, self.config, torch.device("cpu")).order
        last = order(state.nimg - batch, batch).numpy() if state.nimg else np.arange(0)
        facts = {
            "nimg": state.nimg,
            "batch": batch,
            "micro_batch": state.micro_batch,
            "seed": self.config.seed,
            "rows": rows[last].tolist(),
        }
        return save_failure(self.out, state.nimg, what, facts)

    def finished(self, state: TrainState) -> bool:
        """Say whether the loss curve and the weights of this state are there."""
        return self._weights_are_of(state) and (self.out / "loss.png").exists()

    def _weights_are_of(self, state: TrainState) -> bool:
        path = self.out / "model"
        return path.with_suffix(".json").exists() and (
            checkpoint.read_facts(path)["nimg"] == state.nimg
        )

    def finish(self, state: TrainState) -> str:
        """Write the loss curve and the final weights; return what a reader must know of them."""
        records = runs.read_jsonl(self.out / "metrics.jsonl")
        # The curve first: the weights say that all is done.
        figures.save(figures.plot_loss(records), self.out / "loss.png")
        if not self._weights_are_of(state):
            checkpoint.save(self.out / "model", state.average.state_dict(), self._facts(state))
        mended = sum(row.get("mended_steps", 0) for row in records)
        if not mended:
            return ""
        return (
            f"the gradients of {mended} of {state.nimg // self.config.batch} steps were not finite "
            f"and were mended (mended_steps in {self.out / 'metrics.jsonl'})"
        )
