"""The rows that need a GPU: ADM at 64 px, its guidance, and features, as commands compute them.

Ours is in bf16, plain or compiled; the peer is physicsnemo under autocast, its network called as
often and nothing else. Invariant: each function is a row of its own process, so what fails or takes
too long keeps no other from being measured.
"""

import contextlib
import tempfile
from argparse import Namespace
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import guidance
import nets
import parity
import peers
from beside import beside, having
from echosweep import compute
from echosweep.build import build_sampler, load_model
from echosweep.config import SampleConfig
from echosweep.evaluation.features import Options as FeatureOptions
from echosweep.evaluation.inception_file import build_inception
from echosweep.guides import build_guide
from echosweep.sampling import compile_for_sampling, draw_images
from echosweep.training.loop import autocast
from features import grey
from nets import Facts, Net, Twin
from pairs import Built, Options, Row, Side, faster, medians, pairs, turns
from train import bare_step, our_step

SIZE, IMAGES, STEPS, BATCH, MICRO_BATCH = 64, 64, 30, 256, 64
FEATURED, CHECKED, WHOLE = 4096, 64, 50_000
SAMPLING_BARS: dict[str, Any] = {"bar": 2.5, "share_bar": 0.45}
TRAINING_BARS: dict[str, Any] = {"bar": 2.0, "share_bar": 0.40}
FEATURES_BAR, GUIDED_BAR = 3.0, 1.5


def sampling(options: Options) -> list[Row]:
    """Return the row of drawing images as the network is."""
    row = draws(options, nets.ADM, SIZE, IMAGES, STEPS, compiled=False)
    return [row._replace(**SAMPLING_BARS)]


def sampling_compiled(options: Options) -> list[Row]:
    """Return the row of drawing images with the network compiled."""
    row = draws(options, nets.ADM, SIZE, IMAGES, STEPS, compiled=True)
    return [row._replace(**SAMPLING_BARS)]


def training(options: Options) -> list[Row]:
    """Return the row of a training step as the network is."""
    row = steps(options, nets.ADM, SIZE, BATCH, MICRO_BATCH, compiled="off")
    return [row._replace(**TRAINING_BARS)]


def training_compiled(options: Options) -> list[Row]:
    """Return the row of a training step with the network compiled."""
    row = steps(options, nets.ADM, SIZE, BATCH, MICRO_BATCH, compiled="on")
    return [row._replace(**TRAINING_BARS)]


def features(options: Options) -> list[Row]:
    """Return the rows of Inception's features, as they are by default and in fp16."""
    rows = [inception(options, FEATURED, precision) for precision in ("fp32", "fp16")]
    return [row._replace(bar=FEATURES_BAR) for row in rows]


def guiding(options: Options) -> list[Row]:
    """Return the row of guided sampling against unguided."""
    return [guided(options, nets.ADM.network, SIZE, IMAGES, STEPS)]


def draws(options: Options, twin: Twin, size: int, images: int, steps: int, compiled: bool) -> Row:
    """Return the row of drawing by Heun's method against bare calls of a peer's network."""
    calls = 2 * steps - 1
    ours = (our_draw, options.device, twin.network, size, images, steps, compiled)
    peer = (bare_calls, options.device, size, images, calls, nets.physicsnemo, twin, options.peers)
    what = f"sampling, {size} px, {calls} evaluations{', compiled' if compiled else ''}"
    return beside(what, images, calls, options, ours, peer)


def steps(
    options: Options, twin: Twin, size: int, batch: int, micro_batch: int, compiled: str
) -> Row:
    """Return the row of a training step against the bare loop over a peer's network."""
    settings = {"network": twin.network, "dropout": nets.DROPOUT, "compile": compiled}
    settings |= {"batch": batch, "micro_batch": micro_batch}
    ours = (our_step, options.device, size, settings)
    loop = (bare_step, options.device, batch, micro_batch, size)
    what = f"training step, {size} px, {micro_batch} images a pass"
    what += ", compiled" if compiled == "on" else ""
    return beside(what, batch, 3, options, ours, (*loop, nets.physicsnemo, twin, options.peers))


def inception(options: Options, images: int, precision: str) -> Row:
    """Return the row of 2048 features against torch-fidelity, weights drawn at random."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Side(options, our_features, options.device, images, precision))
        start = (peer_features, options.device, images, options.peers)
        theirs, lacking = having(stack, options, start)
        times = turns([ours, *theirs], options.pairs)
    rate = images / medians(times)[0]
    note = f"{WHOLE:,} images take {WHOLE / rate:.0f} s, extrapolated from {images:,}"
    return Row(
        what="Inception features, 64 px, 2048 wide",
        ours=f"{ours.facts.name}, {rate:.3g} images/s",
        peer=theirs[0].facts.name if theirs else "",
        ratios=faster([(a[0], a[1]) for a in times]) if theirs else [],
        rate=rate,
        note="; ".join(filter(None, [note, lacking])),
    )


def guided(options: Options, network: str, size: int, images: int, steps: int) -> Row:
    """Return the row of sampling guided by a discriminator against unguided."""
    draw = (our_draw, options.device, network, size, images, steps, False)
    with Side(options, *draw, "w1") as ours, Side(options, *draw) as plain:
        ratios = [a / b for a, b in pairs(ours, plain, options.pairs)]
    return Row(
        what=f"guided sampling, {size} px, {2 * steps - 1} evaluations, batch {images}",
        ours=f"{network}, w1",
        peer="unguided",
        ratios=ratios,
        bar=GUIDED_BAR,
        better="lower",
    )


def our_draw(
    device: str,
    network: str,
    size: int,
    images: int,
    steps: int,
    compiled: bool,
    case: str = "unguided",
) -> Built:
    """Return the drawing of images as `sample` does it. case: of `guidance.CASES`."""
    compute.keep_memory()
    at, weights = torch.device(device), guidance.CASES[case]
    with tempfile.TemporaryDirectory() as name:
        guidance.write(network, Path(name), Namespace(batch=images, size=size))
        guide_by = {"guidance": Path(name) / "disc", **weights} if weights else {}
        config = SampleConfig.make({"steps": steps, **guide_by})
        denoiser = load_model(Path(name) / "run", device)
        guide = build_guide(config, denoiser)
    facts = nets.facts(Net(network, denoiser.network, denoiser.network), size)
    sampler = build_sampler(config, denoiser.framework)
    precision = compute.choose_precision("auto", at)
    compute.prepare(denoiser.network, precision)

    def work() -> NDArray[np.uint8]:
        with compute.arithmetic(precision, at):
            return draw_images(denoiser, range(images), sampler, guide=guide)

    if compiled:
        with compute.arithmetic(precision, at):
            assert compile_for_sampling(denoiser)
    return work, facts


def bare_calls(
    device: str, size: int, images: int, calls: int, build: nets.Build, *args: Any
) -> Built:
    """Return so many calls of a peer's network, in bf16 on a GPU."""
    net = build(size, *args)
    net.module.eval().requires_grad_(False).to(device)
    x = torch.randn(images, 1, size, size, device=device)
    c_noise = torch.rand(images, device=device)

    @torch.no_grad()
    def work() -> None:
        with autocast("auto", x.device):
            for _ in range(calls):
                net.call(x, c_noise)

    return work, nets.facts(net, size)


def our_features(device: str, images: int, precision: str) -> Built:
    """Return our features of grey images. Named by how far they are from those in fp32."""
    with tempfile.TemporaryDirectory() as name:
        path = drawn_weights(Path(name))
        options = FeatureOptions(path, dims=2048, allow_unknown_weights=True, device=device)
        plain = build_inception(options)
    extractor, drawn = replace(plain, precision=precision), grey(images)
    apart = np.linalg.norm(extractor(drawn[:CHECKED]) - plain(drawn[:CHECKED]))
    apart /= np.linalg.norm(plain(drawn[:CHECKED]))
    name = f"inception in {precision}, {apart:.1e} from fp32"
    return (lambda: len(extractor(drawn))), Facts(name, 0, 0.0)


def peer_features(device: str, images: int, folder: Path) -> Built:
    """Return torch-fidelity's features of the same images, in its batches of 64."""
    peers.add(folder / "fidelity", peers.FIDELITY, peers.NO_TORCHVISION)
    theirs = import_module("torch_fidelity").FeatureExtractorInceptionV3
    with tempfile.TemporaryDirectory() as name:
        path = drawn_weights(Path(name))
        network = theirs("inception", ["2048"], feature_extractor_weights_path=str(path)).to(device)
    x = torch.from_numpy(grey(images))[:, None].expand(-1, 3, -1, -1).contiguous()

    @torch.no_grad()
    def work() -> None:
        for part in torch.split(x, 64):
            network(part.to(device))[0].cpu()

    return work, Facts(peers.version(peers.FIDELITY), 0, 0.0)


def drawn_weights(folder: Path) -> Path:
    """Write Inception's weights, drawn at random, under pytorch-fid's names."""
    path = folder / "inception.pth"
    torch.save(parity.state_dict({}), path)
    return path
