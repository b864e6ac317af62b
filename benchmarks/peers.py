"""Other people's packages to compare with: kept in a folder, never in the environment we run in.

They are installed without dependencies and found last, so that peer and we share one interpreter,
one torch and one process: what differs between two timings or two values is then their code alone.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FIDELITY = ("torch-fidelity==0.4.0", "scipy", "tqdm")
# torch-fidelity imports torchvision for data sets and networks that are not compared here.
NO_TORCHVISION = {
    "torchvision/__init__.py": "",
    "torchvision/datasets.py": "CIFAR10 = CIFAR100 = STL10 = object",
    "torchvision/transforms/__init__.py": "",
    "torchvision/transforms/functional.py": "",
}


def add(folder: Path, packages: Sequence[str], stubs: Mapping[str, str]) -> None:
    """Make `packages` importable from `folder`, installing what it lacks.

    stubs: source by path of modules that the packages import without our needing them.
    """
    installed, wanted = folder / "installed.txt", "\n".join(packages)
    if not installed.is_file() or installed.read_text() != wanted:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        subprocess.run([*pip, "--target", str(folder), *packages], check=True)
        installed.write_text(wanted)
    for name, source in stubs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(source)
    sys.path.append(str(folder))
