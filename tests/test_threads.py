import os
from pathlib import Path

import pytest
import torch

from echosweep import machine, runs, threads
from echosweep.compute import prepare
from echosweep.networks import NETWORKS


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        ({8: 10.0, 4: 12.0, 2: 20.0}, 8),
        ({8: 10.0, 4: 9.6}, 8),  # as good: more threads
        ({8: 10.0, 4: 9.0, 2: 14.0}, 4),
        ({8: 40.0, 4: 21.0, 2: 9.0, 1: 9.1}, 2),
    ],
)
def test_the_fastest_threads(ms: dict[int, float], expected: int) -> None:
    assert threads.fastest(ms) == expected


def test_threads_are_timed_from_the_most_down() -> None:
    ms = threads.time_threads(3)
    assert list(ms) in ([3, 1], [3])
    assert min(ms.values()) > 0
    assert torch.get_num_threads() == 1


@pytest.fixture
def four_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cores, two of which are the fastest by what was measured; the folder that keeps it."""
    monkeypatch.setenv("ECHOSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "none")  # the tests' own may grant fewer
    threads.best_threads()
    [kept] = (tmp_path / "cache").iterdir()
    record = runs.read_record(kept, "")
    assert max(record["ms"], key=int) == "4"
    runs.write_record(kept, {**record, "ms": {"4": 9.0, "2": 7.0, "1": 8.0}})
    return kept


def test_what_was_measured_is_kept(four_cores: Path) -> None:
    assert threads.best_threads() == 2
    kept = four_cores.read_bytes()
    threads.best_threads(anew=True)
    assert four_cores.read_bytes() != kept


def test_another_pytorch_measures_for_itself(
    four_cores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "__version__", "99")
    threads.best_threads()
    assert len(list(four_cores.parent.iterdir())) == 2


@pytest.mark.parametrize("text", ["", "[]", '{"ms": {"4": 1, "2": 0.1}, "signature": "x"}'])
def test_a_damaged_measurement_is_made_again(four_cores: Path, text: str) -> None:
    four_cores.write_text(text)
    threads.best_threads()
    assert runs.read_record(four_cores, "")["cores"] == 4


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ECHOSWEEP_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert threads.best_threads() in (1, 2)


def test_the_users_number_of_threads_is_respected(
    four_cores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert os.environ["OMP_NUM_THREADS"] == "1"
    threads.use_best_threads()
    assert torch.get_num_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    try:
        threads.use_best_threads()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("count", [3, 12])
def test_the_number_of_threads_changes_no_bit(count: int) -> None:
    torch.manual_seed(0)
    network = NETWORKS["adm-tiny"](32, 1, 1, model_channels=16).eval().requires_grad_(False)
    for weight in network.parameters():  # an untrained network starts at zero
        weight.add_(0.05 * torch.randn_like(weight))
    prepare(network)
    x, c_noise = torch.randn(4, 1, 32, 32), torch.randn(4)
    with threads.even_threads(4):
        expected = network(x, c_noise)
    with threads.threads(count):
        with threads.even_threads(4):
            found = network(x, c_noise)
        assert torch.get_num_threads() == count
    assert torch.equal(found, expected)
