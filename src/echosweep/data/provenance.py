"""Which videos a model has seen, and which of two stores is the generated one.

A model carries the hashes of the videos that it was trained on and of those that chose among its
versions, and so do the images that it makes. A hash is of what a video was read from: another size,
another split or another name does not make a video new. Invariant: the name of a split decides only
where a hash is missing, and that is said.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from echosweep.data.store import FrameStore
from echosweep.errors import UsageError

Hashes = NDArray[np.uint64]  # sorted, each once
_HASH = np.dtype("<u8")  # 16 hex digits


def _none() -> Hashes:
    return np.empty(0, np.uint64)


@dataclass(frozen=True)
class Knowledge:
    """The videos that a model knows.

    trained: hashes of those that it, or what guides it, was trained on. chose: of those by which a
    version of it was chosen. splits: (content of a store, name of a split) of each training.
    complete: whether every such video has a hash; if not, `splits` decides about the others.
    """

    trained: Hashes = field(default_factory=_none)
    chose: Hashes = field(default_factory=_none)
    splits: tuple[tuple[str, str], ...] = ()
    complete: bool = True

    @classmethod
    def of_rows(
        cls,
        store: FrameStore,
        split: str | None = None,
        trained: NDArray[np.int64] | None = None,
        chose: NDArray[np.int64] | None = None,
    ) -> Self:
        """Return the knowledge of a model that is trained or chosen on images of `store`.

        Args:
            store: the real images.
            split: the name of the split that it is trained on, or "all"; None for no training.
            trained: the rows of `store` that it is trained on.
            chose: the rows by which one of its versions is chosen.
        """
        given = (_none() if rows is None else videos_of(store, rows) for rows in (trained, chose))
        found = [_hashes(store, videos) for videos in given]
        known = [np.unique(hashes[there]) for hashes, there in found]
        complete = all(bool(there.all()) for _, there in found)
        return cls(known[0], known[1], ((store.content, split),) if split else (), complete)

    @classmethod
    def of_model(cls, facts: Mapping[str, Any]) -> Self:
        """Return what a model or a discriminator knows, from its JSON; older ones know splits."""
        if "knows" in facts:
            return cls.from_json(facts["knows"])
        split = facts.get("config", {}).get("split", "train")
        return cls(splits=((facts["data"], split),) if "data" in facts else (), complete=False)

    @classmethod
    def of_store(cls, store: FrameStore) -> Self:
        """Return what the model of a store's images knows; nothing for real images."""
        source = store.manifest.get("source", {})
        if "knows" in store.manifest:
            return cls.from_json(store.manifest["knows"])
        if "trained_on" not in source:
            return cls()
        split = source.get("train", {}).get("split", "train")
        return cls(splits=((source["trained_on"], split),), complete=False)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the knowledge that `to_json` wrote."""
        trained, chose = (
            np.frombuffer(base64.b64decode(value[name]), _HASH).astype(np.uint64)
            for name in ("trained", "chose")
        )
        splits = tuple((content, split) for content, split in value["splits"])
        return cls(trained, chose, splits, value["complete"])

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON: hashes as the base64 of 8 bytes each, 11 characters a video."""
        packed = {
            name: base64.b64encode(hashes.astype(_HASH).tobytes()).decode()
            for name, hashes in (("trained", self.trained), ("chose", self.chose))
        }
        return {**packed, "splits": [list(pair) for pair in self.splits], "complete": self.complete}

    def join(self, other: Self) -> Self:
        """Return what two models know together: a model and what guides it."""
        return type(self)(
            np.union1d(self.trained, other.trained),
            np.union1d(self.chose, other.chose),
            tuple(dict.fromkeys((*self.splits, *other.splits))),
            self.complete and other.complete,
        )


class Seen(NamedTuple):
    """How many of some real videos a model knows.

    trained: it was trained on them. chose: they chose one of its versions. by_name: videos about
    which a hash is missing, so the name of a split decided.
    """

    videos: int
    trained: int
    chose: int
    by_name: int

    def warnings(self, who: str = "the model", videos: str = "of the reference") -> Iterator[str]:
        """Yield what a reader must know of it, a sentence each; nothing where all is well.

        Args:
            who: the model, in words.
            videos: which videos these are, in words.
        """
        if self.trained:
            yield (
                f"{self.trained} of {self.videos} videos {videos} were trained on by {who}, so "
                "copies of them look good; compare with videos that no training saw: --split test "
                "of its training data, or other patients"
            )
        if self.chose:
            yield (
                f"{self.chose} of {self.videos} videos {videos} chose among versions of {who} (the "
                "epoch of a discriminator), so they flatter it; compare with videos that chose "
                "nothing"
            )
        if self.by_name:
            yield (
                f"for {self.by_name} of {self.videos} videos {videos} no hash says whether {who} "
                "saw them, so the name of their split decided; prepare the videos again, and train "
                "anew, to know"
            )


def count_seen(knows: Knowledge, store: FrameStore, rows: NDArray[np.int64]) -> Seen:
    """Return how many videos of `rows` of the real `store` are known.

    A video without a hash, or one that is not found among incomplete knowledge, counts as trained
    on if the model was trained on its split of this very store.
    """
    videos = videos_of(store, rows)
    hashes, there = _hashes(store, videos)
    trained, chose = (there & np.isin(hashes, known) for known in (knows.trained, knows.chose))
    undecided = ~trained & ~chose & (~there | (not knows.complete))
    if not (knows.splits or len(knows.trained) or len(knows.chose)):
        undecided[:] = False  # no model made these images
    names = {split for content, split in knows.splits if content == store.content}
    by_name = np.array([bool(names & {store.videos[i].split, "all"}) for i in videos], bool)
    trained |= undecided & by_name
    counts = (len(videos), trained.sum(), chose.sum(), undecided.sum())
    return Seen(*map(int, counts))


def count_missing(knows: Knowledge, store: FrameStore, rows: NDArray[np.int64]) -> int:
    """Return how many videos that a model was trained on are not among those of `rows`."""
    hashes, there = _hashes(store, videos_of(store, rows))
    return int((~np.isin(knows.trained, hashes[there])).sum())


def videos_of(store: FrameStore, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of videos.json that images come from, ascending, each once."""
    return np.unique(store.index["video"][rows]).astype(np.int64)


def _hashes(store: FrameStore, videos: NDArray[Any]) -> tuple[Hashes, NDArray[np.bool_]]:
    """Return the hash of each video, and whether there is one."""
    contents = [store.videos[i].content for i in videos]
    hashes = np.array([int(content, 16) if content else 0 for content in contents], np.uint64)
    return hashes, np.array([bool(content) for content in contents], bool)


def is_generated(store: FrameStore) -> bool:
    """Say whether a model made the images of a store."""
    return bool(store.manifest.get("source", {}).get("kind") == "generated")


def check_real(store: FrameStore, what: str) -> None:
    """Raise UsageError for a generated store where a real one is needed; `what` names the place."""
    if is_generated(store):
        raise UsageError(
            f"{what}: {store.path} was drawn by `echosweep sample`, and real images are needed "
            "here; give a store that `echosweep prepare` made"
        )


def check_order(
    generated: FrameStore, reference: FrameStore, order: str = "GENERATED REFERENCE"
) -> None:
    """Raise UsageError for two stores that were swapped: the reference alone is generated.

    Two real ones, or two generated ones, may be compared; `pair_notes` says so.

    Args:
        generated: the store that should be generated.
        reference: the store that should be real.
        order: the arguments as they should be written.
    """
    if is_generated(reference) and not is_generated(generated):
        raise UsageError(
            f"{generated.path} and {reference.path} are swapped: the first holds real images, the "
            f"second was drawn by `echosweep sample`; the order is {order}"
        )


def pair_notes(generated: FrameStore, reference: FrameStore) -> Iterator[str]:
    """Yield a sentence where both stores are real, or both are generated."""
    kinds = [store.manifest.get("source", {}).get("kind") for store in (generated, reference)]
    made = [kind == "generated" for kind in kinds]
    if all(made):
        yield (
            "the reference was generated too, so this compares two models with each other, not "
            "with real images"
        )
    elif all(kinds) and not any(made):
        yield (
            "`echosweep sample` drew neither store: if both are real, this is real against real, "
            "the optimal distance, and not what a model reaches"
        )
