"""The Inception weights that a user brings: found, checked against known files, aligned, folded.

Three layouts are understood (pytorch-fid's state dict, NVIDIA's TorchScript, batch norm already
folded) and one comes out. Invariant: nothing of a file is parsed before its SHA-256 is known, or
the user has said that an unknown one is meant.
"""

from pathlib import Path

from torch import Tensor

from echosweep.devices import pick_device
from echosweep.errors import EchoSweepError, UsageError
from echosweep.evaluation.features import (
    Extractor,
    Options,
    Resize,
    fold,
    half_pixel_bilinear,
    pil_bicubic,
    tf1_bilinear,
)
from echosweep.evaluation.inception import Conv, Inception, layout
from echosweep.published import INCEPTION
from echosweep.weights import read_tensors

RESIZES = {
    "edm": Resize("edm", 299, tf1_bilinear, offset=128, scale=128),
    "pytorch-fid": Resize("pytorch-fid", 299, half_pixel_bilinear, offset=127.5, scale=127.5),
    "clean": Resize("clean", 299, pil_bicubic, offset=128, scale=128),
}
LAST_CONV = {
    64: "Conv2d_2b_3x3",
    192: "Conv2d_4a_3x3",
    768: "Mixed_6e.branch_pool",
    2048: "Mixed_7c.branch_pool",
}
# What each part of a convolution is called, behind its name: folded, pytorch-fid, TorchScript.
_PARTS = {
    "weight": ("conv_weight", "weight"),
    "bias": ("conv_bias",),
    "scale": ("bn_weight", "gamma"),
    "shift": ("bn_bias", "beta"),
    "mean": ("bn_running_mean", "mean"),
    "var": ("bn_running_var", "var"),
}


def build_inception(options: Options) -> Extractor:
    """Return the `inception` extractor at 2048 features, or at what the file is enough for.

    Raises UsageError for a missing or unknown file, resize or width, EchoSweepError for a damaged
    file.
    """
    resize, device = _choose_resize(options.resize), pick_device(options.device)
    if options.dims not in (None, *LAST_CONV):
        raise UsageError(f"--dims {options.dims}: Inception has {', '.join(map(str, LAST_CONV))}")
    path = INCEPTION.find(options.inception)
    digest = INCEPTION.check(path, options.allow_unknown_weights)
    weights = aligned(read_tensors(path), path)
    dims = _choose_dims(options.dims, weights, path)
    on_device = {name: (w.to(device), b.to(device)) for name, (w, b) in weights.items()}
    return Extractor(
        name="inception",
        metric="fid" if dims == 2048 else f"fid{dims}",
        dims=dims,
        resize=resize,
        weights=digest,
        network=Inception(on_device, dims),
        device=device,
        notes=tuple(_notes(digest, dims)),
    )


def aligned(tensors: dict[str, Tensor], path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return (weight, bias), batch norm folded, by convolution; those that are missing left out.

    Raises EchoSweepError where a tensor has another shape than the network's.
    """
    flat = {name.replace(".", "_"): tensor for name, tensor in tensors.items()}
    found = {conv.name: _parts(flat, conv) for conv in layout()}
    result = {}
    for conv in layout():
        parts = found[conv.name]
        if "weight" in parts and ("bias" in parts or {"mean", "var"} <= set(parts)):
            _check_shapes(parts, conv, path)
            result[conv.name] = _folded(parts)
    return result


def _parts(flat: dict[str, Tensor], conv: Conv) -> dict[str, Tensor]:
    prefixes = (conv.name.replace(".", "_"), conv.script)
    return {
        part: flat[f"{prefix}_{name}"]
        for part, names in _PARTS.items()
        for prefix in prefixes
        for name in names
        if f"{prefix}_{name}" in flat
    }


def _check_shapes(parts: dict[str, Tensor], conv: Conv, path: Path) -> None:
    for part, tensor in parts.items():
        wanted = conv.shape if part == "weight" else conv.shape[:1]
        if tuple(tensor.shape) != wanted:
            raise EchoSweepError(
                f"{path}: {conv.name} has a {part} of shape {tuple(tensor.shape)}, the network "
                f"of 2015-12-05 needs {wanted}; this is a file of another network"
            )


def _folded(parts: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    if "mean" not in parts:
        return parts["weight"].float(), parts["bias"].float()
    return fold(
        parts["weight"], parts.get("scale"), parts.get("shift"), parts["mean"], parts["var"]
    )


def _choose_dims(asked: int | None, weights: dict[str, tuple[Tensor, Tensor]], path: Path) -> int:
    """Return the width asked for, or the largest that the convolutions found are enough for."""
    names = [conv.name for conv in layout()]
    needed = {dims: names[: names.index(last) + 1] for dims, last in LAST_CONV.items()}
    enough = [dims for dims, convs in needed.items() if set(convs) <= set(weights)]
    if not enough:
        raise EchoSweepError(
            f"{path} has {len(weights)} of the {len(names)} convolutions of Inception-2015-12-05 "
            "under names known here; pass one of the files that docs/evaluation.md lists"
        )
    if asked is not None and asked not in enough:
        raise UsageError(
            f"--dims {asked}: {path} has the convolutions for {', '.join(map(str, enough))} only; "
            "choose one of these, or pass a full file"
        )
    return asked or enough[-1]


def _choose_resize(name: str) -> Resize:
    if name not in RESIZES:
        raise UsageError(f"--resize {name!r} is not one of {', '.join(RESIZES)}")
    return RESIZES[name]


def _notes(digest: str, dims: int) -> list[str]:
    notes = []
    if dims != 2048:
        notes.append(f"fid{dims} is of {dims} Inception features: not FID, compare it with itself")
    if digest not in INCEPTION.known:
        notes.append(f"unknown Inception weights {digest}: compare with no published number")
    return notes
