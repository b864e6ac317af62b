"""Draw images from a trained model into a frame store; the same call again continues."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from echosweep import compute, places, runs
from echosweep.build import build_sampler, load_model, model_path
from echosweep.config import SampleConfig, SampleOptions, check_choice
from echosweep.data.provenance import Knowledge
from echosweep.data.store import MANIFEST, FrameStore, Preparation
from echosweep.data.writer import find_finished
from echosweep.diffusion.denoiser import Denoiser
from echosweep.diffusion.samplers import nfe
from echosweep.distributed import world
from echosweep.errors import UsageError
from echosweep.guides import build_guide, check_guides, describe
from echosweep.progress import Progress, silent
from echosweep.reporting import figures
from echosweep.sampling import (
    chunk,
    classes_of,
    compile_for_sampling,
    draw_images,
    write_images,
)
from echosweep.training import checkpoint

_GRID_IMAGES = 64


def sample(
    model: str | Path,
    out: str | Path,
    *,
    config: SampleConfig | None = None,
    known: FrameStore | None = None,
    progress: Progress = silent,
    **options: Any,
) -> FrameStore | None:
    """Write images of seeds seed .. seed + num - 1 to the frame store `out`; return it.

    The store takes over the preparation of the model's training data, so that the two may be
    compared. Where `out` is the store already, only a missing `grid` is made. Under `torchrun`
    processes share the work and only the first returns the store.

    Args:
        model: A run's folder, or a snapshot in it.
        out: The store to make.
        config: A SampleOptions, or the SampleConfig to draw by.
        known: A store whose images are taken over where they are of the same task, so that only the
            others are drawn.
        progress: Called after each batch.
        options: Fields of SampleOptions (num, seed, steps, sampler, grid, ...), on top of `config`.

    Raises:
        UsageError: For wrong settings, or an `out` that is anything else.
    """
    wanted, out, path = SampleOptions.merge(config, options), Path(out), model_path(model)
    num, seed, config = wanted.num, wanted.seed, wanted.part(SampleConfig)
    if not (out / MANIFEST).is_file():
        places.check_free(out)  # also known below, but maybe minutes of loading later
    if wanted.grid:
        runs.check_writable(wanted.grid, runs.PNG)
    facts = checkpoint.read_facts(path)
    classes = facts.get("classes", [])
    _check_label(config.label, classes, path)
    if config.guidance:
        check_guides(config.guidance, facts["sha256"])
    with world(wanted.device) as peers:
        precision = compute.choose_precision(config.precision, peers.device)
        denoiser = load_model(model, str(peers.device))
        sampler = build_sampler(config, denoiser.framework)
        guide = build_guide(config, denoiser)
        device_type = peers.device.type
        task = {**_source(facts, config), "seeds": [seed, seed + num], "device": device_type}
        if finished := _find_finished(out, task, _plans(config, precision, num, peers.device)):
            runs.note_finished(out)
            return _with_grid(finished, wanted.grid) if peers.rank == 0 else None
        places.check_free(out)
        plan = _prepare(denoiser, config, precision, num, peers.device)
        task |= {"compute": plan._asdict()}
        draw = partial(
            draw_images,
            denoiser,
            sampler=sampler,
            classes=classes,
            label=config.label,
            guide=guide,
        )
        with compute.arithmetic(precision, peers.device):
            store = write_images(
                out,
                draw,
                range(seed, seed + num),
                Preparation.from_json(facts["preparation"]),
                task,
                peers,
                wanted.batch,
                progress,
                labels=partial(_labels, facts, denoiser.image_shape, config) if classes else None,
                known=known if known and _same_but_seeds(known, task) else None,
                about={"knows": _knowledge(facts, config).to_json()},
            )
    return _with_grid(store, wanted.grid) if store else None


def _with_grid(store: FrameStore, grid: Path | None) -> FrameStore:
    if grid:
        figures.save(figures.contact_sheet(store.images[:_GRID_IMAGES], 8), grid)
    return store


def _find_finished(
    out: Path, task: dict[str, Any], plans: Sequence[compute.ComputePlan]
) -> FrameStore | None:
    """Return the store `out` if it was made by this task, under any of these plans."""
    found = runs.read_record(out / MANIFEST, "remove it") if (out / MANIFEST).is_file() else {}
    made = found.get("source", {}).get("compute")
    plan = next((plan for plan in plans if plan._asdict() == made), plans[0])
    return find_finished(out, {**task, "compute": plan._asdict()})


def _source(facts: dict[str, Any], config: SampleConfig) -> dict[str, Any]:
    """Return what a store says of the model and of the settings that its images come from."""
    return {
        "kind": "generated",
        "model": facts["sha256"],
        "trained_on": facts["data"],
        "train": facts["config"],
        "nimg": facts["nimg"],
        "sample": describe(config),
    }


def _knowledge(facts: dict[str, Any], config: SampleConfig) -> Knowledge:
    """Return which videos the model and what guides it were trained on, and which chose it."""
    knows = Knowledge.of_model(facts)
    if config.guidance is None:
        return knows
    return knows.join(Knowledge.of_model(checkpoint.read_facts(model_path(config.guidance))))


def _plans(
    config: SampleConfig, precision: str, num: int, device: torch.device
) -> list[compute.ComputePlan]:
    """Return the plans that may come of these settings: compiling is tried, and can fail."""
    calls = math.ceil(num / chunk(device)) * nfe(
        config.sampler, config.steps, config.solver or "heun"
    )
    tried = [True] if compute.worth_compiling(config.compile, device, calls) else []
    return [compute.ComputePlan(precision, compiled) for compiled in (*tried, False)]


def _prepare(
    denoiser: Denoiser, config: SampleConfig, precision: str, num: int, device: torch.device
) -> compute.ComputePlan:
    """Make the network as fast as it gets, in place; return what of that changes bits."""
    compute.prepare(denoiser.network, precision)
    plan = _plans(config, precision, num, device)[0]
    if not plan.compiled:
        return plan
    with compute.arithmetic(precision, device):
        return compute.ComputePlan(precision, compile_for_sampling(denoiser))


def _same_but_seeds(known: FrameStore, task: dict[str, Any]) -> bool:
    source = known.manifest.get("source", {})
    return {**source, "seeds": None} == {**task, "seeds": None}


def _labels(
    facts: dict[str, Any], shape: tuple[int, ...], config: SampleConfig, seeds: Sequence[int]
) -> list[dict[str, str]]:
    """Return the label of each seed's image, under the name that it has in the training data."""
    name = facts["config"]["label"]
    return [{name: word} for word in classes_of(seeds, shape, facts["classes"], config.label)]


def _check_label(label: str | None, classes: list[str], model: Path) -> None:
    if label is None:
        return
    if not classes:
        raise UsageError(f"label {label!r}: {model} has no labels; leave --label out")
    check_choice("label", label, classes)
