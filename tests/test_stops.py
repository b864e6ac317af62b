"""How a command is asked to stop, and with which exit code it ends."""

import os
import signal
from collections.abc import Iterator

import pytest

from echosweep import cli, stops

ASKS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT]


@pytest.fixture(autouse=True)
def _usual_handlers() -> Iterator[None]:
    """As in a terminal: a job in the background, or under `nohup`, ignores some signals."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ASKS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ASKS)
def test_a_stop_signal_asks_first_and_ends_the_work_second(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, now = signal.getsignal(number), [100.0]
    monkeypatch.setattr(stops.time, "monotonic", lambda: now[0])
    with stops.StopSignal() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)  # a launcher repeats what a terminal sent
        assert stop.asked == number
        with pytest.raises(stops.Stopped, match=number.name):
            stop.check()
        now[0] += 2
        with pytest.raises(stops.Aborted):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is before


def test_a_closed_terminal_does_not_end_what_ignores_it() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with stops.raised(), stops.StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", ASKS)
def test_every_command_ends_with_the_code_of_its_signal(
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(cli, "app", work)
    monkeypatch.setattr(cli.sys, "argv", ["echosweep", "prepare"])
    monkeypatch.setattr(cli.streams, "prepare", lambda: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    os.kill(os.getpid(), number)  # too late to change the code
    assert ended.value.code == (130 if number == signal.SIGINT else 75)
    assert "run the same command again to continue" in capsys.readouterr().err


def test_a_fork_dies_of_the_signal_as_by_default() -> None:
    with stops.raised():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
