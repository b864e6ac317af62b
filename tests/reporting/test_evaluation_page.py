"""The page of an evaluation: what it says, what it leaves out, and that it needs nothing else."""

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from echosweep.commands.evaluate import evaluate
from echosweep.data.store import Preparation, Video
from echosweep.data.writer import write_store
from echosweep.reporting.evaluation_page import EvaluationPictures, plot_curves, write_report
from echosweep.reporting.figures import contact_sheet
from echosweep.reporting.meanings import UNKNOWN, meaning
from echosweep.reporting.page import interval, number

Read = Callable[[Path], Any]
Record = dict[str, Any]

CURVE = {
    "counts": [100, 200, 300],
    "values": [[1.2, 1.0, 0.9], [1.3, 1.1, 0.9]],
    **{"mean": 0.9, "std": 0.01, "infinity": 0.7, "infinity_std": 0.02, "slope": 55.0},
}
DRAWS = {"values": [0.8] * 10, "n": 150, "pool": 600, "disjoint": False}
RECORD: Record = {
    "metrics": {
        "inception-768": {
            "fid768": 0.82,
            "fid768_at_floor": 0.9,
            "fid768_floor": 0.35,
            "fid768_above_floor": 0.55,
            "fid768_infinity": 0.7,
            "fid768_real_redrawn_mean": 0.8125,
            "fid768_real_redrawn_std": 0.0321,
            "fid768_generated_redrawn_mean": 0.8375,
            "fid768_generated_redrawn_std": 0.0123,
            "precision": 0.625,
            "a_new_one": 12345.6,
        },
    },
    "intervals": {"inception-768": {"fid768": [0.7, 0.9], "precision": [0.5, 0.75]}},
    "n_generated": 600,
    "n_reference": 600,
    "features": {"inception-768": {"name": "inception", "dims": 768, "weights": "1b8b"}},
    "warnings": ["the sets differ"],
    "provenance": {
        "generated": {"path": "/data/made", "content": "9a66", "groups": 600},
        "reference": {"path": "/data/hearts", "content": "d872", "groups": 60, "split": "test"},
        "environment": {
            "command": ["echosweep", "a b"],
            "packages": {"torch": "2"},
            "commit": None,
        },
    },
    "details": {
        "inception-768": {
            "frechet": {
                "by": "video",
                "n_floor": 300,
                "generated": CURVE,
                "floor": CURVE,
                "interval": {"of": "this number", "n_generated": 600, "n_reference": 610},
            },
            "noise": {"real": DRAWS, "generated": DRAWS | {"pool": 6000, "disjoint": True}},
        },
    },
}
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 48, 8, 8), dtype=np.uint8)
PICTURES = EvaluationPictures(IMAGES[0], IMAGES[1], IMAGES[2, :3], IMAGES[3, :3])


@pytest.fixture
def made(tmp_path: Path, read_page: Read) -> Callable[..., Any]:
    """The page of a record, read back."""

    def make(record: Record, pictures: EvaluationPictures = PICTURES) -> Any:
        write_report(tmp_path, record, pictures)
        return read_page(tmp_path / "evaluation.html")

    return make


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, Path]:
    """A record of every metric of two small stores, and the folder that it was written to."""
    folder, draw = tmp_path_factory.mktemp("measured"), np.random.default_rng(0)
    for name, splits in (("made", ["train"] * 4), ("real", ["test"] * 4)):
        videos = [
            (Video(f"v{i}", split), draw.integers(20, 250, (6, 32, 32), dtype=np.uint8))
            for i, split in enumerate(splits)
        ]
        write_store(folder / name, Preparation((32, 32)), videos, source={"kind": "test"})
    record = evaluate(
        folder / "made",
        folder / "real",
        metrics="all",
        features="random",
        cache=folder / "cache",
        out=folder / "out",
    )
    assert record is not None
    return record, folder / "out"


def without(record: Record, *path: str) -> Record:
    """Return a copy of `record` that lacks what lies at `path`."""
    record = copy.deepcopy(record)
    inner = record
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return record


def test_the_json_is_the_record(tmp_path: Path) -> None:
    write_report(tmp_path, RECORD, PICTURES)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == RECORD


def test_the_page_of_a_real_record_holds_every_value(
    measured: tuple[Record, Path], read_page: Read
) -> None:
    record, folder = measured
    page = read_page(folder / "evaluation.html")
    cells = {cell for table in page.tables for row in table for cell in row}
    shown = " ".join(cells)
    for label, values in record["metrics"].items():
        for name, value in values.items():
            assert meaning(name) is not UNKNOWN, f"{name} has no row in MEANINGS"
            assert number(value) in shown, name
            if name in record["intervals"].get(label, {}):
                assert interval(record["intervals"][label][name]) in cells, name
    assert all(warning in page.text for warning in record["warnings"])
    assert {"metrics", "curves", "noise", "images", "echo", "provenance"} <= set(page.ids)


def test_the_interval_names_its_number_of_images(made: Callable[..., Any]) -> None:
    assert "95 % at 600 and 610 images" in made(RECORD).text
    path = ("details", "inception-768", "frechet", "interval")
    assert "610" not in made(without(RECORD, *path)).text


def test_the_answer_comes_first_and_as_a_sentence(made: Callable[..., Any]) -> None:
    text = made(RECORD).text
    sentence = (
        "fid768 is 0.82 (95 %: 0.7 to 0.9). With 300 images a side, generated images are at 0.9 "
        "and real images of other patients or videos at 0.35: 0.55 above that floor."
    )
    sets = "600 generated and 600 real images of split test, the real ones of 60 patients"
    places = [text.index(part) for part in (sets, sentence, "the sets differ", "All metrics")]
    assert places == sorted(places)


def test_a_distance_below_the_floor_is_not_praised(made: Callable[..., Any]) -> None:
    record = copy.deepcopy(RECORD)
    record["metrics"]["inception-768"]["fid768_above_floor"] = -0.25
    assert "0.25 below that floor, so the real halves differ more" in made(record).text


def test_a_floor_by_frame_does_not_speak_of_other_patients(made: Callable[..., Any]) -> None:
    record = copy.deepcopy(RECORD)
    record["details"]["inception-768"]["frechet"]["by"] = "frame"
    text = made(record).text
    assert "other frames of the same real patients at 0.35" in text
    assert "of other patients" not in text


def test_the_table_of_metrics(made: Callable[..., Any]) -> None:
    table = made(RECORD).tables[0]
    rows = {row[0]: row[1:] for row in table}
    assert rows["Metric"] == ["Value", "95 % interval", "Better", "What it says"]
    assert rows["fid768"][:3] == ["0.82", "0.7 to 0.9", "lower"]
    assert "(Heusel et al. 2017)" in rows["fid768"][3]
    assert rows["precision"][:3] == ["0.625", "0.5 to 0.75", "higher"]
    assert rows["a_new_one"] == ["12,346", "–", "–", ""]
    assert not any("redrawn" in name for name in rows)


def test_noise_says_how_far_draws_overlap(made: Callable[..., Any]) -> None:
    real, generated = made(RECORD).tables[1][1:]
    assert real[1:4] == [
        *("real images redrawn, generated ones fixed", "0.8125 ± 0.0321", "10 of 150 images")
    ]
    assert "each from the same 600, so two share about 25 %" in real[4]
    assert generated[2] == "0.8375 ± 0.0123"
    assert generated[4] == "none: no image is in two draws"


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        (("metrics",), {"metrics", "curves", "noise"}),
        (("details",), {"curves"}),
        (("details", "inception-768", "frechet"), {"curves"}),
        (("details", "inception-768", "noise"), set()),
        (("intervals",), set()),
        (("warnings",), {"warnings"}),
        (("provenance", "environment"), set()),
        (("metrics", "inception-768", "fid768"), set()),
    ],
)
def test_what_the_record_lacks_leaves_no_section(
    path: tuple[str, ...], gone: set[str], made: Callable[..., Any]
) -> None:
    whole = {"warnings", "metrics", "curves", "noise", "images", "provenance"}
    assert set(made(RECORD).ids) == whole
    assert set(made(without(RECORD, *path)).ids) == whole - gone


def test_an_empty_record_is_a_page_of_images(made: Callable[..., Any]) -> None:
    page = made({}, EvaluationPictures(IMAGES[0], IMAGES[1]))
    assert page.ids == ["images"]
    assert len(page.pictures) == 2


def test_echo_alone_needs_no_extractor(
    measured: tuple[Record, Path], made: Callable[..., Any]
) -> None:
    record = copy.deepcopy(measured[0])
    for part in ("metrics", "intervals", "details"):
        record[part] = {"images": record[part]["images"]}
    page = made(record, EvaluationPictures(IMAGES[0], IMAGES[1]))
    assert {"metrics", "curves", "noise"}.isdisjoint(page.ids)
    values = record["metrics"]["images"]
    rows = {row[0]: row for table in page.tables for row in table}
    assert rows["histogram_w1"][3] == number(values["histogram_w1_floor"])
    assert rows["mean_level"][1] == number(values["mean_level_generated"])
    assert rows["mean_level"][3] == number(values["mean_level_reference"])


def test_pictures_are_the_pixels_given(made: Callable[..., Any]) -> None:
    """Enlarged by a whole factor where they are small: 8 px to 64."""
    pngs = [p for p in made(RECORD).pictures if p.startswith(b"\x89PNG")]
    shown = [np.asarray(Image.open(io.BytesIO(png))) for png in pngs]
    sheets = [contact_sheet(images, 6, 8) for images in (IMAGES[1], IMAGES[0])]
    pairs = [contact_sheet(IMAGES[2:, i], 2) for i in range(3)]
    for one, other in zip(shown, [*sheets, *pairs], strict=True):
        assert np.array_equal(one, np.asarray(other))


@pytest.mark.parametrize("shape", [(5, 700, 600), (1, 9, 7, 3)])
def test_images_of_any_size_have_a_sheet(shape: tuple[int, ...], made: Callable[..., Any]) -> None:
    images = np.zeros(shape, np.uint8)
    assert len(made({}, EvaluationPictures(images, images)).pictures) == 2


def test_curves_are_of_what_they_are_called() -> None:
    real = CURVE | {"infinity": 0.1, "slope": 10.0}
    axes = plot_curves({"generated": CURVE, "floor": real}, "fid768").axes[0]
    labels = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    first, last = (labels[name] for name in sorted(labels))
    assert first.get_label().startswith("generated")
    assert first.get_ydata()[0] == pytest.approx(0.7)
    assert last.get_ydata()[0] == pytest.approx(0.1)
    assert axes.get_ylabel() == "fid768"


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF), min_size=1))
def test_texts_of_a_record_are_text_on_the_page(
    text: str, tmp_path_factory: pytest.TempPathFactory, read_page: Read
) -> None:
    text = " ".join(text.split()) or "x"
    folder = tmp_path_factory.mktemp("escaped")
    sides = {"generated": {"path": "/data/made", "source": f"<b>{text}"}}
    record = {
        "warnings": [f"<script>{text}</script>"],
        "metrics": {f"<i>{text}": {f'"><img src=x onerror="{text}">': 1.0}},
        "provenance": sides | {"environment": {"command": [f"</td>{text}"]}},
    }
    write_report(folder, record, EvaluationPictures(IMAGES[0][:2], IMAGES[1][:2]))
    page = read_page(folder / "evaluation.html")
    assert f"<script>{text}</script>" in page.text
    assert f"<b>{text}" in page.text
    assert f'"><img src=x onerror="{text}">' in page.text


def test_the_same_record_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_report(tmp_path / name, RECORD, PICTURES)
    first, second = (tmp_path / name / "evaluation.html" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
