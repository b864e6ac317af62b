"""The phantom's numbers agree with its pictures, and its pictures with the physics they claim."""

import csv
import hashlib
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from echosweep.data import phantom as module
from echosweep.data.phantom import encode_mjpeg, phantom, split_names, tracings, video_name
from echosweep.data.phantom_heart import Beat, Heart, simpson
from echosweep.data.phantom_probe import Sector, Texture, average, compress, smooth_noise
from echosweep.data.phantom_scene import Renderer, Scene
from echosweep.errors import UsageError

VIDEOS, FRAMES, SIZE = 8, 24, 64
MADE = {"videos": VIDEOS, "frames": FRAMES, "size": SIZE, "seed": 3}
SECTOR = Sector(
    size=112, radius=90, half_angle=0.7, depth=15, focus=7, beam_width=0.021, pulse_length=0.15
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom(tmp_path_factory.mktemp("phantom") / "out", **MADE)


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def decode(file: Path | io.BytesIO) -> NDArray[np.uint8]:
    with av.open(file, "r") as container:
        frames = [frame.to_ndarray() for frame in container.decode(video=0)]
    return np.stack(frames)[:, : frames[0].shape[1]].astype(np.uint8, copy=False)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def lines_of(rows: list[dict[str, str]], name: str) -> dict[int, NDArray[np.float64]]:
    """Return the traced lines (21, 2, 2) by frame, as a reader of the CSV would build them."""
    found: dict[int, list[list[float]]] = {}
    for row in rows:
        if row["FileName"] == f"{name}.avi":
            ends = [float(row[key]) for key in ("X1", "Y1", "X2", "Y2")]
            found.setdefault(int(row["Frame"]), []).append(ends)
    return {frame: np.array(lines).reshape(-1, 2, 2) for frame, lines in found.items()}


def disks(lines: NDArray[np.float64]) -> float:
    """Return pi/4 h sum d^2, written out once more."""
    (x1, y1), (x2, y2) = lines[0]
    height = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5 / 20
    return sum(float(np.pi / 4 * height * ((a - b) ** 2).sum()) for a, b in lines[1:])


def polygon(lines: NDArray[np.float64], size: int, grow: float = 1.0) -> NDArray[np.bool_]:
    """Return the pixels inside the traced border, scaled by `grow` about its centre."""
    border = np.concatenate([lines[:1, 0], lines[1:, 0], lines[:0:-1, 1]])
    border = (border - border.mean(0)) * grow + border.mean(0)
    image = Image.new("L", (size, size))
    ImageDraw.Draw(image).polygon([tuple(point) for point in border], fill=1)
    return np.asarray(image).astype(bool)


# ---- the layout


def test_the_layout_is_echonets(made: Path) -> None:
    rows = table(made / "FileList.csv")
    assert (made / "FileList.csv").read_text().splitlines()[0] == (
        "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"
    )
    assert (made / "VolumeTracings.csv").read_text().splitlines()[0] == (
        "FileName,X1,Y1,X2,Y2,Frame"
    )
    assert len(rows) == VIDEOS == len({row["FileName"] for row in rows})
    assert all(re.fullmatch(r"0X[0-9A-F]{16}", row["FileName"]) for row in rows)
    assert {row["Split"] for row in rows} == {"TRAIN", "VAL", "TEST"}
    videos = {path.name for path in (made / "Videos").iterdir()}
    assert videos == {row["FileName"] + ".avi" for row in rows}
    left = {path.name for path in made.iterdir()}
    assert left == {"FileList.csv", "VolumeTracings.csv", "Videos", "phantom.json"}


def test_videos_decode_to_what_the_list_says(made: Path) -> None:
    for row in table(made / "FileList.csv"):
        with av.open(str(made / "Videos" / (row["FileName"] + ".avi"))) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "mjpeg"
            assert float(stream.average_rate or 0) == pytest.approx(float(row["FPS"]), abs=0.01)
            count = sum(1 for _ in container.decode(stream))
            shape = stream.codec_context.height, stream.codec_context.width
        assert count == int(row["NumberOfFrames"]) == FRAMES
        assert shape == (int(row["FrameHeight"]), int(row["FrameWidth"])) == (SIZE, SIZE)


@given(st.integers(1, 400), st.integers(0, 9))
def test_splits_are_seeded_and_never_empty_from_three_videos_on(videos: int, seed: int) -> None:
    splits = split_names(videos, seed)
    assert splits == split_names(videos, seed)
    counts = {name: splits.count(name) for name in module.SPLITS}
    assert sum(counts.values()) == videos
    assert counts["VAL"] == counts["TEST"]
    assert abs(counts["VAL"] - videos / 8) <= (1 if videos >= 3 else videos)
    assert (min(counts.values()) > 0) == (videos >= 3)


# ---- the tracings


@pytest.mark.parametrize("split", ["all", "train", "val", "test"])
def test_echonets_own_loader_keeps_every_video(
    made: Path, split: str, as_echonet_reads: Callable[[Path, str], dict[str, tuple[int, int]]]
) -> None:
    found, traced = as_echonet_reads(made, split), table(made / "VolumeTracings.csv")
    listed = [r for r in table(made / "FileList.csv") if split in ("all", r["Split"].lower())]
    assert list(found) == [f"{row['FileName']}.avi" for row in listed]
    for row in listed:
        large, small = found[f"{row['FileName']}.avi"]
        lines = lines_of(traced, row["FileName"])
        ejected = 1 - disks(lines[small]) / disks(lines[large])
        assert 100 * ejected == pytest.approx(float(row["EF"]), abs=0.01)


def test_volumes_follow_from_the_tracings_by_the_method_of_disks(made: Path) -> None:
    traced = table(made / "VolumeTracings.csv")
    for row in table(made / "FileList.csv"):
        lines = lines_of(traced, row["FileName"])
        assert all(frame.shape == (21, 2, 2) for frame in lines.values())
        volumes = sorted(disks(frame) for frame in lines.values())
        edv, esv, ef = float(row["EDV"]), float(row["ESV"]), float(row["EF"])
        assert len(volumes) == 2
        assert 100 * (1 - volumes[0] / volumes[1]) == pytest.approx(ef, abs=0.01)
        assert 100 * (1 - esv / edv) == pytest.approx(ef, abs=1e-3)
        assert volumes[0] / volumes[1] == pytest.approx(esv / edv, rel=1e-4)
        assert 25 < edv < 350
        assert 15 < ef <= 75


def test_chords_cut_the_long_axis_at_right_angles_in_the_middle_of_their_disks() -> None:
    scene = Scene.draw(1, 4, FRAMES, 112)
    lines = tracings(scene, FRAMES)[0].lines
    axis = lines[0, 1] - lines[0, 0]
    across = lines[1:, 1] - lines[1:, 0]
    np.testing.assert_allclose(across @ axis, 0, atol=1e-9 * (axis @ axis))
    along = (lines[1:].mean(1) - lines[0, 0]) @ axis / (axis @ axis)
    np.testing.assert_allclose(along, (np.arange(20) + 0.5) / 20, atol=1e-9)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_a_heart_ejects_what_it_was_drawn_to(seed: int) -> None:
    heart = Heart.draw(np.random.default_rng(seed))
    edv, esv = (simpson(heart.chords(Beat(c, 0, 0))) for c in (0.0, 1.0))
    assert 1 - esv / edv == pytest.approx(heart.ejection, abs=1e-9)
    assert 0.2 <= heart.ejection <= 0.75
    inner, outer = heart.ventricle(Beat(1, 0, 0))
    assert outer.a - inner.a > heart.wall  # the wall thickens


def test_ejection_fractions_are_spread_widely() -> None:
    drawn = [Heart.draw(np.random.default_rng(seed)).ejection for seed in range(400)]
    assert min(drawn) < 0.3
    assert max(drawn) > 0.7
    assert 0.5 < np.median(drawn) < 0.65


def test_valves_open_in_diastole_only() -> None:
    heart = Heart.draw(np.random.default_rng(0))
    period = 60 / heart.rate
    beats = [heart.beat(t) for t in np.linspace(0, period, 200, endpoint=False)]
    contraction = np.array([beat.contraction for beat in beats])
    opening = np.array([beat.mitral for beat in beats])
    rising = np.roll(contraction, -1) > contraction + 1e-4
    assert contraction.min() == pytest.approx(0, abs=1e-3)
    assert contraction.max() == pytest.approx(1, abs=1e-3)
    assert opening[rising].max() < 0.05
    assert opening.max() > 0.9
    again = heart.beat(0.3 + 3 * period)
    assert again == pytest.approx(heart.beat(0.3), abs=1e-6)


def test_the_tracing_lies_on_the_drawn_border() -> None:
    scene = Scene.draw(2, 1, FRAMES, 112)
    for contraction in (0.0, 0.6, 1.0):  # all but the last chord, which ends at the atrium
        beat = Beat(contraction, 0, 0)
        ends = scene.heart.chords(beat)[1:-1].reshape(-1, 2).astype(np.float32)
        for grow, inside in ((0.93, True), (1.07, False)):
            middle = np.repeat(ends.reshape(-1, 2, 2).mean(1), 2, axis=0)
            x, y = (middle + grow * (ends - middle)).T
            blood, _ = scene.heart.cavities((x, y), (x, y), beat)
            assert ((blood < 0) == inside).all()


def test_decoded_frames_are_dark_in_the_tracing_and_bright_around_it(made: Path) -> None:
    traced = table(made / "VolumeTracings.csv")
    for row in table(made / "FileList.csv"):
        video = decode(made / "Videos" / (row["FileName"] + ".avi"))
        areas = []
        for frame, lines in lines_of(traced, row["FileName"]).items():
            inside, core = polygon(lines, SIZE), polygon(lines, SIZE, 0.8)
            ring = polygon(lines, SIZE, 1.35) & ~polygon(lines, SIZE, 1.1)
            assert video[frame][core].mean() < 0.5 * video[frame][ring].mean()
            areas.append((disks(lines), (inside & (video[frame] < 25)).sum()))
        assert min(areas)[1] < max(areas)[1]


# ---- the ultrasound


def white(rng: np.random.Generator) -> Texture:
    ranges, beams = SECTOR.shape
    return Texture.draw(rng, np.zeros((ranges + 16, beams + 16), np.float32), margin=8)


def samples() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    i, j = np.indices(SECTOR.shape, dtype=np.float32)
    return i, j


def envelopes(count: int = 24) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    i, j = samples()
    fields = (SECTOR.blur(white(rng).at(i + 0.3, j - 0.7)) for _ in range(count))
    return np.stack([np.hypot(*field) for field in fields])[:, 8:-8, 8:-8]


def test_the_envelope_of_homogeneous_tissue_is_rayleigh() -> None:
    envelope = envelopes()
    assert envelope.mean() / envelope.std() == pytest.approx(1.913, abs=0.1)
    # Rayleigh: P(envelope > sqrt(2 ln 2) s) = 1/2 with 2 s^2 the mean power.
    median = np.sqrt(np.log(2) * (envelope**2).mean())
    assert (envelope > median).mean() == pytest.approx(0.5, abs=0.02)


def speckle_width(power: NDArray[np.float32]) -> float:
    """Return the lag in samples at which the autocovariance along the last axis has halved."""
    power = power - power.mean()
    lags = range(8)
    cov = np.array([(power[..., : power.shape[-1] - k] * power[..., k:]).mean() for k in lags])
    below = int(np.argmax(cov < cov[0] / 2))
    return float(below - (cov[0] / 2 - cov[below]) / (cov[below - 1] - cov[below]))


def test_speckle_is_as_wide_as_the_spread_function_and_wider_with_depth() -> None:
    """Under a Gaussian of width w, power's autocovariance exp(-k^2 / 2 w^2) halves at 1.177 w."""
    power = envelopes() ** 2
    ranges, beams = SECTOR.shape
    centimetres = []
    for part in (0.2, 0.5, 0.9):
        row = int(part * ranges)
        band = power[:, row - 8 - 8 : row - 8 + 8]  # the envelopes lack their first 8 rows
        r = row / (ranges - 1) * SECTOR.depth
        angle = SECTOR.beam_width * (1 + 0.5 * abs(r / SECTOR.focus - 1))
        lateral, spacing = speckle_width(band), 2 * SECTOR.half_angle / (beams - 1)
        assert lateral * spacing == pytest.approx(1.177 * angle, rel=0.12)
        axial = speckle_width(band.swapaxes(1, 2)) * SECTOR.depth / (ranges - 1)
        assert axial == pytest.approx(1.177 * SECTOR.pulse_length, rel=0.12)
        centimetres.append(lateral * spacing * r)
    assert centimetres[0] < 0.6 * centimetres[1]
    assert centimetres[1] < 0.6 * centimetres[2]


@pytest.mark.parametrize("index", [3, 5])
def test_speckle_moves_with_the_tissue(index: int) -> None:
    scene = Scene.draw(0, index, FRAMES, 112)
    renderer, diastole, systole = Renderer(scene), Beat(0, 0, 0), Beat(1, 0, 0)
    before, after = (np.log(np.hypot(*renderer.echo(beat, 0))) for beat in (diastole, systole))
    (x, y), heart = scene.grid, scene.heart
    _, muscle = heart.cavities(scene.grid, scene.grid, systole)
    endocardium, _ = heart.ventricle(systole)
    septum = (muscle < -0.2) & (endocardium.distance(x, y) > 0.2) & (x < 0)
    septum &= (y > 2) & (y < heart.length - 1.5)
    came_from = (x - heart.displacement(x, y)[0], y - heart.displacement(x, y)[1])
    i, j = scene.sector.to_samples(*np.moveaxis(scene.to_probe(np.stack(came_from, -1)), -1, 0))
    i = np.rint(i).astype(int).clip(0, before.shape[0] - 1)
    j = np.rint(j).astype(int).clip(0, before.shape[1] - 1)
    followed = np.corrcoef(after[septum], before[i, j][septum])[0, 1]
    fixed = np.corrcoef(after[septum], before[septum])[0, 1]
    assert septum.sum() > 300
    assert followed > 0.7
    assert fixed < followed - 0.3


def test_texture_shifts_exactly_by_whole_samples() -> None:
    texture = white(np.random.default_rng(1))
    i, j = samples()
    here, there = texture.at(i, j), texture.at(i + 3, j - 2)
    np.testing.assert_array_equal(there[:, :-3, 2:], here[:, 3:, :-2])


def test_compression_maps_decibels_to_grey() -> None:
    amplitude = 10 ** (np.array([[-60.0, -30.0, 0.0, 30.0]]) / 20)
    field = np.stack([amplitude, 0 * amplitude]).astype(np.float32)
    grey = compress(field, np.zeros((1, 4), np.float32), -30, 30)
    np.testing.assert_allclose(grey, [[0, 0, 255 * 0.5 * 0.75, 255]], atol=0.05)


def test_the_display_filter_keeps_a_constant_and_spreads_a_point_by_one_four_one() -> None:
    point = np.zeros((5, 6), np.float32)
    point[2, 3] = 36
    spread = [[1, 4, 1], [4, 16, 4], [1, 4, 1]]
    np.testing.assert_allclose(average(point)[1:4, 2:5], spread, rtol=1e-6)
    np.testing.assert_allclose(average(np.full((5, 6), 7, np.float32)), 7)


def test_smooth_noise_is_standard_and_smooth() -> None:
    noise = smooth_noise(np.random.default_rng(0), (100, 80), 5)
    assert noise.mean() == pytest.approx(0, abs=1e-5)
    assert noise.std() == pytest.approx(1, abs=1e-5)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.3


def test_scan_conversion_puts_each_sample_where_it_belongs() -> None:
    x, z = SECTOR.to_probe(*samples())
    grey = (100 + 8 * x + 4 * z).astype(np.float32)
    image = SECTOR.scan_convert(grey).astype(float)
    rows, columns = np.nonzero(SECTOR.mask)
    expected = 100 + 8 * (columns - SECTOR.tip[0]) * SECTOR.cm
    expected += 4 * (rows - SECTOR.tip[1]) * SECTOR.cm
    assert np.abs(image[rows, columns] - expected).max() < 0.6
    assert (image[~SECTOR.mask] == 0).all()


# ---- the frames


@pytest.mark.parametrize("size", [32, 64, 112])
def test_frames_are_exactly_zero_outside_the_sector(size: int) -> None:
    scene = Scene.draw(0, 0, FRAMES, size)
    frame = Renderer(scene).frame(0)
    mask = scene.sector.mask
    assert frame.shape == (size, size)
    assert frame.dtype == np.uint8
    assert 0.3 < mask.mean() < 0.75
    assert (frame[~mask] == 0).all()
    assert frame[mask].mean() > 10


def test_jpeg_keeps_grey_values_and_zeros_beyond_the_blocks_on_the_border() -> None:
    scene = Scene.draw(0, 1, FRAMES, 112)
    images = [Renderer(scene).frame(number) for number in range(3)]
    decoded = decode(io.BytesIO(encode_mjpeg(images, 112, scene.fps)))
    error = np.abs(decoded.astype(int) - np.stack(images))
    assert error.mean() < 1.5
    assert error.max() < 24
    blocks = scene.sector.mask.reshape(14, 8, 14, 8).any((1, 3))
    touched = np.repeat(np.repeat(blocks, 8, 0), 8, 1)
    assert (decoded[:, ~touched] == 0).all()


def test_full_range_survives_the_codec() -> None:
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8), 64).reshape(64, 64)
    (decoded,) = decode(io.BytesIO(encode_mjpeg([ramp], 64, 50)))
    assert np.abs(decoded.astype(int) - ramp).max() <= 3


def test_a_frame_can_be_rendered_first_or_last() -> None:
    one, two = Renderer(Scene.draw(0, 5, 9, 64)), Renderer(Scene.draw(0, 5, 9, 64))
    forwards = [one.frame(number) for number in range(9)]
    backwards = [two.frame(number) for number in reversed(range(9))][::-1]
    np.testing.assert_array_equal(forwards, backwards)
    assert len({frame.tobytes() for frame in forwards}) == 9


# ---- the command


def test_workers_and_interruptions_change_no_byte(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(made)
    monkeypatch.setattr(module, "_FEW_FRAMES", 0)
    other = phantom(tmp_path / "two", **MADE, workers=2)
    assert digests(other) == before
    first, second, *_ = sorted((other / "Videos").iterdir())
    kept = first.stat().st_mtime_ns
    second.unlink()
    (other / "Videos" / f".{second.name}.1.tmp").write_bytes(b"half a vid")
    (other / "FileList.csv").unlink()
    calls = []
    phantom(
        other,
        videos=VIDEOS,
        frames=FRAMES,
        size=SIZE,
        seed=3,
        workers=1,
        progress=lambda *call: calls.append(call),
    )
    assert digests(other) == before
    assert first.stat().st_mtime_ns == kept
    assert calls == [(VIDEOS, VIDEOS, VIDEOS * FRAMES)]


def test_what_a_kill_leaves_is_gone_on_with_and_what_is_linked_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = partial(phantom, tmp_path / "out", **MADE, workers=1)
    shutil.copytree(made, tmp_path / "out")
    names = (".lock", ".FileList.csv.0a1b2c3d.1.tmp", "Videos/.a.avi.1.tmp")
    for name in names:
        (tmp_path / "out" / name).touch()
    call()
    assert digests(tmp_path / "out") == digests(made)
    assert "finished" not in capsys.readouterr().err
    call()
    assert "out is finished already" in capsys.readouterr().err
    (tmp_path / "begun").mkdir()
    for name in (".lock", ".phantom.json.0a1b2c3d.1.tmp"):  # killed before it is there
        (tmp_path / "begun" / name).touch()
    assert sorted(
        path.name for path in phantom(tmp_path / "begun", videos=1, frames=1, size=32).iterdir()
    ) == [
        *("FileList.csv", "Videos", "VolumeTracings.csv", "phantom.json"),
    ]
    (tmp_path / "out" / "Videos").rename(tmp_path / "theirs")
    (tmp_path / "out" / "Videos").symlink_to(tmp_path / "theirs")
    next((tmp_path / "theirs").iterdir()).unlink()
    before = digests(tmp_path)
    with pytest.raises(UsageError, match="Videos is a link"):
        call()
    assert digests(tmp_path) == before


def test_workers_end_with_a_killed_run(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from echosweep.data.phantom import phantom\n"
        "if __name__ == '__main__':\n"
        "    show = lambda *done: print(*done)\n"
        "    phantom(sys.argv[1], videos=400, frames=64, workers=2, progress=show)\n"
    )
    (tmp_path / "run.py").write_text(code)
    command = [sys.executable, "-u", str(tmp_path / "run.py"), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.stdout.read()  # ends when the last worker does: each holds the pipe
    assert (tmp_path / "out" / "phantom.json").exists()


def test_a_video_depends_on_its_own_number_only(made: Path, tmp_path: Path) -> None:
    few = phantom(tmp_path / "few", videos=2, frames=FRAMES, size=SIZE, seed=3)
    for path in (few / "Videos").iterdir():
        assert path.read_bytes() == (made / "Videos" / path.name).read_bytes()
    keys = ("FileName", "EF", "ESV", "EDV", "FPS")
    ours, theirs = table(few / "FileList.csv"), table(made / "FileList.csv")
    assert [[row[k] for k in keys] for row in ours] == [
        [row[k] for k in keys] for row in theirs[:2]
    ]


def test_the_first_video_of_seed_zero_stays_what_it_was() -> None:
    """A change here is a new data set: count `_VERSION` up."""
    scene = Scene.draw(0, 0, 64, 112)
    diastole, systole = tracings(scene, 64)
    assert (video_name(0, 0), module._VERSION) == ("0X52653ED3B2E457FC", 1)
    assert (diastole.frame, systole.frame, scene.fps) == (51, 30, 54.31)
    assert diastole.volume_ml == pytest.approx(90.713730, abs=1e-4)
    assert systole.volume_ml == pytest.approx(54.337245, abs=1e-4)
    assert Renderer(scene).frame(0)[scene.sector.mask].mean() == pytest.approx(44.88, abs=0.05)


def test_seeds_give_different_hearts() -> None:
    assert video_name(0, 0) != video_name(1, 0)
    assert Scene.draw(0, 0, 8, 64).heart != Scene.draw(1, 0, 8, 64).heart


def test_one_frame_is_traced_once(tmp_path: Path) -> None:
    out = phantom(tmp_path / "one", videos=1, frames=1, size=32)
    (row,) = table(out / "FileList.csv")
    assert float(row["EF"]) == 0
    assert row["EDV"] == row["ESV"]
    assert row["Split"] == "TRAIN"
    assert len(table(out / "VolumeTracings.csv")) == 21
    assert len(decode(next((out / "Videos").iterdir()))) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"frames": 0}, "frames = 0: must be"),
        ({"videos": -1}, "videos = -1: must be"),
        ({"size": 30}, "size = 30: must be 32 or more"),
        ({"size": 100_000}, "size = 100000: must be 1024 or less"),
        ({"size": 65}, "size = 65: must be a multiple of 2"),
        ({"seed": -2}, "seed = -2: must be"),
        ({"workers": 0}, "workers = 0: must be"),
    ],
)
def test_a_wrong_number_is_named_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, int], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        phantom(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(made: Path, tmp_path: Path) -> None:
    before = digests(made)
    with pytest.raises(UsageError, match=f"seed 3 .now 4.*frames {FRAMES}|frames {FRAMES} .now 9"):
        phantom(made, videos=VIDEOS, frames=9, size=SIZE, seed=4)
    assert digests(made) == before
    (tmp_path / "mine.txt").write_text("a thesis")
    with pytest.raises(UsageError, match="holds something else"):
        phantom(tmp_path, videos=1, frames=1, size=32)
    with pytest.raises(UsageError, match="is a file"):
        phantom(tmp_path / "mine.txt", videos=1, frames=1, size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    damaged = shutil.copytree(made, tmp_path / "copy")
    (damaged / "phantom.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        phantom(damaged, **MADE)
