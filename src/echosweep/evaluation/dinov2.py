"""DINOv2 (Oquab et al. 2023), the features that Stein et al. 2023 advise to compare images by.

A vision transformer that learnt without labels: 16 x 16 patches and one class token, whose final
state is the feature vector. Invariant: whatever file the weights came from, they carry Meta's
names and exactly the tensors of ViT-S/14, ViT-B/14 or ViT-L/14, so that all files give one graph.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from echosweep.devices import pick_device
from echosweep.errors import EchoSweepError, UsageError
from echosweep.evaluation.features import Extractor, Options, Resize, check_dims, pil_bicubic
from echosweep.published import DINOV2
from echosweep.weights import read_tensors

RESIZE = Resize("pil-bicubic-224", 224, pil_bicubic, offset=0, scale=255)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PATCH, _GRID, _TRAINED_GRID, _HEAD = 14, 16, 37, 64
# Hugging Face's names and Meta's, replaced in this order.
_RENAMED = (
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("embeddings.", ""),
    ("encoder.layer.", "blocks."),
    ("attention.output.dense", "attn.proj"),
    ("attention.attention", "attn"),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("layernorm.", "norm."),
)


class Size(NamedTuple):
    """One of the published sizes: Meta's label and the number of blocks."""

    label: str
    depth: int


SIZES = {384: Size("vits14", 12), 768: Size("vitb14", 12), 1024: Size("vitl14", 24)}


class DINOv2:
    """The graph, of any width (a multiple of 64) and depth; weights by Meta's names.

    ImageNet's mean and standard deviation are folded into the patch embedding, a linear map.
    """

    def __init__(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        folded = tensors | _normalised(tensors) | {"pos_embed": _positions(tensors["pos_embed"])}
        self._weights = {name: tensor.to(device) for name, tensor in folded.items()}
        self._depth = sum(name.endswith("attn.qkv.weight") for name in tensors)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the class token (N, width) after the final norm, of (N, 3, 224, 224) in [0, 1]."""
        proj = "patch_embed.proj"
        x = F.conv2d(x, self._weights[f"{proj}.weight"], self._weights[f"{proj}.bias"], _PATCH)
        token = self._weights["cls_token"].expand(len(x), -1, -1)
        x = torch.cat([token, x.flatten(2).transpose(1, 2)], dim=1) + self._weights["pos_embed"]
        for block in (f"blocks.{i}." for i in range(self._depth)):
            h = self._attention(block, self._norm(block + "norm1", x))
            x = x + self._weights[block + "ls1.gamma"] * h
            h = F.gelu(self._linear(block + "mlp.fc1", self._norm(block + "norm2", x)))
            x = x + self._weights[block + "ls2.gamma"] * self._linear(block + "mlp.fc2", h)
        return self._norm("norm", x[:, 0])

    def _attention(self, block: str, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        qkv = self._linear(block + "attn.qkv", x).view(n, tokens, 3, width // _HEAD, _HEAD)
        h = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        return self._linear(block + "attn.proj", h.transpose(1, 2).reshape(n, tokens, width))

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self._weights[name + ".weight"], self._weights[name + ".bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._weights[name + ".weight"], self._weights[name + ".bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-6)


def build_dinov2(options: Options) -> Extractor:
    """Return the `dinov2` extractor: 384, 768 or 1024 features, as the file's size is.

    Raises UsageError for a missing or unknown file or another width than the file's, EchoSweepError
    for a damaged file or one of another network.
    """
    device = pick_device(options.device)
    if options.dims not in (None, *SIZES):
        raise UsageError(f"--dims {options.dims}: DINOv2 has {', '.join(map(str, SIZES))}")
    path = DINOV2.find(options.dinov2)
    digest = DINOV2.check(path, options.allow_unknown_weights)
    tensors = aligned(read_tensors(path))
    check_layout(tensors, path)
    dims = tensors["cls_token"].shape[-1]
    label = SIZES[dims].label
    check_dims(options, f"{path} ({label})", dims)
    unknown = f"unknown DINOv2 weights {digest}: compare with no published number"
    return Extractor(
        name="dinov2",
        metric=f"fd_dinov2_{label}",
        dims=dims,
        resize=RESIZE,
        weights=digest,
        network=DINOv2(tensors, device),
        device=device,
        notes=() if digest in DINOV2.known else (unknown,),
    )


def aligned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, float32, under Meta's names, whichever of the two layouts they have.

    Query, key and value become one matrix; the mask token, which only training needs, is left out.
    """
    named = {_meta_name(name): tensor.float() for name, tensor in tensors.items()}
    named.pop("mask_token", None)
    for query in [name for name in named if ".attn.query." in name]:
        names = [query.replace("query", part) for part in ("query", "key", "value")]
        parts = [named[name] for name in names if name in named]
        if len(parts) == 3 and parts[0].ndim and len({part.shape for part in parts}) == 1:
            named[query.replace("query", "qkv")] = torch.cat(parts)
            named = {name: tensor for name, tensor in named.items() if name not in names}
    return named


def layout(width: int, depth: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a DINOv2, by Meta's names."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + _TRAINED_GRID**2, width),
        "patch_embed.proj.weight": (width, 3, _PATCH, _PATCH),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for block in (f"blocks.{i}." for i in range(depth)):
        shapes |= {f"{block}{norm}.weight": (width,) for norm in ("norm1", "norm2")}
        shapes |= {f"{block}{norm}.bias": (width,) for norm in ("norm1", "norm2")}
        shapes |= {f"{block}{scale}.gamma": (width,) for scale in ("ls1", "ls2")}
        for name, rows, columns in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes |= {f"{block}{name}.weight": (rows, columns), f"{block}{name}.bias": (rows,)}
    return shapes


def check_layout(tensors: dict[str, Tensor], path: Path) -> None:
    """Raise EchoSweepError unless the tensors are those of one of SIZES, none more, none less."""
    for problem in _problems(tensors):
        raise EchoSweepError(
            f"{path}: {problem}; this is no DINOv2 ViT-S/14, ViT-B/14 or ViT-L/14 without "
            "registers. Pass one of the files that docs/evaluation.md lists"
        )


def _problems(tensors: dict[str, Tensor]) -> Iterator[str]:
    token = tensors.get("cls_token")
    size = SIZES.get(token.shape[-1]) if token is not None and token.ndim else None
    if token is None or size is None:
        yield f"it has {'no class token' if token is None else 'a class token of another width'}"
        return
    wanted = layout(token.shape[-1], size.depth)
    for name in sorted(wanted.keys() ^ tensors.keys()):
        yield f"it has {'a' if name in tensors else 'no'} tensor {name}"
    for name in sorted(wanted.keys() & tensors.keys()):
        if tensors[name].shape != wanted[name]:
            yield f"{name} has shape {tuple(tensors[name].shape)}, not {wanted[name]}"


def _meta_name(name: str) -> str:
    for other, meta in _RENAMED:
        name = name.replace(other, meta)
    return name


def _normalised(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the patch embedding of (x - mean) / std as one of x, computed in float64."""
    mean, std = (torch.tensor(v, dtype=torch.float64) for v in (_IMAGENET_MEAN, _IMAGENET_STD))
    weight = tensors["patch_embed.proj.weight"].double() / std[:, None, None]
    bias = tensors["patch_embed.proj.bias"].double() - weight.sum(dim=(2, 3)) @ mean
    return {"patch_embed.proj.weight": weight.float(), "patch_embed.proj.bias": bias.float()}


def _positions(embedding: Tensor) -> Tensor:
    """Return the position embedding (1, 1 + 16^2, width) for the trained one of 37^2 patches.

    Meta's own code asks for 16.1 / 37 instead of 16 / 37, so the bicubic steps are 37 / 16.1;
    Hugging Face's are 37 / 16. Meta's are taken, because published numbers come from its code.
    """
    token, patches = embedding[:, :1], embedding[:, 1:]
    grid = patches.transpose(1, 2).reshape(1, -1, _TRAINED_GRID, _TRAINED_GRID)
    scale = (_GRID + 0.1) / _TRAINED_GRID
    resized = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([token, resized.flatten(2).transpose(1, 2)], dim=1)
