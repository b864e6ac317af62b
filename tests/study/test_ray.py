"""Trials on a real cluster of two nodes, which lose workers, a node, and who started them."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep.errors import UsageError
from echosweep.study.backends import DONE, FAILED, BackendSettings
from echosweep.study.backends.ray import Ray, check_seen, share_out
from echosweep.study.trial import Trial

from .cluster import (
    add,
    changed,
    codes,
    is_training,
    ray_nodes,
    saved_images,
    until,
    worker,
    workers,
)

pytest.importorskip("ray", reason="Ray is not installed: pip install 'echosweep[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_nodes() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def backend(cluster: Any) -> Ray:
    return Ray(BackendSettings(address=cluster.address))


def test_a_trial_that_raises_and_one_whose_worker_is_killed_stop_no_other(
    backend: Ray, small_study: tuple[Path, list[Trial]]
) -> None:
    study, trials = small_study
    raises = add(study, Trial("no such task", {}))
    killed = changed(study, trials[0], {"train.lr": 1e-4})
    ended = codes(backend, [killed, raises, trials[0]], study)
    os.kill(worker(study, killed), signal.SIGKILL)
    assert ended.result(300) == [-signal.SIGKILL, FAILED, DONE]
    assert codes(backend, [raises, trials[0]], study).result(60) == [DONE, DONE]  # nothing to do


def test_closing_saves_and_a_lost_nodes_trial_comes_back_on_another(
    cluster: Any, backend: Ray, small_study: tuple[Path, list[Trial]]
) -> None:
    study, trials = small_study
    raises = add(study, Trial("no such task", {}))
    # Of different runs: of one run, the other would wait for the first and then end at once.
    slow = changed(study, trials[0], {"train.total_kimg": 1.6})
    other = changed(study, trials[0], {"train.total_kimg": 1.6, "train.lr": 1e-4})
    running = backend.run([slow, raises, other], study)
    assert next(running) == (raises, FAILED)
    until(lambda: is_training(study))
    running.close()
    assert workers(study, slow) == workers(study, other) == []
    assert saved_images(study) > 0

    ended = codes(backend, [slow, other], study)
    assert worker(study, slow) != worker(study, other)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert ended.result(300) == [DONE, DONE]
    until(lambda: len(backend._nodes()) == 1)  # Ray takes some seconds to notice


def test_a_study_that_a_node_does_not_see_is_refused_before_any_trial(
    backend: Ray, small_study: tuple[Path, list[Trial]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"^node \S+ does not see .*nowhere; put the study on"):
        next(backend.run(small_study[1], tmp_path / "nowhere"))


def test_what_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not see"):
        check_seen(str(tmp_path))
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(UsageError, match=r"^no Ray cluster answers at 127\.0\.0\.1:1 .*start one"):
        Ray(BackendSettings(address="127.0.0.1:1"))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'echosweep\[ray\]'"):
        Ray(BackendSettings())


def test_shares_of_known_clusters() -> None:
    cpu, head = {"CPU": 8.0}, {"CPU": 4.0, "GPU": 0.0}
    four, two = {"CPU": 32.0, "GPU": 4.0}, {"CPU": 6.0, "GPU": 2.0}
    assert share_out(BackendSettings(gpus=1), [cpu, cpu]) == (0, 1)
    assert share_out(BackendSettings(gpus=0, workers=2), [cpu, cpu]) == (0, 8)
    assert share_out(BackendSettings(gpus=0, workers=1), [cpu, cpu]) == (
        0,
        8,
    )  # no more than a node has
    assert share_out(BackendSettings(gpus=1), [head, four]) == (1, 8)
    assert share_out(BackendSettings(gpus=1), [four, two]) == (1, 3)
    assert share_out(BackendSettings(gpus=4), [four, two]) == (4, 32)
    with pytest.raises(UsageError, match="--gpus 5: no node has more than 4"):
        share_out(BackendSettings(gpus=5), [four, two])


@given(
    st.lists(st.tuples(st.integers(1, 128), st.integers(0, 8)), min_size=1, max_size=5),
    st.integers(1, 8),
)
def test_shares_fill_every_node_that_has_the_gpus(nodes: list[tuple[int, int]], gpus: int) -> None:
    have = [{"CPU": float(cpu), "GPU": float(gpu)} for cpu, gpu in nodes]
    fit = [(cpu, gpu // gpus) for cpu, gpu in nodes if gpu >= gpus and cpu >= gpu]
    if not fit or any(cpu < gpu for cpu, gpu in nodes):
        return
    shared, threads = share_out(BackendSettings(gpus=gpus), have)
    assert shared == gpus
    assert all(trials * threads <= cpu for cpu, trials in fit)
