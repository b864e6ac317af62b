"""Fixtures that every test may use, and a network that no test can reach."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real ultrasound and weights; the test is skipped, visibly, without it."""
    path = Path(os.environ.get("ECHOSWEEP_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no test data at {path}; set ECHOSWEEP_TEST_DATA")
    return path


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden values. A missing file fails the test that reads it."""
    return Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "local"
        if host not in ("local", "localhost", "127.0.0.1", "::1"):
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield
