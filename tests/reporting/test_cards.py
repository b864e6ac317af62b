"""The cards of weights and images: what records say is seen, and is never markup."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from echosweep.reporting.cards import Verbatim, code, dataset_card, escape, front_page, model_card

Facts = dict[str, Any]
MARKDOWN = MarkdownIt("commonmark").enable("table")
SIDE = {"images": 1200, "groups": 60}
FACTS: Facts = {
    "study": "laptop",
    "data": {
        **{"name": "EchoNet-Dynamic", "content": "c0" * 32},
        "splits": {"train": {"videos": 75, "images": 1200}, "test": {"videos": 12, "images": 190}},
    },
    "measure": {
        **{"parameters": 3_210_000, "train_hours": 2.5, "nfe": 35, "split": "test"},
        **{"metric": "fd_efficientnet_lite0", "candidate": {"ema": None}},
        "values": {"fd": 120.25, "fd_floor": 40.5, "fd_at_floor": 130.75},
        "intervals": {"fd": [100.5, 140.25]},
        "environment": {"commit": "c0ffee", "time": "2026-11-23T07:00:00+00:00"},
    },
    "evaluation": {
        "metrics": {
            "efficientnet-lite0": {"fd_efficientnet_lite0": 120.25, "kid": 0.125},
            "images": {"sector_iou": 0.875, "mean_level": 31.5},
        },
        "intervals": {"efficientnet-lite0": {"kid": [0.0625, 0.1875]}},
        **{"n_generated": 4000, "n_reference": 190, "warnings": ["only 12 patients"]},
        "provenance": {"reference": {"images": 190, "groups": 12}},
    },
    "paper": {"split": "train", "n": 1200, "values": {"fd": 99.5}},
    "copies": {
        **{"rate": 0.01, "flagged": 7, "identical": 2, "n_generated": 4000, "n_train": 1200},
        **{"n_held_out": 380, "held_out_groups": 24, "false_alarms": 0.0125},
        **{"false_alarm_interval": [0.0, 0.035], "notes": ["flips are not sought"]},
        "provenance": {"train": SIDE, "holdout": {"images": 380, "groups": 24}},
    },
    "shift": {
        "table": {
            "generated": {"linear": {"accuracy": 0.7125}, "resnet18": {"accuracy": 0.9}},
            "guided": {"linear": {"accuracy": 0.65}, "resnet18": {"accuracy": 0.8}},
            "floor": {"linear": {"accuracy": 0.525}},
        },
        "verdicts": {"generated": "told apart", "guided": "chance"},
        "chance": {"generated": {"accuracy_margin": 0.05}, "guided": {"accuracy_margin": 0.07}},
    },
    "model": {
        **{"sha256": "ab" * 32, "nimg": 48_000},
        "config": {"network": "adm-tiny", "framework": "edm", "ema_halflife_kimg": 500.0},
        "preparation": {"size": [64, 48], "channels": 1, "fit": "crop", "filter": "lanczos"},
    },
    "guide": None,
    "source": {"seeds": [1000, 5000], "device": "cpu"},
    "sampling": {"sampler": "heun", "steps": 18},
    **{"num": 3993, "available": 3993, "version": "0.1.0"},
}
GUIDE = {
    **{"kind": "discriminator", "epoch": 12, "config": {"kind": "encoder"}, "sha256": "cd" * 32}
}
CARDS: dict[str, Callable[[Facts], str]] = {
    "model": model_card,
    "dataset": lambda facts: dataset_card(facts, "`NNNNNN.png`: **8 bits**."),
    "front": lambda facts: front_page(facts, {"images": "store", "png": "png"}),
}


def text_of(markdown: str) -> str:
    """Return what a reader of the rendered card sees, white space made single."""
    words = []
    for token in MARKDOWN.parse(markdown):
        for child in token.children or [token]:
            if child.type in ("text", "code_inline", "code_block", "fence", "softbreak"):
                words.append(child.content or " ")
        words.append(" " if token.type == "inline" else "")
    return " ".join("".join(words).split())


def parts(card: str) -> tuple[Facts, str]:
    """Return the YAML header and what is seen of the rest."""
    _, header, body = card.split("---\n", 2)
    return yaml.safe_load(header), text_of(body)


def test_a_model_card_says_how_good_and_how_made() -> None:
    header, text = parts(model_card(FACTS))
    assert (header["license"], header["library_name"]) == ("other", "echosweep")
    (result,) = header["model-index"][0]["results"]
    assert result["dataset"] == {
        **{"name": "EchoNet-Dynamic", "type": "echonet-dynamic", "split": "test"}
    }
    assert result["metrics"] == [
        {"type": "fd_efficientnet_lite0", "value": 120.25},
        {"type": "kid", "value": 0.125},
    ]
    for words in (
        "adm-tiny edm, 64 x 48, trained on EchoNet-Dynamic",
        "For research; not for clinical use.",
        "fd_efficientnet_lite0 is 120.2 (95 %: 100.5 to 140.2), between 4,000 generated and 190",
        "real images against real ones of other patients, is 40.5; at as many images these stand "
        "at 130.8",
        "which trained it too and so flatter it: 99.5 with 1,200 images",
        "kid 0.125 0.0625 to 0.1875 lower",
        "sector_iou 0.875 – higher",
        "measured the distance 190 12",
        "train 75 1,200",
        "linear 71.25 52.5 resnet18 90 –",
        "chance alone leaves ± 5 points. All classifiers: told apart.",
        "4,000 generated images were searched for copies of 1,200 training images. 7 were flagged",
        "flags about 40 without any copying; measured on 380 held-out images of 24 patients or "
        "videos it is 1.25 % (95 %: 0 to 3.5 %)",
        "flips are not sought",
        "only 12 patients",
        "nobody has chosen one yet: that is for you to decide",
        "arXiv:2311.01567",
    ):
        assert words in text
    assert "mean_level" not in text
    assert "guided by" not in text


def test_a_dataset_card_says_what_lies_there() -> None:
    header, text = parts(dataset_card(FACTS | {"num": 3}, "`NNNNNN.png`: **8 bits**."))
    assert header["size_categories"] == ["n<1K"]
    assert header["task_categories"] == ["unconditional-image-generation"]
    for words in (
        "3 synthetic images after EchoNet-Dynamic Not images of patients",
        "NNNNNN.png: 8 bits.",
        "3 of 3,993 that may be given away, 64 x 48 pixels, grey",
        "from 1000 to 4999, less those of images that were left out",
        "sampler heun, steps 18",
        "7 were flagged, and none of these is here",
    ):
        assert words in text


def test_a_guided_winner_is_judged_by_its_guided_images() -> None:
    text = parts(model_card(FACTS | {"guide": GUIDE}))[1]
    assert "a discriminator (encoder, epoch 12), SHA-256 cdcd" in text
    assert "linear 65 52.5" in text
    assert "All classifiers: chance." in text
    assert "drawn without guidance" not in text
    weaker = {"nimg": 12_000, "sha256": "cd" * 32}
    assert "a weaker model: the same after 12,000 images" in model_card(FACTS | {"guide": weaker})
    shift = FACTS["shift"] | {"table": {"generated": FACTS["shift"]["table"]["generated"]}}
    plain = parts(model_card(FACTS | {"guide": GUIDE, "shift": shift}))[1]
    assert "drawn without guidance, tested on others" in plain


def test_what_was_not_measured_is_said() -> None:
    copies = FACTS["copies"] | {"false_alarm_interval": None}
    text = parts(model_card(FACTS | {"shift": None, "paper": None, "copies": copies}))[1]
    assert "Can a classifier tell That was not measured." in text
    assert "of one patient or video, so without an interval" in text
    assert "As Reynaud & Kainz 2023 measured" not in text
    innocent = parts(model_card(FACTS | {"copies": FACTS["copies"] | {"flagged": 0}}))[1]
    assert "copies of 1,200 training images. None was flagged. The rate" in innocent


def test_the_front_page_leads_to_each_folder() -> None:
    page = front_page(FACTS, {"images": "store", "png": "png"})
    links = re.findall(r"\]\((.*?)\)", page)
    assert links == ["model/README.md", "images/README.md", "png/README.md"]
    assert "--seed 5000" in page
    assert "7 of 4,000 images were flagged" in text_of(page)


HOSTILE = "# *a* [b](http://x) <script>alert(1)</script> | ![c](d) `e` $f$ &amp; \n---\n~~g~~ _h_"


@pytest.mark.parametrize("name", CARDS)
def test_a_name_is_no_markup(name: str) -> None:
    """As many headings, links, pictures, rows and so on as with a tame name; and it is all seen."""
    tame, hostile = (
        CARDS[name](
            FACTS
            | {"study": word, "data": FACTS["data"] | {"name": word}}
            | {"evaluation": FACTS["evaluation"] | {"warnings": [word]}}
        )
        for word in ("tame", HOSTILE)
    )
    bodies = [card.split("---\n", 2)[-1] if name != "front" else card for card in (tame, hostile)]

    def kinds(body: str) -> list[str]:
        tokens = MARKDOWN.parse(body)
        found = [child.type for t in tokens for child in t.children or [t]]
        return [kind for kind in found if kind not in ("text", "softbreak", "code_inline")]

    assert kinds(bodies[0]) == kinds(bodies[1])
    assert " ".join(HOSTILE.split()) in text_of(bodies[1])


@given(st.text())
def test_escaped_text_is_shown_as_it_is(text: str) -> None:
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    tokens = MARKDOWN.parseInline(f"x {escape(text)} y")[0].children
    assert tokens is not None
    assert all(token.type == "text" for token in tokens)
    assert "".join(token.content for token in tokens) == f"x {shown} y"


def test_only_names_and_hashes_are_code() -> None:
    assert code("fd_efficientnet_lite0") == "`fd_efficientnet_lite0`"
    assert code("a`b") == "a\\`b"
    assert escape(Verbatim("**a**")) == "**a**"


def test_cards_need_no_torch() -> None:
    words = "import sys, echosweep.reporting.cards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
