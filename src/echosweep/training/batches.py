"""Which images a step sees: a function of (seed, nimg) alone, the same for any number of processes.

Epoch e is the permutation drawn from (seed, "epoch", e); the step at nimg sees the next `batch`
positions of that endless order. Nothing is consumed, so nothing needs saving to resume.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from echosweep import rng
from echosweep.config import TrainConfig, nearest
from echosweep.data.store import FrameStore, Video
from echosweep.errors import UsageError

_NAMED = 3  # videos that a message names
_DEVICE_SHARE = 0.25  # of the device's free memory that the data set may take


class Batches:
    """A data set held in memory: uint8 images (N, C, H, W) and one-hot labels (N, L) or None."""

    def __init__(self, images: Tensor, labels: Tensor | None, seed: int) -> None:
        assert images.dtype == torch.uint8
        self.images, self.labels, self._seed = images, labels, seed
        self._permutation = lru_cache(maxsize=2)(self._draw_permutation)

    def _draw_permutation(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.images), generator=rng.generator(self._seed, "epoch", epoch))

    def order(self, start: int, count: int) -> Tensor:
        """Return rows at positions start..start+count of the endless order, int64 (count,)."""
        size, pieces = len(self.images), []
        while count > 0:
            epoch, offset = divmod(start, size)
            pieces.append(self._permutation(epoch)[offset : offset + count])
            start, count = start + len(pieces[-1]), count - len(pieces[-1])
        return torch.cat(pieces)

    def get(self, start: int, count: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Return images in [-1, 1], float32 (count, C, H, W), and their labels, on `device`."""
        rows = self.order(start, count).to(self.images.device)
        images = self.images[rows].to(device, non_blocking=True)
        labels = None if self.labels is None else self.labels[rows].to(device)
        return images.to(torch.float32) / 127.5 - 1, labels


def class_names(store: FrameStore, label: str | None, split: str = "all") -> tuple[str, ...]:
    """Return the sorted words that the label takes in a split of the store; () without a label.

    Raises UsageError unless the label is a word on every video of the split.
    """
    if label is None:
        return ()
    videos = [video for video in store.videos if split in ("all", video.split)]
    lacking = [video.name for video in videos if not isinstance(video.labels.get(label), str)]
    if lacking:
        numbers = any(label in video.labels for video in videos if video.name in {*lacking})
        names = ", ".join(lacking[:_NAMED]) + (", ..." if len(lacking) > _NAMED else "")
        usable = sorted(_words(videos))
        raise UsageError(
            f"label {label} is {'no word' if numbers else 'missing'} on {len(lacking)} of "
            f"{len(videos)} videos of {store.path}{'' if split == 'all' else f', split {split}'} "
            f"({names}){nearest(label, usable)}; labels that are words on all of them: "
            f"{', '.join(usable) or 'none'}"
        )
    return tuple(sorted({str(video.labels[label]) for video in videos}))


def _words(videos: Sequence[Video]) -> set[str]:
    """Return the labels that are words on every video."""
    each = [{k for k, v in video.labels.items() if isinstance(v, str)} for video in videos]
    return set.intersection(*each) if each else set()


def rows_with_class(
    store: FrameStore, rows: NDArray[np.int64], label: str | None, classes: Sequence[str]
) -> NDArray[np.int64]:
    """Return those of `rows` whose video has one of the classes; all without a label."""
    if label is None:
        return rows
    known = np.array([video.labels.get(label) in classes for video in store.videos])
    chosen: NDArray[np.int64] = rows[known[store.index["video"][rows]]]
    return chosen


def rows_of(store: FrameStore, config: TrainConfig) -> NDArray[np.int64]:
    """Return the rows of the split to train on; raise UsageError if it has none."""
    return store.rows(None if config.split == "all" else config.split)


def load_rows(
    store: FrameStore, rows: NDArray[np.int64], config: TrainConfig, classes: tuple[str, ...]
) -> Batches:
    """Return the store's `rows` in memory."""
    images = torch.from_numpy(np.ascontiguousarray(store.images[rows]))
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    labels = None
    if classes and config.label:
        videos, places = np.unique(store.index["video"][rows], return_inverse=True)
        words = [str(store.videos[video].labels[config.label]) for video in videos]
        indices = torch.tensor([classes.index(word) for word in words])[torch.from_numpy(places)]
        labels = one_hot(indices, len(classes)).to(torch.float32)
    return Batches(images, labels, config.seed)


def load_batches(store: FrameStore, config: TrainConfig, device: torch.device) -> Batches:
    """Return the training split in memory: on the device where it fits, else beside it."""
    classes = class_names(store, config.label, config.split)
    batches = load_rows(store, rows_of(store, config), config, classes)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        fits = batches.images.nbytes < _DEVICE_SHARE * free
        batches.images = batches.images.to(device) if fits else batches.images.pin_memory()
    return batches


def sigma_data(store: FrameStore, rows: NDArray[np.int64]) -> float:
    """Return the standard deviation of (at most 2000 of) these images in [-1, 1]."""
    images = store.images[rows[:: -(-len(rows) // 2000)]]
    return float((images / 127.5 - 1).std())
