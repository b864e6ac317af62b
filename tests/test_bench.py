"""The benchmarks' own arithmetic: pairs in turn, ratios, bars, the table, sides in processes."""

import contextlib
import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echosweep.config import SampleConfig

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # sides take over the path of this process


def module(name: str) -> Any:
    return importlib.import_module(name)


def options(tmp_path: Path, **changes: Any) -> Any:
    return module("pairs").Options(1, 1, True, tmp_path)._replace(**changes)


def test_order_alternates_after_a_warm_up() -> None:
    asked: list[str] = []
    times = module("pairs").pairs(lambda: asked.append("a"), lambda: asked.append("b"), 3)
    assert "".join(asked) == "ab" + "ab" + "ba" + "ab"
    assert len(times) == 3
    assert all(a > 0 and b > 0 for a, b in times)


def test_seconds_stay_with_their_work() -> None:
    pause = module("time").sleep
    times = module("pairs").turns([lambda: pause(0.02), lambda: None], 2)
    assert min(slow for slow, _ in times) >= 0.02
    assert sum(fast for _, fast in times) < sum(slow for slow, _ in times)


def test_ratios_and_medians() -> None:
    pairs = module("pairs")
    times = [(1.0, 2.0), (2.0, 3.0), (4.0, 1.0)]
    assert pairs.faster(times) == [2.0, 1.5, 0.25]
    assert pairs.medians(times) == [2.0, 2.0]


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, None),
        ({"bar": 1.4}, True),
        ({"bar": 1.6}, False),
        ({"bar": 1.4, "share": 0.7, "share_bar": 0.8}, False),
        ({"bar": 1.4, "share": 0.9, "share_bar": 0.8}, True),
        ({"bar": 1.4, "better": "lower"}, False),
        ({"bar": 1.5, "better": "lower"}, True),
        ({"ratios": [], "bar": 1.4}, None),
    ],
)
def test_bars_are_judged_by_the_median(changes: dict[str, Any], met: bool | None) -> None:
    row = module("pairs").Row("what", "ours", "peer", [9.0, 1.5, 1.0])
    assert row._replace(**changes).met is met


def test_table() -> None:
    row = module("pairs").Row
    rows = [
        row("a", "x", "y", [1.5, 2.0, 1.25], share=0.756, bar=1.4, share_bar=0.8, note="why"),
        row("b", "x", "y", [1.011], bar=1.02, better="lower"),
        row("c", "", "", [], note="no GPU"),
        row("d", "x", "y", [2.0], note="why"),
    ]
    assert module("bench").table(rows).splitlines()[1:] == [
        "|---|---|---|---|---|---|---|",
        "| a [1] | x | y | 1.50 (1.25 to 2.00) | 76% | at least 1.4, 80% | no |",
        "| b | x | y | 1.011 (1.011 to 1.011) |  | at most 1.02 | yes |",
        "| c [2] |  |  |  |  |  |  |",
        "| d [1] | x | y | 2.00 (2.00 to 2.00) |  |  |  |",
        "",
        "[1] why",
        "[2] no GPU",
    ]


def test_stubs_stand_for_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stubs = module("peers").stubs("bench_stub.inner")
    assert sorted(stubs) == ["bench_stub/__init__.py", "bench_stub/inner/__init__.py"]
    for name, source in stubs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    stub: Any = importlib.import_module("bench_stub.inner")

    class Child(stub.Base[int | stub.Other]):  # type: ignore[misc]
        value = 1

    assert Child.__bases__ == (object,)
    assert stub.decorate(level=3)(Child).whatever is not None
    with pytest.raises(AttributeError):
        _ = stub.__wrapped__


def test_what_goes_wrong_in_a_side_is_said(tmp_path: Path) -> None:
    side = module("pairs").Side
    with pytest.raises(RuntimeError, match="ended with 3"):
        side(options(tmp_path), os._exit, 3)
    with pytest.raises(RuntimeError, match=r"no answer within 0\.1 s"):
        side(options(tmp_path, limit=0.1), os._exit, 3)


def test_a_peer_that_cannot_be_had(tmp_path: Path) -> None:
    start = (importlib.import_module, "no_such_peer")
    with contextlib.ExitStack() as stack:
        sides, why = module("beside").having(stack, options(tmp_path), start)
    assert sides == []
    assert why == "no peer: ModuleNotFoundError: No module named 'no_such_peer'"


def test_a_row_of_two_sides(tmp_path: Path) -> None:
    forward, nets = module("forward"), module("nets")
    plain = forward.our_plain_network
    row = forward.against("ddpmpp-small", nets.LIKE, 2, 16, options(tmp_path), plain)
    assert row.what == "forward pass, 16 px, batch 2"
    assert row.ours == f"ddpmpp-small, {row.rate:.3g} images/s"
    assert row.note.startswith("28,473,601 parameters each; ceiling ")
    assert len(row.ratios) == 1
    assert 0 < row.share < 2
    assert row.met is None


def test_a_training_step_and_the_bare_loop_are_of_one_network() -> None:
    nets, train = module("nets"), module("train")
    settings = {"network": "ddpmpp-tiny", "batch": 4, "micro_batch": 2, "warmup_kimg": 0}
    ours, facts = train.our_step("cpu", 16, settings)
    bare, same = train.bare_step("cpu", 4, 2, 16, nets.ours, "ddpmpp-tiny", {})
    assert (facts.parameters, facts.flops) == (same.parameters, same.flops)
    first, *_, last = (bare() for _ in range(20))
    assert last < first
    assert ours() != ours()


def test_drawing_is_what_sample_does() -> None:
    draw, facts = module("gpu").our_draw("cpu", "ddpmpp-tiny", 16, 2, 2, False, "w1")
    assert facts == module("nets").facts(module("nets").ours(16, "ddpmpp-tiny", {}), 16)
    assert draw().shape == (2, 16, 16)


def test_without_a_gpu_its_rows_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows, _ = module("bench").module("gpu.sampling", options(tmp_path))
    assert [row.note for row in rows()] == ["not measured: no GPU"]


def test_precision_is_all_that_differs(small_run: Path) -> None:
    precision, config = module("precision"), SampleConfig.make({"steps": 4})
    plain, again, rounded = (
        precision.draw(small_run, way, range(3), config) for way in ("fp32", "fp32", "bf16")
    )
    assert precision.differences(again, plain).startswith("100.0% of pixels equal, 0.00 of 255")
    assert not np.array_equal(rounded, plain)
    assert np.abs(rounded.astype(int) - plain).max() <= 16
