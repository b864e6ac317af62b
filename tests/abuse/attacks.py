"""Hostile files, names, configs, weights, stores and databases, each given to a command.

Invariant: a command refuses with one line, or does its work where the attack is only a name; in
neither case does it change a file outside its output, connect anywhere, start a program, or send a
control character to the terminal.
"""

import io
import json
import os
import pickle
import shutil
import socket
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image

from echosweep import runs

from . import child, kills, world
from .row import Bench, Found

SECONDS, MEMORY = 20.0, 6 << 30  # of one attack; what torch maps counts too


class Place(NamedTuple):
    """Where an attack is laid. source: the hostile input. canary: what nobody may touch."""

    inputs: Path
    case: Path
    port: int

    @property
    def source(self) -> Path:
        """Return the folder of what is hostile, made."""
        (self.case / "in").mkdir(exist_ok=True)
        return self.case / "in"

    @property
    def canary(self) -> Path:
        """Return the folder whose files are not ours."""
        return self.case / "canary"

    def copy(self, name: str) -> Path:
        """Return a copy of an input, to be spoilt."""
        return Path(shutil.copytree(self.inputs / name, self.source / name))


class Attack(NamedTuple):
    """lay: writes what is hostile and returns the command's words. passes: it may also succeed."""

    lay: Callable[[Place], str]
    passes: bool = False


ATTACKS: dict[str, Attack] = {}
_PREPARE = "prepare {in} --out {out}/store --size 16 --every 1 --workers 1 --max-excluded 0.9"
_TRAIN = "train --data {w}/store --out {out}/run --total-kimg 0.008 --config {in}/a.yaml"
_SAMPLE = "sample {in}/run --out {out}/made -n 2 STEPS"
_EVALUATE = "evaluate {in}/store {w}/store --features random --out {out}/found"
_STUDY = "study run {in}/a.yaml --data {w}/store --out {out}/study --dry-run"


def attack(name: str, passes: bool = False) -> Callable[[Callable[[Place], str]], None]:
    """Add the function below to ATTACKS."""

    def add(lay: Callable[[Place], str]) -> None:
        ATTACKS[name] = Attack(lay, passes)

    return add


class _Runs:
    """A pickle of it creates a file in the canary when it is loaded."""

    def __init__(self, place: Place) -> None:
        self.path = place.canary / "ran"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


# --- files ------------------------------------------------------------------------------------


def _files(content: dict[str, Callable[[Place], bytes]], line: str = _PREPARE) -> None:
    """Add an attack for each file: it lies in the source beside a plain image."""
    for name, make in content.items():

        def lay(place: Place, name: str = name, make: Callable[[Place], bytes] = make) -> str:
            path = place.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make(place))
            return line

        ATTACKS[f"file {name}"] = Attack(lay)


def _postscript(place: Place) -> bytes:
    return (
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({place.canary}/a) deletefile".encode()
    )


def _concat(place: Place) -> bytes:
    return (
        f"ffconcat version 1.0\nfile {place.inputs}/videos/Videos/0X0000000000000000.avi".encode()
    )


def _playlist(place: Place) -> bytes:
    return f"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{place.port}/x.ts\n#EXT-X-ENDLIST\n".encode()


def _npy(shape: str, data: bytes = b"", dtype: str = "|u1") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def _npz(place: Place) -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        member.write(_npy("(3000000, 32, 32)"))
        for _ in range(3000):
            member.write(bytes(1 << 20))
    return file.getvalue()


def _object_array(place: Place) -> bytes:
    return _npy("(8,)", pickle.dumps(np.array([_Runs(place)], object)), "|O")


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    rows = zlib.compress(bytes(min(width + 1, 20_000)) * min(height, 20_000))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def _avi(place: Place) -> bytes:
    """Return a real video whose header promises 2e9 frames."""
    data = bytearray(next((place.inputs / "videos" / "Videos").glob("*.avi")).read_bytes())
    for mark, offset in ((b"avih", 24), (b"strh", 40)):
        at = data.index(mark) + offset
        data[at : at + 4] = struct.pack("<I", 2_000_000_000)
    return bytes(data[: len(data) // 3])


_files(
    {
        "x.png": _postscript,
        "y.jpg": _postscript,
        "z.tif": _postscript,
        "x.avi": _concat,
        "y.mp4": _playlist,
        "z.avi": lambda place: b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\xff",
        "promise.avi": _avi,
        "huge.png": lambda place: _png(13_000, 13_000),
        "giant.png": lambda place: _png(2**31 - 1, 2**31 - 1),
        "object.npy": _object_array,
        "sparse.npy": lambda place: _npy("(2000000000, 64, 64)"),
        "negative.npy": lambda place: _npy("(-4, 16, 16)", bytes(4096)),
        "code.npy": lambda place: _npy(f"__import__('os').mkdir('{place.canary}/ran')"),
        "bomb.npz": _npz,
        "pickle.npz": lambda place: pickle.dumps(_Runs(place)),
        "x.dcm": lambda place: b"\x00" * 128 + b"DICM" + b"\xff" * 4000,
        "x.mhd": lambda place: (
            b"NDims = 3\nDimSize = 99999 99999 99999\nElementType = MET_UCHAR\n"
            b"ElementDataFile = ../canary/a\n"
        ),
        "deep.yaml": lambda place: b"[" * 100_000,
    }
)


@attack("a pipe and /dev/zero among the images")
def _pipe(place: Place) -> str:
    os.mkfifo(place.source / "a.png")
    (place.source / "b.png").symlink_to("/dev/zero")
    os.mkfifo(place.source / "c.avi")
    return _PREPARE


@attack("a config that is /dev/zero")
def _zero(place: Place) -> str:
    (place.source / "a.yaml").symlink_to("/dev/zero")
    return _TRAIN


@attack("a config that is a pipe")
def _pipe_config(place: Place) -> str:
    os.mkfifo(place.source / "a.yaml")
    return _TRAIN


# --- names ------------------------------------------------------------------------------------

_NAMES = (
    *("http:", "concat:a", "rtp:", "data:", "subfile,,start,0,:", "-o", "%s%n", "{0}", "a\nb"),
    *("=cmd|' /C calc'!A0", "\x1b]0;owned\x07", "\x1b[2J", "\u202egpj.exe", "a'; DROP TABLE x;--"),
    *("<script>alert(1)</script>", "$(touch ran)", "`touch ran`", "a;touch ran", "\udcff\udcfe"),
)


@attack("names of folders and files that are URLs, options, formulas and escapes", passes=True)
def _names(place: Place) -> str:
    for number, name in enumerate(_NAMES):
        folder = place.source / name.replace("/", "_")
        folder.mkdir()
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16), dtype=np.uint8)
        for frame in range(2):
            Image.fromarray(np.roll(pixels, frame)).save(folder / f"{frame}.png")
    return _PREPARE + " --folders video --preview {out}/preview"


@attack("a folder of videos named as a URL of this machine", passes=True)
def _url(place: Place) -> str:
    video = next((place.inputs / "videos" / "Videos").glob("*.avi"))
    folder = place.source / "http:" / f"127.0.0.1:{place.port}"
    folder.mkdir(parents=True)
    for number in range(3):
        shutil.copy(video, folder / f"{number}.avi")
    return f"CD {place.source} prepare http: --out {{out}}/store --size 16 --workers 1"


def _echonet(name: str) -> Callable[[Place], str]:
    def lay(place: Place) -> str:
        copy = place.copy("videos")
        lines = (copy / "FileList.csv").read_text().splitlines()
        lines[1] = ",".join([name, *lines[1].split(",")[1:]])
        (copy / "FileList.csv").write_text("\n".join(lines))
        shutil.copy(next((copy / "Videos").glob("*.avi")), place.canary / "film.avi")
        return _PREPARE.replace("{in}", "{in}/videos").replace("0.9", "0")

    return lay


ATTACKS["EchoNet: a FileName above its folder"] = Attack(_echonet("../../../canary/film"))
ATTACKS["EchoNet: an absolute FileName"] = Attack(_echonet("/etc/passwd"))


@attack("an output folder that is /")
def _root(place: Place) -> str:
    return "sample {w}/run --out / -n 2 STEPS"


@attack("--plot over a file of another kind")
def _plot(place: Place) -> str:
    return f"floor {{w}}/store --features random --repeats 2 --plot {place.canary}/a"


@attack("OUT.partial is a folder of the user's")
def _partial(place: Place) -> str:
    shutil.copytree(place.canary, place.case / "out" / "made.partial")
    (place.case / "in" / "kept").mkdir(parents=True)
    return "sample {w}/run --out {out}/made -n 2 STEPS"


@attack("OUT.partial is a link")
def _link(place: Place) -> str:
    (place.case / "out" / "made.partial").symlink_to(place.canary)
    return "sample {w}/run --out {out}/made -n 2 STEPS"


@attack("prepare: OUT.partial is a link")
def _prepare_link(place: Place) -> str:
    (place.case / "out" / "store.partial").symlink_to(place.canary)
    return "prepare {w}/videos --out {out}/store --size 16 --workers 1"


# --- configs and recipes ----------------------------------------------------------------------


def _laughs(place: Place) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join([*lines, "network: *a9"])


_YAML: dict[str, Callable[[Place], str]] = {
    "an object of Python": lambda p: f"!!python/object/apply:os.mkdir ['{p.canary}/ran']",
    "a billion laughs": _laughs,
    "a billion laughs as a name": lambda p: _laughs(p).replace("network: *a9", "? *a9\n: 1"),
    "ten thousand levels": lambda p: "network: " + "[" * 10_000,
    "100,000 keys": lambda p: "\n".join(f"k{n}: {n}" for n in range(100_000)),
    "a name of a megabyte": lambda p: f"{'x' * (1 << 20)}: 1",
    "escapes": lambda p: '"\\e]0;owned\\a": 1\nnetwork: "\\e[2J"',
    "not a mapping": lambda p: "- 1",
    "no text": lambda p: "\x00\x01\x02",
    "a merge of itself": lambda p: "a: &a\n  <<: *a\n",
    "an infinite number": lambda p: "lr: .inf",
    "a number of 10,000 digits": lambda p: f"batch: {'9' * 10_000}",
}
for _name, _text in _YAML.items():

    def _lay(place: Place, text: Callable[[Place], str] = _text) -> str:
        (place.source / "a.yaml").write_text(text(place))
        return _TRAIN

    ATTACKS[f"config: {_name}"] = Attack(_lay)


def _recipe(**changes: object) -> Callable[[Place], str]:
    def lay(place: Place) -> str:
        recipe = {
            **{"name": "a", "about": "a", "features": {"features": ["random"]}, "gpus": 0},
            "base": {"train": {"network": "ddpmpp-tiny", "total_kimg": 0.1}},
            "stages": [{"name": "s", "space": {"train.lr": [1e-3]}}],
            **changes,
        }
        (place.source / "a.yaml").write_text(yaml.safe_dump(recipe))
        return _STUDY.replace("{canary}", str(place.canary))

    return lay


_SPACE = {"space": {"train.lr": [1e-3]}}
for _key, _bad in {
    "a stage above the study": {"stages": [{"name": "x/../../../E", **_SPACE}]},
    "an absolute stage": {"stages": [{"name": "/tmp/E", **_SPACE}]},
    "a stage with a 0": {"stages": [{"name": "a\0b", **_SPACE}]},
    "a stage with escapes": {"stages": [{"name": "\x1b[2J", **_SPACE}]},
    "a name above the study": {"name": "../../E"},
}.items():
    ATTACKS[f"recipe: {_key}"] = Attack(_recipe(**_bad))


# --- weights ----------------------------------------------------------------------------------


def _weights(data: Callable[[Place], bytes], signed: bool = True) -> Callable[[Place], str]:
    def lay(place: Place) -> str:
        run = place.copy("run")
        (run / "model.safetensors").write_bytes(data(place))
        if signed:
            facts = runs.read_record(run / "model.json", "")
            facts["sha256"] = runs.sha256_file(run / "model.safetensors")
            runs.write_record(run / "model.json", facts)
        return _SAMPLE

    return lay


def _header(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


_TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
for _key, _data in {
    "a pickle": lambda p: pickle.dumps(_Runs(p), protocol=4),
    "a pickle of protocol 0": lambda p: pickle.dumps(_Runs(p), protocol=0),
    "a zip": lambda p: b"PK\x03\x04" + bytes(100),
    "a header of 2^60 bytes": lambda p: _header({}, length=1 << 60),
    "offsets beyond the file": lambda p: _header({"a": {**_TENSOR, "data_offsets": [0, 1 << 40]}}),
    "a shape of 2^62": lambda p: _header({"a": {**_TENSOR, "shape": [1 << 62]}}, bytes(8)),
    "tensors of other names": lambda p: _header({"a": _TENSOR}, bytes(8)),
    "no tensors": lambda p: _header({}),
    "nothing": lambda p: b"",
}.items():
    ATTACKS[f"weights: {_key}"] = Attack(_weights(_data))


def _facts(change: Callable[[dict], None]) -> Callable[[Place], str]:
    def lay(place: Place) -> str:
        run = place.copy("run")
        facts = runs.read_record(run / "model.json", "")
        change(facts)
        runs.write_record(run / "model.json", facts)
        return _SAMPLE

    return lay


for _key, _change in {
    "images of 10^6 px": lambda f: f["preparation"].update(size=[10**6, 10**6]),
    "a size that is no number": lambda f: f["preparation"].update(size=["a", None]),
    "a network of 10^9 channels": lambda f: f["config"].update(model_channels=10**9),
    "a network that does not exist": lambda f: f["config"].update(network="__import__"),
    "no config": lambda f: f.pop("config"),
    "no preparation": lambda f: f.pop("preparation"),
    "a nimg that is text": lambda f: f.update(nimg="\x1b[2J"),
    "classes that are paths": lambda f: f.update(classes=["../../a", "b"]),
}.items():
    ATTACKS[f"facts of weights: {_key}"] = Attack(_facts(_change), passes="nimg" in _key)

ATTACKS["Inception weights: a pickle"] = Attack(
    lambda place: (
        (place.source / "a.pth").write_bytes(pickle.dumps(_Runs(place)))
        and "evaluate {w}/made {w}/store --features inception --inception {in}/a.pth "
        "--allow-unknown-weights --out {out}/found"
    )
)


# --- stores -----------------------------------------------------------------------------------


def _store(change: Callable[[Path, dict, Place], None]) -> Callable[[Place], str]:
    """Change a store and sign it anew, as an attacker would."""

    def lay(place: Place) -> str:
        store = place.copy("store")
        manifest = runs.read_record(store / "manifest.json", "")
        change(store, manifest, place)
        for name in manifest.get("sha256", {}):
            if (store / name).is_file():
                manifest["sha256"][name] = runs.sha256_file(store / name)
        runs.write_record(store / "manifest.json", manifest)
        return _EVALUATE

    return lay


def _index(store: Path, video: int) -> None:
    index = np.load(store / "index.npy")
    index["video"][0] = video
    np.save(store / "index.npy", index)


def _videos(store: Path, **change: object) -> None:
    rows = json.loads((store / "videos.json").read_text())
    (store / "videos.json").write_text(json.dumps([{**rows[0], **change}, *rows[1:]]))


for _key, _spoil in {
    "a pickle as images": lambda s, m, p: (s / "images.npy").write_bytes(_object_array(p)),
    "a pickle as index": lambda s, m, p: (s / "index.npy").write_bytes(_object_array(p)),
    "a header of 2e9 images": lambda s, m, p: (s / "images.npy").write_bytes(
        _npy("(2000000000, 16, 16)")
    ),
    "a video of number -1": lambda s, m, p: _index(s, -1),
    "a video of number 10^6": lambda s, m, p: _index(s, 10**6),
    "a split that does not exist": lambda s, m, p: _videos(s, split="../a"),
    "a field that does not exist": lambda s, m, p: _videos(s, __class__="a"),
    "a name that is a number": lambda s, m, p: _videos(s, name=5),
    "videos that are no list": lambda s, m, p: (s / "videos.json").write_text('{"a": 1}'),
    "a format of the future": lambda s, m, p: m.update(format=99),
    "a format that is a list": lambda s, m, p: m.update(format=[1]),
    "no SHA-256": lambda s, m, p: m.pop("sha256"),
    "a size of -1": lambda s, m, p: m["preparation"].update(size=[-1, 16]),
    "a manifest 10,000 levels deep": lambda s, m, p: m.update(source={}, sha256=m["sha256"]),
}.items():
    ATTACKS[f"store: {_key}"] = Attack(_store(_spoil), passes="levels" in _key)


# --- databases --------------------------------------------------------------------------------

for _url in (
    *("http://127.0.0.1:9/a", "file:///etc/passwd", "sqlite:////proc/a", "postgresql://", "a\x1b["),
    *("redis://127.0.0.1:9", "mysql+pymysql://a/b", "sqlite:///{canary}/a", "../../x.log"),
):

    def _lay_url(place: Place, url: str = _url) -> str:
        _recipe()(place)
        word = url.replace("{canary}", str(place.canary))
        return f"{_STUDY.replace(' --dry-run', '')} --storage {word}"

    ATTACKS[f"database {_url!r}"] = Attack(_lay_url)


# --- the row ----------------------------------------------------------------------------------

_QUICK = (
    *("file x.png", "file object.npy", "file sparse.npy", "OUT.partial is a link"),
    *("weights: a pickle", "recipe: a stage above the study", "config: a billion laughs"),
    *("store: a video of number -1", "a folder of videos named as a URL of this machine"),
)


def corpus(bench: Bench) -> Found:
    """Make each attack; look at how the command ended and at what it touched."""
    names, faults = _QUICK if bench.quick else tuple(ATTACKS), []
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        for name in names:
            faults += [f"{name}: {what}" for what in made(ATTACKS[name], bench, trap)]
    return Found(f"{len(names)} attacks", faults)


def made(attack: Attack, bench: Bench, trap: socket.socket) -> Iterator[str]:
    """Make an attack; yield what it reached."""
    case = bench.fresh()
    for name in ("out", "tmp", "canary"):
        (case / name).mkdir()
    (case / "canary" / "a").write_text("mine")
    place = Place(bench.inputs, case, trap.getsockname()[1])
    line = attack.lay(place).replace("{in}", str(case / "in"))
    before, log = _outside(case), bench.folder / "touched.txt"
    log.write_text("")
    begun = time.monotonic()
    ended = child.run(_words(line, bench, case), lambda: _watch(case, line, log), SECONDS)
    if ended.code == 0 and not attack.passes:
        yield f"taken: {ended.last}"
    elif ended.code and not ended.refused:
        yield f"exit {ended.code} after {time.monotonic() - begun:.0f} s: {ended.last}"
    if len(ended.err) > 20_000:
        yield f"{len(ended.err)} characters were said"
    if found := [c for c in ended.out + ended.err if ord(c) < 32 and c not in "\n\r\t"]:
        yield f"sent to the terminal: {found[0]!r}"
    yield from (f"outside: {what}" for what in kills.different(before, _outside(case)))
    yield from log.read_text().splitlines()
    try:
        trap.accept()[0].close()
        yield "connected to a port"
    except BlockingIOError:
        pass


def _words(line: str, bench: Bench, case: Path) -> list[str]:
    words = bench.words(
        line.partition(" prepare")[2] if line.startswith("CD") else line, case / "out"
    )
    return ["prepare", *words] if line.startswith("CD") else words


def _outside(case: Path) -> dict[str, str]:
    """Return what lies outside the output and the caches of a command, and links in the output."""
    found = kills.leaves(case / "canary")
    return found | {f"../{path.name}": "" for path in case.iterdir()}


_PROGRAMS = ("git", Path(sys.executable).name, "python", "nvidia-smi", "lscpu", "uname")


def _watch(case: Path, line: str, log: Path) -> None:
    """Write to `log` what this process does that no command should; bound its memory."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ["TMPDIR"] = str(case / "tmp")
    if line.startswith("CD"):
        os.chdir(line.split()[1])
    written = os.open(log, os.O_WRONLY | os.O_APPEND)
    own = (*(str(case / name) for name in ("out", "cache", "tmp")), "/dev/", "/proc/self")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        said = ""
        if event in ("socket.connect", "socket.getaddrinfo") and isinstance(args[-1], tuple):
            said = f"{event} {args[-1]}"
        elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
            program = Path(os.fsdecode(args[0] or args[1][0])).name
            said = "" if program.startswith(_PROGRAMS) else f"{event} {program}"
        elif event == "open" and isinstance(args[0], str) and args[2] & kills.WRITING:
            path = str(Path.cwd() / args[0])
            said = "" if path.startswith(own) else f"written: {path}"
        if said:
            os.write(written, f"{said!r}\n".encode())

    sys.addaudithook(hook)


def main() -> None:
    """Make the attacks whose names hold a word given; say what each reached."""
    child.preload()
    folder = Path(os.environ.get("ABUSE", "/tmp/abuse")).resolve()
    bench = Bench(world.make(folder / "inputs"), folder / "attacks", quick=False, seconds=0)
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        for name, each in ATTACKS.items():
            if any(word in name for word in sys.argv[1:] or [""]):
                found = list(made(each, bench, trap))
                print(
                    f"{'FELL' if found else 'held'}  {name}", *found[:4], sep="\n      ", flush=True
                )


if __name__ == "__main__":
    main()
