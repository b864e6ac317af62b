"""A study's folder as `echosweep study run` leaves it: invented distances, real records.

What measures itself (floor, shift, evaluation, copies) is made by the commands, so that a change of
their records is felt; the searches are closed forms, so that what a table must say is known.
"""

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echosweep import runs
from echosweep.commands.copies import copies
from echosweep.commands.evaluate import evaluate
from echosweep.commands.floor import floor
from echosweep.commands.report import report
from echosweep.commands.shift import shift
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import write_store
from echosweep.study.candidate import Candidate

Record = dict[str, Any]
BASE: Record = {
    **{"train.network": "adm-tiny", "train.framework": "edm", "train.total_kimg": 27.0},
    **{"train.posthoc_ema": True, "sample.steps": 9},
}
NETWORKS, FRAMEWORKS = ("adm-tiny", "ddpmpp-tiny", "ncsnpp-tiny"), ("edm", "vp", "ve")
STAGES = ("optimum", "networks", "sampler", "training", "guidance", "shift", "final")
FLOOR = 4.0


def distance(candidate: Candidate) -> float:
    """An invented distance: falls with training and steps; lowest at ema 0.1 and w1 2."""
    train, sample = candidate.train, candidate.sample
    kind = 3.0 * NETWORKS.index(train.network) + 5.0 * FRAMEWORKS.index(train.framework)
    guided = (sample.w1 - 2) ** 2 - 6 if sample.w1 else 0.0
    length = 100 * abs(candidate.ema - 0.1) if candidate.ema else 6.0
    return 20 + kind + 400 / (train.total_kimg or 1) + 60 / sample.steps + length + guided


class Writer:
    """Writes the stages of a study one after another, each on what the one before kept."""

    def __init__(self, path: Path, stores: Mapping[str, Path], records: Record) -> None:
        self.path, self.stores, self.records = path, stores, records
        self.candidate = Candidate.make({"train": {"total_kimg": 1}}).changed(BASE)
        self.number = 0

    def begin(self, name: str | None = None) -> None:
        """Write study.json and recipe.yaml. name: of the data."""
        real = FrameStore.open(self.stores["real"], verify=False)
        for kept in ("made", "guided"):
            shutil.copytree(self.stores[kept], self.path / "images" / kept)
        identity = {"name": "small", "seed": 0, "features": ["random"]}
        data = {"path": str(real.path), "content": real.content, "name": name}
        runs.write_record(
            self.path / "study.json", {"identity": identity, "data": data, "format": 1}
        )
        stages = "".join(f"  - name: {name}\n" for name in STAGES)
        text = f"name: small\nabout: A <small> study.\nstages:\n{stages}"
        runs.write_text(self.path / "recipe.yaml", text)

    def single(self, name: str, stage: str, result: Record | None, state: str = "done") -> None:
        """Write a stage that searches nothing."""
        row = self._row(f"{stage:0>16}", {}, {"state": "complete" if result else "running"}, 0)
        record = {"trials": [row | {"label": stage}], "result": result, "options": {}}
        self._stage(name, stage, state, record)

    def search(
        self, name: str, *rounds: list[Record], state: str = "done", strategy: str = "grid"
    ) -> None:
        """Write a search and its trials. rounds: {"changes": ..., "budget", "state", "error"}."""
        rows, made = [], dict[str, Candidate]()
        for number, proposals in enumerate(rounds):
            for proposal in proposals:
                candidate = self.candidate.changed(proposal["changes"])
                total = proposal.get("budget", 1.0) * (candidate.train.total_kimg or 0)
                candidate = candidate.changed({"train.total_kimg": total})
                signature = runs.signature(candidate.identity())
                made[signature] = candidate
                rows.append(self._row(signature, proposal["changes"], proposal, number))
                if rows[-1]["state"] == "complete":
                    rows[-1]["score"] = distance(candidate)
                    result = self._measured(candidate, "val")
                    runs.write_record(self.path / "trials" / signature / "result.json", result)
        whole = [row for row in rows if row["score"] is not None and row["budget"] == 1]
        best = min(whole, key=lambda row: float(row["score"]))["signature"]
        fields = dict.fromkeys(field for row in rows for field in row["changes"])
        space = {
            field: list(dict.fromkeys(row["changes"][field] for row in rows if row["changes"]))
            for field in fields
        }
        kept = [{"signature": best, "candidate": made[best].model_dump(mode="json")}]
        record: Record = {
            **{"options": {"space": space, "strategy": strategy}, "score": "fd", "metric": "rfd"},
            **{"trials": rows, "selected": kept if state == "done" else [], "saved": None},
            "why": f"{name}: the lowest distance" if state == "done" else "",
        }
        if strategy == "halving":
            record["saved"] = {
                **{"unit": "kimg", "trained": 108.0, "exhaustive": 243.0, "share": 4 / 9},
                "risk": "slow starters are lost",
            }
        self._stage(name, "search", state, record)
        self.candidate = made[best]

    def final(self) -> None:
        """Write the final stage: the winner, and the same without guidance."""
        winner = self._finished(self.candidate, "guided")
        control = self._finished(self.candidate.unguided(), "made")
        self.single("final", "final", {"winner": winner, "control": control})

    def _finished(self, candidate: Candidate, store: str) -> Record:
        own = self._measured(candidate, "test") | _distances(self.records[store])
        return {
            "measure": own | {"files": {"images": f"images/{store}"}},
            **{"record": self.records[store], "candidate": own["candidate"]},
            "paper": {"split": "train", "n": 112, **_distances(self.records["published"])},
            "copies": {k: v for k, v in self.records["copies"].items() if k != "images"},
            "shareable": f"images/{store}",
        }

    def _row(self, signature: str, changes: Record, proposal: Record, number: int) -> Record:
        words = (v if isinstance(v, str) else f"{k.split('.')[-1]} {v}" for k, v in changes.items())
        return {
            **{"signature": signature, "label": ", ".join(words) or "as before"},
            **{"changes": changes, "budget": proposal.get("budget", 1.0), "round": number},
            **{"state": proposal.get("state", "complete"), "score": None},
            "error": proposal.get("error"),
        }

    def _measured(self, candidate: Candidate, split: str) -> Record:
        train, value = candidate.train, distance(candidate)
        return {
            **{"task": "measure", "candidate": candidate.model_dump(mode="json")},
            **{"network": train.network, "framework": train.framework, "kimg": train.total_kimg},
            **{"parameters": 1_234_567, "train_hours": (train.total_kimg or 0) / 360},
            **{"train_images_per_second": 100.0, "nfe": 2 * candidate.sample.steps - 1},
            **{"sample_images_per_second": 12.5, "n_generated": 128, "n_reference": 320},
            **{"split": split, "seed": 0, "metric": "rfd", "label": "random-64"},
            "values": {"fd": value, "fd_floor": FLOOR, "kid": value / 1000},
            "intervals": {"fd": [value - 2, value + 2]},
            "commands": [f"echosweep train --network {train.network} --seed {train.seed}"],
            "environment": {"cpu": "One", "cores": 2, "packages": {"torch": "2"}, "commit": "c"},
        }

    def _stage(self, name: str, stage: str, state: str, record: Record) -> None:
        path = self.path / "stages" / f"{self.number:02d}-{name}.json"
        head = {"name": name, "stage": stage, "state": state, "seconds": 60.0}
        runs.write_record(path, head | record)
        self.number += 1


def _distances(record: Record) -> Record:
    """What a study keeps of an evaluation under short names."""
    ((label, features),) = record["features"].items()
    short = {
        table: {
            name.replace(features["metric"], "fd"): value
            for name, value in record[part].get(label, {}).items()
        }
        for table, part in (("values", "metrics"), ("intervals", "intervals"))
    }
    counts = {name: record[name] for name in ("n_generated", "n_reference")}
    return {"metric": features["metric"], "label": label} | short | counts


def cells() -> list[Record]:
    return [
        {"train.network": network, "train.framework": framework}
        for network in NETWORKS
        for framework in FRAMEWORKS
    ]


def write_networks(writer: Writer) -> None:
    """Nine cells at a ninth; three of them at a third, of which one fails; one to the end."""
    better = sorted(cells(), key=lambda changes: distance(writer.candidate.changed(changes)))
    first = [{"changes": changes, "budget": 1 / 9} for changes in cells()]
    second: list[Record] = [{"changes": changes, "budget": 1 / 3} for changes in better[:3]]
    second[2] |= {"state": "failed", "error": "loss is not finite & <nan>"}
    writer.search("networks", first, second, [{"changes": better[0]}], strategy="halving")


def write_searches(writer: Writer) -> None:
    """Write the searches after that of the network."""
    plain: Record = {"changes": {}}
    writer.search("sampler", [{"changes": {"sample.steps": n}} for n in (5, 9, 18, 30)])
    writer.search("training", [{"changes": {"ema": length}} for length in (0.05, 0.1, 0.2)])
    guided = [
        {"sample.guidance": kind, "sample.w1": w1}
        for kind in ("discriminator", "autoguidance")
        for w1 in (1.0, 2.0, 5.0)
    ]
    writer.search("guidance", [plain], [{"changes": changes} for changes in guided])


@pytest.fixture(scope="session")
def stores(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few real videos, and noisy frames of them in place of generated images."""
    small, draw = FrameStore.open(small_store), np.random.default_rng(0)
    folder, size = tmp_path_factory.mktemp("stores"), Preparation((16, 16))
    frames = small.images.reshape(20, 8, 16, 16)[6:, ::4]
    found = {name: folder / name for name in ("real", "made", "guided")}
    write_store(found["real"], size, list(zip(small.videos[6:], frames, strict=True)))
    for name, sigma in (("made", 40), ("guided", 10)):
        images = frames.reshape(-1, 16, 16)[::2]
        images = (images + draw.normal(0, sigma, images.shape)).clip(0, 255).astype(np.uint8)
        videos = [(Video(f"seed-{i}"), image[None]) for i, image in enumerate(images)]
        write_store(found[name], size, videos)
    return found


@pytest.fixture(scope="session")
def records(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Record:
    """What the commands say of these stores; few epochs of one classifier suffice."""
    folder = tmp_path_factory.mktemp("records")
    made, guided, real = (stores[name] for name in ("made", "guided", "real"))
    settings: Record = {"features": "random", "cache": folder / "cache"}
    quick: Record = {"classifiers": ["linear"], "epochs": 1, "repeats": 1}
    found = {
        "floor": floor(real, repeats=2, **settings),
        "shift": shift(made, real, after=guided, out=folder / "shift", **quick),
        "copies": copies(guided, real, rate=0.1, out=folder / "copies", **settings),
        "published": evaluate(guided, real, split="train", **settings),
        "made": evaluate(made, real, split="test", **settings),
        "guided": evaluate(guided, real, split="test", **settings),
    }
    assert all(found.values())
    return found


def begun(path: Path, stores: dict[str, Path], records: Record) -> Writer:
    made = Writer(path, stores, copy.deepcopy(records))
    made.begin()
    return made


@pytest.fixture
def writer(tmp_path: Path, stores: dict[str, Path], records: Record) -> Writer:
    """A study that has not begun."""
    return begun(tmp_path / "study", stores, records)


@pytest.fixture(scope="session")
def finished(
    stores: dict[str, Path], records: Record, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A finished study of every kind of stage. Read only: several tests share it."""
    made = begun(tmp_path_factory.mktemp("finished") / "study", stores, records)
    made.single("optimum", "floor", records["floor"])
    write_networks(made)
    write_searches(made)
    made.single("shift", "shift", records["shift"])
    made.final()
    return made.path


@pytest.fixture(scope="session")
def reported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of its report."""
    return report(finished, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def page(reported: Path, read_page: Any) -> Any:
    """The page, read back."""
    return read_page(reported)


@pytest.fixture
def ended(writer: Writer) -> Writer:
    """A study of a final stage alone, which takes no figure to report; the test's own."""
    writer.candidate = writer.candidate.changed({"sample.guidance": "discriminator"})
    writer.final()
    return writer


@pytest.fixture
def unfinished(writer: Writer) -> Path:
    """A study that is searching for its network."""
    first = [{"changes": changes, "budget": 1.0} for changes in cells()[:4]]
    first[2]["state"], first[3]["state"] = "running", "waiting"
    writer.search("networks", first, state="running")
    return writer.path
