import pytest

from echosweep.progress import bar


def test_without_a_terminal_the_first_and_the_last_step_are_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with bar("work", "images") as progress:
        for done in range(101):
            progress(done, 100, done * 10)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("work: 0/100")
    assert lines[1].startswith("work: 100/100")
    assert "images/s" in lines[1]


def test_only_the_first_process_speaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with bar("work", "images") as progress:
        progress(1, 1)
    assert capsys.readouterr().err == ""
