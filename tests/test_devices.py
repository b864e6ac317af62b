import pytest
import torch

from echosweep.devices import pick_device
from echosweep.errors import UsageError


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu0", "meta", "mps", ""])
def test_a_device_that_is_not_here_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"device '{name}' cannot be used.*write cpu or cuda"):
        pick_device(name)


def test_a_gpu_without_a_number_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.cuda.set_device refuses a device without a number."""
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device("cuda") == torch.device("cuda", 3)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == torch.device("cuda", 3)
