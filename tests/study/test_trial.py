"""A trial's records: what is done is what its name says, wherever its files came from."""

import os
from pathlib import Path

import pytest

from echosweep import runs
from echosweep.errors import EchoSweepError
from echosweep.study.trial import Trial, claimed, folder, get, put, result


@pytest.mark.parametrize("name", ["../x", "/etc", "", ".", "a/b", None, 3])
def test_no_signature_leads_out_of_the_study(name: object, tmp_path: Path) -> None:
    with pytest.raises(EchoSweepError, match="names a trial"):
        folder(tmp_path, name)  # type: ignore[arg-type]


def test_a_record_of_another_trial_is_not_done(tmp_path: Path) -> None:
    one, other = Trial("floor", {"num": 1}), Trial("floor", {"num": 2})
    path = put(tmp_path, one) / "trial.json"
    assert get(tmp_path, one.signature) == one
    path.write_bytes((put(tmp_path, other) / "trial.json").read_bytes())
    with pytest.raises(EchoSweepError, match=rf"is of another trial, {other.signature}; remove"):
        get(tmp_path, one.signature)


def test_a_result_of_another_trial_is_not_its_own(tmp_path: Path) -> None:
    one, other = Trial("floor", {"num": 1}), Trial("floor", {"num": 2})
    path = put(tmp_path, one) / "result.json"
    assert result(tmp_path, one) is None
    runs.write_record(path, {"task": "floor", "trial": one.signature})
    assert (result(tmp_path, one) or {})["state"] == "complete"
    runs.write_record(path, {"task": "floor", "trial": other.signature})
    with pytest.raises(EchoSweepError, match=r"result\.json is of another trial; remove"):
        result(tmp_path, one)


def test_an_unsigned_result_is_none(tmp_path: Path) -> None:
    one = Trial("floor", {})
    runs.write_json(put(tmp_path, one) / "result.json", {"task": "floor"})
    with pytest.raises(EchoSweepError, match="does not match its signature"):
        result(tmp_path, one)


def test_a_lock_that_is_a_pipe_or_a_link_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    os.mkfifo(lock)
    with pytest.raises(EchoSweepError, match="no lock"), claimed(tmp_path):
        pass
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EchoSweepError, match="no lock"), claimed(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
