import os
import pickle
import stat
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from echosweep.errors import EchoSweepError, UsageError
from echosweep.training import checkpoint


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "000000000008"
    checkpoint.save(path, {"w": torch.arange(6.0).reshape(2, 3)}, {"nimg": 8})
    return path


def test_what_was_saved_is_loaded(saved: Path) -> None:
    tensors, facts = checkpoint.load(saved)
    assert torch.equal(tensors["w"], torch.arange(6.0).reshape(2, 3))
    assert facts["nimg"] == 8
    assert names(saved.parent) == ["000000000008.json", "000000000008.safetensors"]


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_weights_may_be_read_by_whom_the_umask_allows(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        checkpoint.save(tmp_path / "model", {"w": torch.zeros(2)}, {})
    finally:
        os.umask(before)
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys((".json", ".safetensors"), 0o666 & ~umask)


@pytest.mark.parametrize("place", [0, 9, -1])
def test_a_flipped_bit_is_found(saved: Path, place: int) -> None:
    weights = saved.with_name(saved.name + ".safetensors")
    data = bytearray(weights.read_bytes())
    data[place] ^= 1
    weights.write_bytes(data)
    with pytest.raises(EchoSweepError, match="SHA-256"):
        checkpoint.load(saved)


def test_a_truncated_file_is_found(saved: Path) -> None:
    weights = saved.with_name(saved.name + ".safetensors")
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(EchoSweepError, match="SHA-256"):
        checkpoint.load(saved, "remove it")


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_dressed_as_weights_is_refused_and_not_run(saved: Path, protocol: int) -> None:
    mark = saved.parent / "ran"
    weights = saved.with_name(saved.name + ".safetensors")
    weights.write_bytes(pickle.dumps(_Bomb(mark), protocol))
    with pytest.raises(EchoSweepError, match="pickle"):
        checkpoint.load(saved)
    assert not mark.exists()


def test_a_torch_archive_dressed_as_weights_is_refused(saved: Path) -> None:
    weights = saved.with_name(saved.name + ".safetensors")
    torch.save({"w": torch.zeros(2)}, weights)
    assert zipfile.is_zipfile(weights)
    with pytest.raises(EchoSweepError, match="pickle or zip"):
        checkpoint.load(saved)


def test_facts_that_are_no_json_or_absent_are_named(saved: Path, tmp_path: Path) -> None:
    saved.with_name(saved.name + ".json").write_text("{")
    with pytest.raises(EchoSweepError, match="damaged"):
        checkpoint.load(saved)
    with pytest.raises(UsageError, match="echosweep train"):
        checkpoint.read_facts(tmp_path / "nothing" / "model")


def test_a_failed_save_keeps_the_old_pair(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(saved, {"w": torch.zeros(1)}, {"nimg": 9})
    monkeypatch.undo()
    assert checkpoint.load(saved)[1]["nimg"] == 8
    assert names(saved.parent) == ["000000000008.json", "000000000008.safetensors"]


def test_changed_facts_are_found(saved: Path) -> None:
    facts = saved.with_suffix(".json")
    facts.write_text(facts.read_text().replace('"nimg": 8', '"nimg": 9'))
    with pytest.raises(EchoSweepError, match=r"json does not match its signature.*; fix it"):
        checkpoint.load(saved, "fix it")


def test_the_bytes_are_those_of_the_library_s_own_writer(tmp_path: Path) -> None:
    kinds = (torch.float32, torch.int64, torch.bool, torch.bfloat16, torch.uint8, torch.float64)
    tensors = {f"ä.{i}": torch.arange(i + 2).to(kind) for i, kind in enumerate(kinds)}
    tensors |= {"b.scalar": torch.tensor(3), "a.turned": torch.rand(3, 4).T, "none": torch.zeros(0)}
    checkpoint.save(tmp_path / "ours", tensors, {})
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "theirs")
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert checkpoint.digest(tensors) == checkpoint.read_facts(tmp_path / "ours")["sha256"]
    read = checkpoint.load(tmp_path / "ours")[0]
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
