"""Weight files that a user brings: where to get each, and how it is recognised.

Nothing here imports torch, so that a long run that will need a file says so before it starts.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from echosweep import runs
from echosweep.errors import UsageError


class Published(NamedTuple):
    """Weights that a user brings in a file: where to get it, and how it is recognised.

    option: of the command line, which `variable` in the environment stands in for. download:
    what to fetch. instead: what can be done without. known: what each SHA-256 that is known is.
    """

    name: str
    option: str
    variable: str
    download: str
    instead: str
    known: Mapping[str, str]

    def find(self, path: Path | None) -> Path:
        """Return the file given, or named in the environment. Raises UsageError."""
        given = path or os.environ.get(self.variable)
        if given and Path(given).is_file():
            return Path(given)
        problem = f"there is no {self.name} weights file {given}"
        raise UsageError(
            f"{problem if given else f'no {self.name} weights'}. Download {self.download} and pass "
            f"{self.option} PATH or set {self.variable}=PATH; or {self.instead}"
        )

    def check(self, path: Path, allow_unknown: bool) -> str:
        """Return a file's SHA-256. Raises UsageError for an unknown one, unless allowed."""
        digest = runs.sha256_file(path)
        if digest in self.known or allow_unknown:
            return digest
        raise UsageError(
            f"{path} has SHA-256 {digest}, which is none of the known {self.name} files "
            f"({', '.join(self.known.values())}): it may be cut, changed or another network. "
            "Download it again, or pass --allow-unknown-weights to use it as it is"
        )


INCEPTION = Published(
    name="Inception",
    option="--inception",
    variable="ECHOSWEEP_INCEPTION",
    download=(
        "pt_inception-2015-12-05-6726825d.pth (the release `fid_weights` of mseitzer/pytorch-fid "
        "on GitHub)"
    ),
    instead="measure without it: --features efficientnet-lite0, or --features random",
    known={
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2": "pytorch-fid's .pth",
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4": "NVIDIA TorchScript",
        "1b8bb37de3dae99cfef371e4a4dfa132f457d52fe55b7a8755d14c26d969d454": "folded, to Mixed_7a",
    },
)
DINOV2 = Published(
    name="DINOv2",
    option="--dinov2",
    variable="ECHOSWEEP_DINOV2",
    download=(
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth (or "
        "vitb14, vitl14), or model.safetensors of facebook/dinov2-small on Hugging Face,"
    ),
    instead="measure without it: --features efficientnet-lite0, or --features random",
    known={
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9": "Meta's ViT-S/14",
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73": "Meta's ViT-B/14",
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428": "Meta's ViT-L/14",
        "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1": "facebook/dinov2-small",
        "399fba97a95f22c36834418bc69373364a99af3a1153da1c0fb31db567c92e23": "facebook/dinov2-large",
    },
)
CLASSIFIER = Published(
    name="ADM classifier",
    option="--classifier",
    variable="ECHOSWEEP_CLASSIFIER",
    download="https://openaipublic.blob.core.windows.net/diffusion/jul-2021/64x64_classifier.pt",
    instead="use --kind encoder or --kind denoiser-features, which need no file",
    known={},  # its source states no digest: a file is known by its tensors
)
