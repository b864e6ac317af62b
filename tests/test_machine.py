"""What control groups leave of a machine, on made-up ones of both versions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from echosweep import machine
from echosweep.distributed import world
from echosweep.errors import UsageError
from echosweep.study.backends.slurm import Work

LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="control groups are Linux's"
)


def control_groups(
    monkeypatch: pytest.MonkeyPatch, folder: Path, own: str, files: dict[str, str]
) -> None:
    """Put this process into the groups that `own` lists; files: of the groups, by path."""
    (folder / "own").write_text(own)
    for name, text in files.items():
        (folder / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "groups" / name).write_text(text)
    monkeypatch.setattr(machine, "_OWN_GROUPS", folder / "own")
    monkeypatch.setattr(machine, "_GROUPS", folder / "groups")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/job/task\n", {"job/task/cpu.max": "max 100000\n"}, 16),
        ("0::/job/task\n", {"job/task/cpu.max": "400000 100000\n"}, 4),
        # Slurm limits the job, not the task; the least of all counts.
        ("0::/job/task\n", {"job/cpu.max": "250000 100000", "cpu.max": "800000 100000"}, 2),
        ("0::/job/task\n", {"job/cpu.max": "50000 100000"}, 1),
        ("0::/job/task\n", {"job/cpu.max": "6400000 100000"}, 16),
        # In a container the path is that of the host; the top is the container's.
        ("0::/docker/abc\n", {"cpu.max": "300000 100000"}, 3),
        ("0::/job\n", {"job/cpu.max": "400000"}, 16),  # cannot be read: says nothing
        (
            "4:memory:/a\n3:cpu,cpuacct:/a/b\n0::/\n",
            {
                "cpu,cpuacct/a/b/cpu.cfs_quota_us": "500000\n",
                "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
                "memory/a/cpu.cfs_quota_us": "100000\n",
                "memory/a/cpu.cfs_period_us": "100000\n",
            },
            5,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
        ("garbage\n", {}, 16),
    ],
)
def test_cores_are_those_of_the_quota(
    own: str,
    files: dict[str, str],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    control_groups(monkeypatch, tmp_path, own, files)
    assert machine.cores() == expected


@LINUX
def test_free_memory_is_that_of_the_tightest_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    control_groups(monkeypatch, tmp_path, "0::/job/task\n", {})
    there = machine.free_memory()
    assert there is not None
    assert there > 0
    files = {
        "job/task/memory.max": "max\n",
        "job/task/memory.stat": "anon 5\n",
        "job/memory.max": f"{1000 << 10}\n",
        "job/memory.stat": f"file 77\nanon {100 << 10}\nkernel 8\n",
    }
    control_groups(monkeypatch, tmp_path, "0::/job/task\n", files)
    assert machine.free_memory() == 900 << 10
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert machine.free_memory() == 300 << 10
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    older = {
        "memory/job/memory.limit_in_bytes": f"{600 << 10}\n",
        "memory/job/memory.stat": f"cache 9\ntotal_rss {200 << 10}\n",
    }
    control_groups(monkeypatch, tmp_path, "7:memory:/job\n", older)
    assert machine.free_memory() == 400 << 10


@LINUX
def test_a_group_that_is_full_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"memory.max": "100\n", "memory.stat": "anon 200\n"}
    control_groups(monkeypatch, tmp_path, "0::/\n", files)
    assert machine.free_memory() == 0


@LINUX
def test_limits_of_the_process_count() -> None:
    """In a process of its own: what it allocates then is no more than it was told."""
    code = """
import resource
from echosweep import machine
for limit in (resource.RLIMIT_DATA, resource.RLIMIT_AS):
    resource.setrlimit(limit, (1 << 30, resource.RLIM_INFINITY))
    free = machine.free_memory()
    assert 1 << 28 < free < 1 << 30, free
    held = bytearray(int(0.9 * free))
    assert machine.free_memory() < 0.2 * free
    del held
    resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
    env = {**os.environ, machine.TRIALS: "1", "LOCAL_WORLD_SIZE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


@LINUX
def test_trials_of_a_study_share_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"memory.max": f"{900 << 10}\n", "memory.stat": "anon 0\n"}
    control_groups(monkeypatch, tmp_path, "0::/\n", files)
    monkeypatch.setenv(machine.TRIALS, "3")
    assert machine.free_memory() == 300 << 10


@LINUX
def test_the_cpu_has_a_name_and_instruction_sets() -> None:
    words = Path("/proc/cpuinfo").read_text()
    assert machine.cpu_flags() <= set(words.split())
    assert machine.cpu_flags()
    assert machine.cpu_name() is None or machine.cpu_name() in words


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "", "9" * 5000, "٣"])
def test_a_variable_of_a_launcher_that_is_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name, use in (
        ("LOCAL_WORLD_SIZE", machine.free_memory),
        ("WORLD_SIZE", lambda: world("cpu").__enter__()),
        ("SLURM_CPUS_PER_TASK", lambda: Work(Path())("signature")),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(UsageError, match=rf"{name}=.*which is no whole number") as refused:
                use()
            assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"RANK": "abc"}, "RANK='abc', which is no whole number"),
        ({"RANK": "5"}, "RANK=5 and WORLD_SIZE=2"),
        ({"RANK": "1"}, "the processes cannot join .*; start them with torchrun"),
    ],
)
def test_a_rank_without_its_launcher_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WORLD_SIZE": "2", **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=reason), world("cpu"):
        pass
