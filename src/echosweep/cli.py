"""The command line: parse, call, print. No logic, and nothing heavy imported before it is needed.

Results go to stdout (JSON where a machine may read them), progress and errors to stderr. Exit code
0: done; 1: the work failed; 2: the call was wrong; 130: stopped by Ctrl-C, continue with the same
command. Options of `train` and `sample` are the fields of their configs.
"""

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

from cyclopts import App, CycloptsError, Group, Parameter

from echosweep import __version__
from echosweep.config import Config, FeatureConfig, Registry, SampleConfig, TrainConfig, registered
from echosweep.errors import EchoSweepError, UsageError
from echosweep.progress import bar, leads
from echosweep.runs import NO_SPACE

app = App(
    name="echosweep",
    version=__version__,
    help="Find, train, sample and measure diffusion models for echocardiograms. "
    "For research; not for clinical use.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app["--help"].group = app["--version"].group = Group("Other", sort_key=9)


def _options_of(config: type[Config]) -> Any:
    """Return a TypedDict with a config's fields: an option each, absent unless given."""
    # Types only: the limits are the config's to check, which says them in one line.
    fields, types = dict[str, Any](), get_type_hints(config)
    for name, field in config.model_fields.items():
        marks = [mark for mark in field.metadata if isinstance(mark, Registry)]
        choices = f" ({', '.join(marks[0].keys)})" if marks else ""
        default = "" if field.default is None else f" [default: {field.default}]"
        # Lists are one word, 1,2,2: the config splits it.
        kind = str if "tuple" in str(types[name]) else types[name]
        flag = "--" + name.replace("_", "-")
        mark = Parameter(name=flag, help=f"{field.description}{choices}{default}")
        fields[name] = Annotated[kind, mark]
    make: Any = TypedDict
    return make(config.__name__ + "Options", fields, total=False)


if TYPE_CHECKING:
    _Train = dict[str, Any]
    _Sample = dict[str, Any]
    _Features = dict[str, Any]
else:
    _Train = Annotated[_options_of(TrainConfig), Parameter(name="*")]
    _Sample = Annotated[_options_of(SampleConfig), Parameter(name="*")]
    _Features = Annotated[_options_of(FeatureConfig), Parameter(name="*")]
_Many = Parameter(negative=())
_Metrics = Parameter(
    help=f"What to measure, several with commas: {', '.join(registered('evaluation', 'METRICS'))}; "
    "or all."
)


@app.command
def phantom(
    out: Path,
    /,
    *,
    videos: int = 64,
    frames: int = 64,
    size: int = 112,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Make a synthetic data set in EchoNet-Dynamic's layout: beating hearts, with known EF.

    Parameters
    ----------
    out
        Folder to make.
    videos
        Number of videos.
    frames
        Frames per video.
    size
        Height and width in pixels.
    seed
        Video i is a function of the seed and i.
    workers
        Processes; default: every core.
    """
    from echosweep.data.phantom import phantom as make

    with bar("phantom", "frames") as progress:
        path = make(out, videos, frames, size, seed, workers, progress)
    print(f"{path}: {videos} videos of {frames} frames. Next: echosweep prepare {path} --out STORE")


@app.command
def prepare(
    source: Path,
    /,
    *,
    out: Path,
    size: str = "64",
    every: int = 5,
    kind: str = "auto",
    fit: str = "crop",
    filter: str = "lanczos",
    channels: int = 1,
    max_excluded: float = 0.05,
    splits: str = "0.75,0.125,0.125",
    patient_regex: str | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Turn videos into a frame store. Interrupted, the same command continues.

    Parameters
    ----------
    source
        Folder (EchoNet-Dynamic, videos, DICOM, images), DICOM file or .npy array.
    out
        Frame store to make.
    size
        Pixels: 64, or HEIGHTxWIDTH as 112x112.
    every
        Take one frame in this many.
    kind
        Kind of source: auto, or one of those listed in docs/data.md.
    fit
        crop: the centred square; letterbox: everything, with black bars.
    filter
        Antialiased resize filter: lanczos, bicubic, bilinear or box.
    channels
        1: grey; 3: colour.
    max_excluded
        Stop if more than this share of the videos cannot be used.
    splits
        Shares of train, val and test, where the source has no splits of its own.
    patient_regex
        Folder of videos: group 1 of this, found in a video's path, is its patient.
    seed
        Seed of the splits.
    workers
        Decoder processes; default: every core.
    """
    from echosweep.data.prepare import prepare as run

    with bar("prepare", "frames") as progress:
        store = run(
            source,
            out,
            size=_size(size),
            every=every,
            kind=kind,
            fit=fit,
            filter=filter,
            channels=channels,
            max_excluded=max_excluded,
            splits=_numbers(splits, 3),
            patient_regex=patient_regex,
            seed=seed,
            workers=workers,
            progress=progress,
        )
    print(
        f"{store.path}: {len(store)} images of {len(store.videos)} videos, "
        f"fingerprint {store.fingerprint}"
    )
    for name, reason in store.manifest["excluded"].items():
        print(f"  left out {name}: {reason}")


@app.command
def train(
    *,
    data: Path,
    out: Path,
    config: Path | None = None,
    options: _Train = {},  # noqa: B006
    device: str | None = None,
    tensorboard: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a denoiser on a frame store. Interrupted, the same command continues.

    Parameters
    ----------
    data
        Frame store to train on.
    out
        Run folder: weights, log, sample grids, checkpoints.
    config
        YAML file with any of the options below, as RUN/config.yaml; options given here win.
    device
        cpu, cuda, cuda:1, ...; default: a GPU where there is one.
    tensorboard
        Also write TensorBoard logs (extra: tb).
    dry_run
        Print the settings, the network's size and what a step costs here, then stop.
    """
    from echosweep.commands.train import plan
    from echosweep.commands.train import train as run

    settings = _read(TrainConfig, config, options)
    if dry_run:
        _print_json(plan(data, config=settings, device=device))
        return
    with bar("train", "images") as progress:
        path = run(
            data, out, config=settings, device=device, tensorboard=tensorboard, progress=progress
        )
    if leads():
        print(f"{path}: trained. Next: echosweep sample {path} --out STORE --num 1000")


@app.command
def sample(
    model: Path,
    /,
    *,
    out: Path,
    num: Annotated[int, Parameter(name=["--num", "-n"])] = 50_000,
    seed: int = 0,
    config: Path | None = None,
    options: _Sample = {},  # noqa: B006
    batch: int = 64,
    grid: Path | None = None,
    device: str | None = None,
) -> None:
    """Draw images from a trained model into a frame store. Interrupted, the same command continues.

    Parameters
    ----------
    model
        Run folder, or a snapshot's .safetensors file in it.
    out
        Frame store to make.
    num
        Number of images.
    seed
        Image i has seed SEED + i, and depends on that alone.
    config
        YAML file with any of the options below; options given here win.
    batch
        Images at a time; changes no image.
    grid
        PNG of the first images.
    device
        cpu, cuda, ...; default: a GPU where there is one.
    """
    from echosweep.commands.sample import sample as run

    settings = _read(SampleConfig, config, options)
    with bar("sample", "images") as progress:
        store = run(
            model,
            out,
            num=num,
            seed=seed,
            config=settings,
            batch=batch,
            grid=grid,
            device=device,
            progress=progress,
        )
    if store:
        print(
            f"{store.path}: {len(store)} images. "
            f"Next: echosweep evaluate {store.path} REFERENCE_STORE"
        )


@app.command
def evaluate(
    generated: Path,
    reference: Path,
    /,
    *,
    metrics: Annotated[str, _Metrics] = "frechet",
    num: int | None = None,
    split: str | None = None,
    allow_difference: Annotated[list[str] | None, _Many] = None,
    seed: int = 0,
    out: Path | None = None,
    details: Annotated[bool, _Many] = False,
    options: _Features = {},  # noqa: B006
) -> None:
    """Measure how far generated images are from real ones (FID and more); JSON on stdout.

    Parameters
    ----------
    generated
        Frame store of generated images.
    reference
        Frame store of real images.
    num
        Images of each store, drawn by seed; default: all.
    split
        Split of the reference: train, val or test; default: all.
    allow_difference
        Compare although the stores differ in this (size, fit, filter, ...); may be repeated.
    seed
        Seed of every draw.
    out
        Folder for evaluation.json and the page evaluation.html; with --metrics all, by default
        GENERATED.evaluation.
    details
        Print the curves too, as evaluation.json has them.
    """
    from echosweep.commands.evaluate import evaluate as run

    record = run(
        generated,
        reference,
        metrics=metrics,
        num=num,
        split=split,
        allow_difference=allow_difference or (),
        seed=seed,
        out=out,
        config=FeatureConfig.make(options),
        show=bar,
    )
    if record:
        _print_json(record if details else {k: v for k, v in record.items() if k != "details"})


@app.command
def floor(
    store: Path,
    /,
    *,
    by: str = "frame,video",
    num: int | None = None,
    splits: int = 5,
    split: str | None = None,
    seed: int = 0,
    plot: Path | None = None,
    options: _Features = {},  # noqa: B006
) -> None:
    """Measure the optimal FID: halves of real images against each other; JSON on stdout.

    Parameters
    ----------
    store
        Frame store of real images.
    by
        How to halve: frame (as in the paper), video (no patient on both sides), or both.
    num
        Images in each half; default: as many as there are.
    splits
        How often the halves are drawn, for mean and standard deviation.
    split
        Split of the store: train, val or test; default: all.
    seed
        Seed of the first draw.
    plot
        PNG of the distance against the number of images, with the fitted line.
    """
    from echosweep.commands.floor import floor as run
    from echosweep.commands.floor import print_table

    record = run(
        store,
        by=by.split(","),
        num=num,
        splits=splits,
        split=split,
        seed=seed,
        plot=plot,
        config=FeatureConfig.make(options),
        show=bar,
    )
    if record:
        print_table(record)
        _print_json(record)


@app.command
def copies(
    generated: Path,
    train: Path,
    /,
    *,
    holdout: Path | None = None,
    train_split: str | None = None,
    holdout_split: str | None = None,
    rate: float = 0.01,
    drop: Path | None = None,
    out: Path | None = None,
    memory_gb: float = 1.0,
    seed: int = 0,
    options: _Features = {},  # noqa: B006
) -> None:
    """Search generated images for copies of training images; JSON on stdout, a page to look at.

    Parameters
    ----------
    generated
        Frame store of generated images.
    train
        Frame store that the model was trained on.
    holdout
        Real images of other patients, to calibrate on; default: those of TRAIN outside its
        training split.
    train_split
        Split of TRAIN that was trained on; default: train where HOLDOUT is TRAIN itself, else all.
    holdout_split
        Split of HOLDOUT to calibrate on; default: all that is not trained on.
    rate
        Share of images that are no copies but are flagged.
    drop
        Write a new store here, without the flagged images.
    out
        Folder for copies.json and the page copies.html; default: GENERATED.copies.
    memory_gb
        Memory for the blocks of the search.
    seed
        Seed of the cells of C_T and of the intervals.
    """
    from echosweep.commands.copies import copies as run

    record = run(
        generated,
        train,
        holdout=holdout,
        train_split=train_split,
        holdout_split=holdout_split,
        rate=rate,
        drop=drop,
        out=out,
        memory_gb=memory_gb,
        seed=seed,
        config=FeatureConfig.make(options),
        show=bar,
    )
    if record:
        _print_json(record)


@app.command
def doctor(*, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """Say what this machine has and lacks, and the fix for each lack.

    Parameters
    ----------
    as_json
        Print JSON instead of a table.
    """
    from echosweep.commands.doctor import examine, print_table

    findings = examine()
    if as_json:
        _print_json([finding._asdict() for finding in findings])
    else:
        print_table(findings)
    if any(finding.state == "missing" for finding in findings):
        raise SystemExit(1)


@app.command
def demo(out: Path = Path("demo"), /, *, minutes: float = 2.5) -> None:
    """Go through everything on phantom hearts: make, prepare, train, sample, evaluate.

    Parameters
    ----------
    out
        Folder to make; the same command again continues.
    minutes
        How long to train.
    """
    from echosweep.commands.demo import demo as run

    run(out, minutes)


def _read(kind: type[Config], path: Path | None, given: Any) -> Any:
    """Return the config of a YAML file, if there is one, with the given options on top."""
    return kind.read(path, **given) if path else kind.make(given)


def _size(text: str) -> tuple[int, int]:
    try:
        sizes = [int(part) for part in text.lower().split("x")]
        height, width = sizes * 2 if len(sizes) == 1 else sizes
    except ValueError:
        raise UsageError(f"--size {text!r} must be as 64 or 112x112") from None
    return height, width


def _numbers(text: str, count: int) -> Any:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise UsageError(f"{text!r} must be {count} numbers with commas, as 0.75,0.125,0.125")
    return numbers


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def _run(arguments: list[str]) -> int:
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        print(end="", flush=True)
    except CycloptsError as error:
        return _fail(str(error), 2)
    except EchoSweepError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:  # who reads stdout has had enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        fix = "; free some space and run the same command again" if error.errno in NO_SPACE else ""
        return _fail(f"{error}{fix}", 1)
    except KeyboardInterrupt:
        return _fail("stopped; run the same command again to continue", 130)
    except Exception as error:
        return _fail(_explain(error), 1)
    return 0


def _explain(error: Exception) -> str:
    """Return what to do about an error that nothing foresaw."""
    text = str(error).split("\n")[0]
    if isinstance(error, MemoryError) or "memory" in text:  # torch raises RuntimeError
        return f"out of memory ({text}); make the images, the batch or the network smaller"
    return (
        f"{type(error).__name__}: {text}; a fault of EchoSweep: report it with what --debug shows"
    )


def main() -> None:
    """Run the command line: the entry point `echosweep`. --debug anywhere shows tracebacks."""
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - some daemons
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path can hold any byte
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    if len(arguments) < len(sys.argv) - 1:
        app(arguments)
    else:
        sys.exit(_run(arguments))
