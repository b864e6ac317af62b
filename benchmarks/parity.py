"""Are our Inception features and our FID those of torch-fidelity? Exit status 1 where not.

    python benchmarks/parity.py FOLDER [--inception PARTIAL] [--images 64]

FOLDER takes torch-fidelity and the weights. Both networks are given the same file of drawn weights
at 2048 features, and the real ones of a partial file at 768 (--inception or ECHOSWEEP_INCEPTION;
left out where there is none).
"""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

import peers
from echosweep import rng
from echosweep.evaluation.features import Extractor, Options
from echosweep.evaluation.fid import Statistics, frechet_distance
from echosweep.evaluation.inception import Conv, layout
from echosweep.evaluation.inception_file import build_inception

FEATURE_LIMIT, FID_LIMIT = 1e-4, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--inception", type=Path, default=os.environ.get("ECHOSWEEP_INCEPTION"))
    parser.add_argument("--images", type=int, default=64, help="in each of the two sets")
    arguments = parser.parse_args()
    peers.add(arguments.folder, peers.FIDELITY, peers.NO_TORCHVISION)
    sets = [colour_images(arguments.images, contrast) for contrast in (1.0, 0.8)]
    good = compare(2048, *pair(arguments.folder, 2048, None), sets)
    if arguments.inception:
        good &= compare(768, *pair(arguments.folder, 768, Path(arguments.inception)), sets)
    else:
        print("768 features: not compared, there is no --inception and no ECHOSWEEP_INCEPTION")
    sys.exit(not good)


def compare(dims: int, ours: Extractor, theirs: Any, sets: list[NDArray[np.uint8]]) -> bool:
    """Print how far features and FID are from torch-fidelity's; return whether within limits."""
    metric_fid = import_module("torch_fidelity.metric_fid")
    our_features = [ours(images) for images in sets]
    their_features = [peer_features(theirs, images) for images in sets]
    error = max(
        float(np.abs(a - b).max()) for a, b in zip(our_features, their_features, strict=True)
    )
    fid = frechet_distance(*(Statistics.of(features) for features in our_features))
    fitted = [metric_fid.fid_features_to_statistics(torch.from_numpy(x)) for x in their_features]
    peer = metric_fid.fid_statistics_to_metric(*fitted, verbose=False)[metric_fid.KEY_METRIC_FID]
    good = error <= FEATURE_LIMIT and abs(fid - peer) <= FID_LIMIT
    print(
        f"{dims} features: largest {np.abs(their_features).max():.3g}, largest difference "
        f"{error:.1e} (limit {FEATURE_LIMIT:g}); distance {fid:.6f}, theirs {peer:.6f}, "
        f"difference {abs(fid - peer):.1e} (limit {FID_LIMIT:g}): {'equal' if good else 'FAILED'}"
    )
    return good


def pair(folder: Path, dims: int, partial: Path | None) -> tuple[Extractor, Any]:
    """Return our extractor and torch-fidelity's with the same weights: drawn, or of `partial`."""
    path = folder / f"inception-{dims}.pth"
    torch.save(state_dict(load_file(partial) if partial else {}), path)
    options = Options(partial or path, dims=dims, allow_unknown_weights=True, device="cpu")
    theirs = import_module("torch_fidelity").FeatureExtractorInceptionV3(
        "inception", [str(dims)], feature_extractor_weights_path=str(path)
    )
    return build_inception(options), theirs


def state_dict(folded: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a whole network under pytorch-fid's names: `folded` convolutions, the rest drawn."""
    tensors = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    for conv in layout():
        given = f"{conv.name}.conv.weight" in folded
        parts = unfolded(folded, conv) if given else drawn(conv)
        tensors |= {f"{conv.name}.{part}": tensor for part, tensor in parts.items()}
    return tensors


def unfolded(folded: dict[str, Tensor], conv: Conv) -> dict[str, Tensor]:
    """Return a folded convolution with a batch norm (eps 1e-3) that only adds its bias."""
    width = conv.shape[0]
    return {
        "conv.weight": folded[f"{conv.name}.conv.weight"],
        "bn.weight": torch.ones(width),
        "bn.bias": folded[f"{conv.name}.conv.bias"],
        "bn.running_mean": torch.zeros(width),
        "bn.running_var": torch.full((width,), 1 - 1e-3),
    }


def drawn(conv: Conv) -> dict[str, Tensor]:
    """Return He-normal weights and a batch norm, from the convolution's name."""
    draw, width = rng.generator("parity", conv.name), conv.shape[0]
    scale = (2 / float(np.prod(conv.shape[1:]))) ** 0.5
    return {
        "conv.weight": torch.randn(conv.shape, generator=draw) * scale,
        "bn.weight": torch.ones(width),
        "bn.bias": torch.randn(width, generator=draw) * 0.1,
        "bn.running_mean": torch.randn(width, generator=draw) * 0.1,
        "bn.running_var": torch.rand(width, generator=draw) + 0.5,
    }


def colour_images(count: int, contrast: float) -> NDArray[np.uint8]:
    """Return random mosaics with a little noise, (count, 64, 64, 3)."""
    draw = np.random.default_rng(0)
    mosaic = draw.integers(0, 256, (count, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    noisy = 128 + contrast * (mosaic - 128) + draw.normal(0, 5, mosaic.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def peer_features(theirs: Any, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
    """Return torch-fidelity's features (N, dims) of images (N, H, W[, 3]), by its batch of 64."""
    x = torch.from_numpy(images)
    x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        parts = [theirs(x[i : i + batch].contiguous())[0].numpy() for i in range(0, len(x), batch)]
    return np.concatenate(parts)


if __name__ == "__main__":
    main()
