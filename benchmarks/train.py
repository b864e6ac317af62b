"""Time a training step against a bare forward + backward + Adam loop over the same network.

    python benchmarks/train.py [--network ddpmpp-tiny] [--size 64] [--batch 16] [--pairs 7]

Both run alternately in one process, so a machine whose speed drifts does not decide the ratio. The
bare loop sees one batch that lies ready: what it lacks is drawing noise levels, the loss's weight,
the data set, the average of weights and the gradient check.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from echosweep.build import build_denoiser
from echosweep.config import TrainConfig
from echosweep.data.store import Preparation
from echosweep.devices import pick_device
from echosweep.distributed import World
from echosweep.training.batches import Batches
from echosweep.training.loop import TrainState, autocast, train_steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="ddpmpp-tiny")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=7)
    arguments = parser.parse_args()
    config = TrainConfig(network=arguments.network, batch=arguments.batch, total_kimg=1)
    device, preparation = pick_device(), Preparation((arguments.size, arguments.size))
    images = torch.randint(256, (1000, 1, *preparation.size), dtype=torch.uint8)
    batches = Batches(images, None, seed=0)

    bare = bare_loop(config, preparation, device)
    state = TrainState.new(build_denoiser(config, preparation).to(device), config)
    steps = train_steps(state, batches, config, World(0, 1, device))

    def ours() -> None:
        next(steps)

    def data() -> None:
        batches.get(state.nimg, config.batch, device)

    for warm_up in (bare, ours, data):
        seconds(warm_up, device)
    rows = [[seconds(work, device) for work in (bare, ours, data)] for _ in range(arguments.pairs)]
    speed = [bare / ours for bare, ours, _ in rows]
    share = [data / ours for _, ours, data in rows]
    print(
        f"{arguments.network}, {arguments.size} px, batch {arguments.batch}, {device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"bare loop        {config.batch / statistics.median(r[0] for r in rows):8.1f} images/s")
    print(f"training step    {config.batch / statistics.median(r[1] for r in rows):8.1f} images/s")
    print(
        f"of the bare rate {statistics.median(speed):8.1%}  ({min(speed):.1%} to {max(speed):.1%})"
    )
    print(f"data path        {statistics.median(share):8.2%}  of a step")


def bare_loop(
    config: TrainConfig, preparation: Preparation, device: torch.device
) -> Callable[[], None]:
    """Return a step of the loop that everybody writes first."""
    network = build_denoiser(config, preparation).network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)
    x = torch.randn(config.batch, 1, *preparation.size, device=device)
    c_noise = torch.randn(config.batch, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(config.precision, device):
            loss = (network(x, c_noise) - x).square().mean()
        loss.backward()
        optimizer.step()

    return step


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Return the time of one call, the device's work included."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
