"""From seeds to images: the reverse diffusion in batches, written as a frame store.

Image i depends on seed i alone. Its noise comes from a generator of its own, and the network always
sees as many images at a time (`FixedBatch`) on threads that share none (`even_threads`), because
sums round differently where they are cut otherwise. So --batch, the number of processes or threads
and where an interrupted run had got change no image.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from echosweep import rng
from echosweep.compute import compile_network
from echosweep.data.image_rows import ImageRows, allocate
from echosweep.data.store import INDEX_DTYPE, FrameStore, Preparation, Video, image_shape
from echosweep.data.writer import begin_partial, finish_partial
from echosweep.diffusion.denoiser import Denoiser
from echosweep.diffusion.guidance import Guide, unguided
from echosweep.diffusion.samplers import Sampler, run
from echosweep.distributed import World, barrier
from echosweep.errors import EchoSweepError
from echosweep.progress import Progress, silent
from echosweep.threads import even_threads

CHUNK = {"cpu": 16, "cuda": 64}  # images per network call: enough to fill the device


def chunk(device: str | torch.device) -> int:
    """Return the images per network call on a device."""
    return CHUNK.get(torch.device(device).type, 16)


def fixed_batches(function: Callable[..., Any], size: int) -> Callable[..., Any]:
    """Return `function`, called with `size` rows at a time, the last ones padded.

    function: of tensors with a row an image, or None, to one such tensor or several. A kernel is
    chosen by the shape of its input and sums in an order of its own: only equal shapes give equal
    bits.
    """

    def call(*tensors: Tensor | None) -> Any:
        assert tensors[0] is not None
        count, device = len(tensors[0]), tensors[0].device
        rows = torch.arange(-(-count // size) * size, device=device).clamp(max=count - 1)
        parts = [
            function(*(None if t is None else t[part] for t in tensors))
            for part in torch.split(rows, size)
        ]
        if isinstance(parts[0], Tensor):
            return torch.cat(parts)[:count]
        return tuple(torch.cat(column)[:count] for column in zip(*parts, strict=True))

    return call


class FixedBatch:
    """A denoiser that calls another with `size` images at a time."""

    def __init__(self, denoiser: Denoiser, size: int) -> None:
        self._denoiser, self._call = denoiser, fixed_batches(denoiser, size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """Return D(x; sigma) as the wrapped denoiser does: x (N, C, H, W), sigma (N,) or number."""
        sigma = torch.as_tensor(sigma, device=x.device).expand(len(x))
        denoised: Tensor = self._call(x, sigma, labels)
        return denoised


def to_uint8(x: Tensor) -> NDArray[np.uint8]:
    """Return images (N, C, H, W) in [-1, 1] as uint8 (N, H, W) or (N, H, W, 3), truncated."""
    pixels = (x * 127.5 + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


@torch.no_grad()
def draw_images(
    denoiser: Denoiser,
    seeds: Sequence[int],
    sampler: Sampler,
    classes: Sequence[str] = (),
    label: str | None = None,
    guide: Guide = unguided,
) -> NDArray[np.uint8]:
    """Return the images of `seeds`, uint8 (N, H, W) or (N, H, W, 3).

    sampler: as `build_sampler` returns it. With classes, image i gets `label`, or else one that
    its seed draws, every class alike. guide: as `build_guide` returns it. Raises EchoSweepError for
    a model that gives no images.
    """
    device = next(denoiser.parameters()).device
    noise = rng.ImageNoise(seeds, device)
    latents = noise(denoiser.image_shape)
    labels = None
    if classes:
        labels = one_hot(_pick(noise, classes, label), len(classes)).to(torch.float32)
    tools = guide(FixedBatch(denoiser, chunk(device)))
    boosting = {"churned": tools.churned} if tools.churned else {}
    steps = sampler(
        tools.denoiser, latents, noise=noise, labels=labels, corrector=tools.corrector, **boosting
    )
    # Guidance by a discriminator takes half as many images at a time.
    with even_threads(chunk(device) if guide is unguided else chunk(device) // 2):
        x = run(steps)
    if not bool(x.isfinite().all()):
        raise EchoSweepError(
            f"the model makes images that are not finite (first seed {seeds[0]}): "
            + (
                "its training diverged; train again with a lower --lr, or take an earlier snapshot"
                if guide is unguided
                else "the guidance is too strong; choose a lower --w1 or --w2"
            )
        )
    return to_uint8(x)


@torch.no_grad()
def compile_for_sampling(denoiser: Denoiser) -> bool:
    """Compile the network for the one shape that `draw_images` calls it with; say if it worked."""
    device = next(denoiser.parameters()).device
    count = chunk(device)
    x = torch.zeros(count, *denoiser.image_shape, device=device, dtype=torch.float64)
    labels = torch.zeros(count, denoiser.label_dim, device=device) if denoiser.label_dim else None
    # A GPU replays all kernels of a call as one graph.
    mode = "reduce-overhead" if device.type == "cuda" else None
    return compile_network(denoiser.network, lambda: denoiser(x, 1.0, labels), mode)


def _pick(noise: rng.ImageNoise, classes: Sequence[str], label: str | None) -> Tensor:
    drawn = noise.labels(len(classes))
    return drawn if label is None else torch.full_like(drawn, list(classes).index(label))


def classes_of(
    seeds: Sequence[int], shape: Sequence[int], classes: Sequence[str], label: str | None
) -> list[str]:
    """Return the class of which `draw_images` makes each seed's image. shape: (C, H, W)."""
    found = []
    for seed in seeds:
        noise = rng.ImageNoise([seed])
        noise(shape)  # the latents come first in an image's stream
        found.append(classes[int(_pick(noise, classes, label))])
    return found


def write_images(
    out: Path,
    draw: Callable[[Sequence[int]], NDArray[np.uint8]],
    seeds: range,
    preparation: Preparation,
    task: Mapping[str, Any],
    world: World,
    batch: int = 64,
    progress: Progress = silent,
    labels: Callable[[Sequence[int]], list[dict[str, str]]] | None = None,
    known: FrameStore | None = None,
    about: Mapping[str, Any] | None = None,
) -> FrameStore | None:
    """Write draw(seeds) to the frame store `out`, `batch` at a time; continue what was begun.

    task: what decides the images; a partial store of another task is refused. Processes share the
    work. labels: those of the seeds. known: a store of the same task whose images are taken over.
    about: further facts for the manifest, which decide no image. Returns the store (on rank 0; None
    elsewhere).
    """
    leads, shape = world.rank == 0, (len(seeds), *image_shape(preparation))
    with begin_partial(out, task) if leads else contextlib.nullcontext():
        if leads:
            _make_room(out, shape, seeds, known)
        barrier(world)
        images = ImageRows(out, shape)
        missing = images.missing()
        finished = len(seeds) - len(missing)
        progress(finished, len(seeds))
        with _writer(images) as write:
            for rows in _batches(missing, batch)[world.rank :: world.size]:
                write(rows, draw([seeds[row] for row in rows]))
                finished += len(rows) * world.size
                progress(min(finished, len(seeds)), len(seeds))
        barrier(world)
        if not leads:
            return None
        index = np.zeros(len(seeds), INDEX_DTYPE)
        index["video"] = np.arange(len(seeds))
        index["frame"] = seeds
        given = labels(seeds) if labels else [{} for _ in seeds]
        videos = [
            asdict(Video(f"seed-{seed}", labels=dict(words)))
            for seed, words in zip(seeds, given, strict=True)
        ]
        facts = {**(about or {}), "source": dict(task)}
        return finish_partial(out, task, preparation, index, videos, facts)


def _make_room(out: Path, shape: tuple[int, ...], seeds: range, known: FrameStore | None) -> None:
    allocate(out, shape)
    images = ImageRows(out, shape)
    images.forget_damaged()
    if known is not None:
        images.take_over(seeds, known)


@contextlib.contextmanager
def _writer(images: ImageRows) -> Iterator[Callable[..., None]]:
    """Yield write(rows, drawn), which writes while the next are drawn; all is written at the end.

    An error of writing is raised by the next write, or at the end.
    """
    pending: Future[None] | None = None

    def write(rows: NDArray[np.int64], drawn: NDArray[np.uint8]) -> None:
        nonlocal pending
        if pending:
            pending.result()  # one batch waits at most
        pending = pool.submit(images.put, rows, drawn)

    with ThreadPoolExecutor(1) as pool:
        yield write
        if pending:
            pending.result()


def _batches(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
