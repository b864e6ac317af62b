"""A package adds to every open registry by a line of its metadata; nothing of ours is touched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from echosweep import registry

HERE = Path(__file__).parent
ROWS = {name: name.removesuffix("s") for name in registry.OPEN} | {"strategies": "strategy"}
METADATA = "Metadata-Version: 2.1\nName: echosweep-toy\nVersion: 1.5\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of packages with the toy in it, as pip would install it."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(HERE / "toy_package" / "echosweep_toy.py", folder)
    about = folder / "echosweep_toy-1.5.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(METADATA)
    lines = []
    for name, row in ROWS.items():
        lines += [f"[echosweep.{name}]", f"toy = echosweep_toy:{row}"]
        if name not in ("sources", "formats"):  # all of these are asked, so none may be broken
            lines.append("broken = echosweep_toy:nothing")
    (about / "entry_points.txt").write_text("\n".join(lines))
    return folder


def run(installed: Path, code: str, work: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=work,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


COMMANDS = """
phantom videos --videos 12 --frames 6 --size 32 --workers 1
prepare videos/Videos --kind toy --out real --size 16 --every 1 --workers 1
train --data real --out run --network toy --framework toy --total-kimg 0.016 --batch 8 --snapshots 1
sample run --out made -n 16 --sampler toy --steps 2 --sampler-setting leap=0.5
discriminate --data real --generated plain --model run --out guide --kind toy --objective toy
sample run --out guided -n 8 --steps 2 --guidance guide --weighting toy
evaluate made real --features toy --metrics frechet,toy
shift made real --classifiers toy --epochs 1 --repeats 1
"""


def test_every_row_goes_through_its_command(installed: Path, tmp_path: Path) -> None:
    lines = [line.split() for line in COMMANDS.strip().splitlines()]
    lines.insert(4, ["sample", "run", "--out", "plain", "-n", "24", "--steps", "2"])
    lines[5] += ["--epochs", "1", "--batch", "8", "--held-out", "4"]
    ended = run(
        installed,
        f"""
from echosweep.cli import app
if __name__ == "__main__":
    for line in {lines!r}:
        app(line, exit_on_error=False, result_action="return_value")
    from echosweep.data.store import FrameStore
    made = FrameStore.open("made")
    assert made.manifest["source"]["sample"]["sampler_setting"] == ["leap=0.5"]
    assert made.manifest["source"]["train"]["network"] == "toy"
    from echosweep.export import FORMATS
    from pathlib import Path
    FORMATS["toy"].write(made, 4, Path("exported"), print)
    assert len(Path("exported/levels.txt").read_text().split()) == 4
    from echosweep.study import BACKENDS, STRATEGIES
    assert STRATEGIES["toy"] is STRATEGIES["grid"]
    assert BACKENDS["toy"] is BACKENDS["local"]
""",
        tmp_path,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert '"toy_gap"' in ended.stdout
    assert '"toyd"' in ended.stdout
    assert '"toy": {' in ended.stdout  # the classifier, in the table of the shift


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["sample", "--help"], "heun, euler, ode, broken, toy"),
        (["train", "--help"], "ncsnpp-tiny, broken, toy"),
        (["prepare", "--help"], "camus, toy"),
        (["doctor"], "toy (echosweep-toy 1.5)"),
    ],
)
def test_names_are_listed_without_importing_the_package(
    installed: Path, tmp_path: Path, line: list[str], says: str
) -> None:
    ended = run(
        installed,
        "import sys, contextlib\n"
        "from echosweep.cli import app\n"
        "with contextlib.suppress(SystemExit):\n"
        f"    app({line!r})\n"
        f"assert {line == ['doctor']} or 'echosweep_toy' not in sys.modules",
        tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    assert says in " ".join(ended.stdout.replace("│", " ").split())


def test_what_cannot_be_imported_is_one_line(installed: Path, tmp_path: Path) -> None:
    code = """
import sys
sys.argv = ["echosweep", "evaluate", "a", "b", "--features", "broken"]
from echosweep.cli import main
main()
"""
    ended = run(installed, code, tmp_path)
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("error: 'broken' of echosweep-toy 1.5 (echosweep_toy:nothing) cannot be")
    assert line.endswith("mend or uninstall that package")


def test_own_names_cannot_be_taken() -> None:
    rows = registry.Registry("samplers", {"heun": 1})
    assert (list(rows), len(rows), rows["heun"], "toy" in rows) == (["heun"], 1, 1, False)
    with pytest.raises(KeyError):
        rows["toy"]
