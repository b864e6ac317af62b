"""What does bf16 do to images, and to their distance from real ones? In pairs of the same seeds.

    python benchmarks/precision.py RUN STORE [--seeds 3] [--num 500] [--split val]

A CPU imitates bf16, slowly: what goes into a convolution or a product and what comes out is rounded
to it, its sums are not, as on a GPU; norms and attention between them may round otherwise there.
Invariant: within a pair nothing differs but the precision.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from echosweep import compute
from echosweep.build import build_extractors, build_sampler, load_model
from echosweep.config import FeatureConfig, SampleConfig
from echosweep.data.store import FrameStore
from echosweep.devices import pick_device
from echosweep.evaluation.fid import Statistics, frechet_distance
from echosweep.progress import bar
from echosweep.sampling import draw_images
from paired import T_975, print_table

AT_ONCE = 64
PLAIN = "fp32"


def draw(run: Path, precision: str, seeds: range, config: SampleConfig) -> NDArray[np.uint8]:
    """Return the images of `seeds`, computed in that precision whether or not that pays here."""
    device, drawn = pick_device(), []
    denoiser = load_model(run, str(device))
    sampler = build_sampler(config, denoiser.framework)
    compute.prepare(denoiser.network, precision)
    label = f"{precision} {seeds[0]}"
    with compute.arithmetic(precision, device), bar(label, "images") as progress:
        for start in range(0, len(seeds), AT_ONCE):
            drawn.append(draw_images(denoiser, seeds[start : start + AT_ONCE], sampler))
            progress(min(start + AT_ONCE, len(seeds)), len(seeds))
    return np.concatenate(drawn)


def differences(found: NDArray[np.uint8], plain: NDArray[np.uint8]) -> str:
    """Say how many grey levels images are apart."""
    apart = np.abs(found.astype(int) - plain)
    same, mean, worst = (apart == 0).mean(), apart.mean(), apart.max()
    return f"{same:.1%} of pixels equal, {mean:.2f} of 255 apart on average, {worst} at most"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("store", type=Path, help="real images")
    parser.add_argument(
        "--seeds", type=int, default=3, choices=sorted(T_975), help="sets of images"
    )
    parser.add_argument("--num", type=int, default=500, help="images of a set")
    parser.add_argument("--steps", type=int, default=18, help="of the sampler")
    parser.add_argument("--split", default="val", help="the real images to measure against")
    parser.add_argument("--features", default="efficientnet-lite0")
    given = parser.parse_args()
    compute.keep_memory()
    (extractor,) = build_extractors(FeatureConfig.make({"features": given.features}))
    real = FrameStore.open(given.store)
    reference = Statistics.of(extractor(real.images[real.rows(given.split)]))
    ways = [PLAIN, "bf16", *(["tf32"] if torch.cuda.is_available() else [])]
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(given.seeds):
        seeds = range(1_000_000 * number, 1_000_000 * number + given.num)
        images = {
            way: draw(given.run, way, seeds, SampleConfig.make({"steps": given.steps}))
            for way in ways
        }
        for way in ways:
            found[way].append(frechet_distance(Statistics.of(extractor(images[way])), reference))
        for way in ways[1:]:
            print(f"{way}, seeds from {seeds[0]}: {differences(images[way], images[PLAIN])}")
    print(f"{PLAIN} by set of seeds: {', '.join(f'{v:.4f}' for v in found[PLAIN])}")
    print_table(f"{extractor.metric}, {given.num} images", found, digits=4, plain=PLAIN)


if __name__ == "__main__":
    main()
