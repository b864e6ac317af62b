"""Other people's packages to compare with: kept in a folder, never in the environment we run in.

They are installed without dependencies and found last, so that peer and we share one interpreter
and one torch: what differs between two timings or two values is then their code alone. Without a
network, pip's own PIP_NO_INDEX and PIP_FIND_LINKS name a folder of wheels.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FIDELITY = ("torch-fidelity==0.4.0", "scipy", "tqdm")
PHYSICSNEMO = ("nvidia-physicsnemo==2.2.2", "einops==0.8.2")
DIFFUSERS = ("diffusers==0.42.1", "huggingface_hub==2.4.0")
DENOISING = ("denoising-diffusion-pytorch==2.3.4", "einops==0.8.2")

# torch-fidelity imports torchvision for data sets and networks that are not compared here.
NO_TORCHVISION = {
    "torchvision/__init__.py": "",
    "torchvision/datasets.py": "CIFAR10 = CIFAR100 = STL10 = object",
    "torchvision/transforms/__init__.py": "",
    "torchvision/transforms/functional.py": "",
}
# A module whose every name is something that can be called, indexed and inherited from.
ANYTHING = """
class Anything:
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self
    def __call__(self, *args, **kwargs):
        return self
    def __getitem__(self, key):
        return self
    def __or__(self, other):
        return self
    __ror__ = __or__
    def __mro_entries__(self, bases):
        return ()

def __getattr__(name):
    return getattr(Anything(), name)
"""


def stubs(*modules: str) -> dict[str, str]:
    """Return stubs of modules and of the packages they are in."""
    parents = {
        name.rsplit(".", depth)[0] for name in modules for depth in range(name.count(".") + 1)
    }
    return {f"{name.replace('.', '/')}/__init__.py": ANYTHING for name in sorted(parents)}


# Of these the U-Nets compute nothing: other models of the packages do, and their trainers.
NO_PHYSICS = stubs(
    *("warp.optim.linear", "s3fs", "importlib_metadata", "jaxtyping", "tensordict", "nvtx"),
    *("timm.layers.attention", "timm.models.swin_transformer", "omegaconf"),
)
NO_HUB = stubs("httpx2", "httpcore2")
NO_TRAINER = stubs("torchvision.transforms", "torchvision.utils", "ema_pytorch", "accelerate")


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


def version(packages: Sequence[str]) -> str:
    """Return the first package and its version, as a table names it."""
    return packages[0].replace("==", " ")
