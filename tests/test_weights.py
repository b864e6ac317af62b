"""Weight files that would run something, or are cut, are refused and run nothing."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from echosweep.errors import EchoSweepError
from echosweep.evaluation.features import Options
from echosweep.evaluation.inception_file import build_inception
from echosweep.weights import read_tensors


class Payload:
    """A pickle of this makes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (self.target,)  # type: ignore[return-value]


def bare_pickle(path: Path, target: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(target), protocol=2))


def state_dict(path: Path, target: Path) -> None:
    torch.save({"weight": torch.zeros(2), "more": Payload(target)}, path)


def legacy_state_dict(path: Path, target: Path) -> None:
    torch.save({"more": Payload(target)}, path, _use_new_zipfile_serialization=False)


def archive(pickled: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x/data.pkl", pickled)
        file.writestr("x/constants.pkl", pickled)
        file.writestr("x/code/__torch__.py", "import os")


def torchscript(path: Path, target: Path) -> None:
    archive(pickle.dumps(Payload(target), protocol=2), path)


def torchscript_in_a_field(path: Path, target: Path) -> None:
    inner = pickle.dumps(Payload(target), protocol=2)[2:-1]
    archive(b"\x80\x02c__torch__\nNet\n)\x81}X\x01\x00\x00\x00a" + inner + b"sb.", path)


FORGERIES = [bare_pickle, state_dict, legacy_state_dict, torchscript, torchscript_in_a_field]


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("forge", FORGERIES)
def test_a_payload_is_refused_and_never_run(
    forge: Callable[[Path, Path], None], suffix: str, tmp_path: Path
):
    path, target = tmp_path / f"weights{suffix}", tmp_path / "ran"
    forge(path, target)
    with pytest.raises(EchoSweepError, match="no weights file that can be read safely"):
        build_inception(Options(path, allow_unknown_weights=True))
    assert not target.exists()


def test_the_payload_is_live(tmp_path: Path):
    """Loaded in the ordinary way it runs: the test above guards against something."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran"), protocol=2))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02c__torch__\nNet\n(X\x02\x00\x00\x00idtR.",  # a stand-in called with an argument
        b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        b"\x80\x02ctorch\nload\n(X\x01\x00\x00\x00xtR.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00(K\x02t(K\x01ttR.",  # no storage
        b"\x80\x02X\x01\x00\x00\x00aQ.",  # a persistent id of one letter
        b"\x80\x02",
        b"",
    ],
)
def test_hostile_torchscript_pickles_are_refused(opcodes: bytes, tmp_path: Path):
    archive(opcodes, tmp_path / "x.pt")
    with pytest.raises(EchoSweepError, match="read safely"):
        read_tensors(tmp_path / "x.pt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["pth", "safetensors", "pt"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cut_files_are_refused(kind: str, share: float, tmp_path: Path):
    path = tmp_path / f"whole.{kind}"
    tensors = {"a.weight": torch.randn(50, 50), "b": torch.arange(7.0)}
    if kind == "pth":
        torch.save(tensors, path)
    elif kind == "pt":
        torch.jit.save(torch.jit.script(torch.nn.Linear(50, 50)), path)
    else:
        save_file(tensors, path)
    assert read_tensors(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(EchoSweepError, match="read safely"):
        read_tensors(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_back_as_they_were(legacy: bool, tmp_path: Path):
    tensors = {"a.weight": torch.randn(3, 4), "half": torch.randn(5).half()}
    torch.save(tensors, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    read = read_tensors(tmp_path / "x.pth")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_views_and_buffers_come_back(tmp_path: Path):
    """Strides, offsets, shared storage, half precision, and buffers beside parameters."""
    base = torch.arange(24.0)
    module = torch.nn.Module()
    module.register_buffer("turned", base.view(4, 6).t())
    module.register_buffer("part", base[5:9])
    module.register_buffer("narrow", torch.randn(3).half())
    module.inner = torch.nn.BatchNorm2d(2)
    torch.jit.save(torch.jit.script(module), tmp_path / "x.pt")
    read, expected = read_tensors(tmp_path / "x.pt"), module.state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], expected[name]) for name in expected)
