"""The echo metric against closed forms, and against real frames that were spoilt on purpose."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echosweep.data.phantom_scene import Renderer, Scene
from echosweep.data.store import Preparation, Video
from echosweep.data.writer import write_store
from echosweep.errors import UsageError
from echosweep.evaluation import echo, echo_images, echo_sector, echo_texture
from echosweep.evaluation.echo import measure_echo
from echosweep.evaluation.sets import Result, Side

Images = NDArray[np.uint8]


class Sides:
    """Makes sides of images, each `group` images a video."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def __call__(self, images: Images, group: int = 4) -> Side:
        self._count += 1
        cuts = range(0, len(images), group)
        videos = [(Video(f"v{i}"), images[i : i + group]) for i in cuts]
        made = Preparation(images.shape[1:3], 3 if images.ndim == 4 else 1)
        store = write_store(self._folder / f"{self._count}", made, videos)
        return Side(store, store.rows())


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path)


@pytest.fixture(scope="module")
def hearts() -> tuple[Images, NDArray[np.float64]]:
    """Phantom frames (96, 64, 64) of 48 hearts, and the area of each one's ventricle in pixels."""
    frames, areas = [], []
    for index in range(48):
        scene = Scene.draw(0, index, 8, 64)
        render = Renderer(scene)
        for number in (0, 4):
            beat = scene.beat(number)
            chords = scene.to_image(scene.heart.chords(beat))
            lengths = np.hypot(*(chords[:, 0] - chords[:, 1]).T)
            frames.append(render.frame(number))
            areas.append(lengths[0] * lengths[1:].mean())
    return np.stack(frames), np.array(areas)


def blurred(noise: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    """Return noise (N, H, W) under a circular Gaussian filter of `sigma` pixels."""
    y, x = (np.fft.fftfreq(size) for size in noise.shape[1:])
    transfer = np.exp(-2 * (np.pi * sigma) ** 2 * (y[:, None] ** 2 + x**2))
    return np.fft.ifft2(np.fft.fft2(noise) * transfer).real.astype(np.float32)


def white(shape: tuple[int, ...], deviation: float, mean: float = 128) -> NDArray[np.float32]:
    return (mean + deviation * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def widths(images: NDArray[np.float32]) -> list[float]:
    """Return the widths of the mean autocorrelation, axial and lateral, in pixels."""
    inside = np.ones(images.shape, bool)
    size = echo_sector.neighbourhood(images.shape)
    flat = echo_texture.texture(images, inside, echo_sector.local_mean(images, inside, size))
    curves = (echo_texture.autocorrelation(flat, inside, axis) for axis in (1, 2))
    return [float(echo_texture.half_width(curve.mean(0, keepdims=True))[0]) for curve in curves]


def snr(images: NDArray[np.float32]) -> tuple[float, float]:
    """Return the SNR of grey levels, and of the envelope behind them."""
    grey, envelope, count = echo_texture.speckle_terms(images, np.ones(images.shape, bool)).sum(0)
    return float(np.sqrt(count / grey)), float(np.sqrt(count / envelope))


def rayleigh(shape: tuple[int, ...], scale: float) -> NDArray[np.float64]:
    return np.random.default_rng(0).rayleigh(scale, shape)


# Texture


def test_white_noise_has_a_flat_spectrum_of_its_variance() -> None:
    spectra = echo_texture.spectra(white((512, 32, 24), 10))
    power = (10 ** (spectra / 10)).mean(0)[1:]  # the first band's loses with the mean
    np.testing.assert_allclose(power, 100 + 1 / 12, rtol=0.06)
    assert spectra.shape[1] == len(echo_texture.frequencies((32, 24)))


def test_a_blur_takes_from_the_spectrum_what_its_transfer_function_says() -> None:
    noise = white((32, 64, 64), 20)
    taken = echo_texture.spectra(blurred(noise, 0.5)) - echo_texture.spectra(noise)
    frequency = echo_texture.frequencies((64, 64))
    band = (frequency > 0.1) & (frequency < 0.45)
    expected = 20 * np.log10(np.exp(-2 * (np.pi * 0.5 * frequency) ** 2))
    np.testing.assert_allclose(taken.mean(0)[band], expected[band], atol=0.4)


def test_a_flat_image_has_the_power_of_rounding() -> None:
    spectrum = echo_texture.spectra(np.full((2, 16, 16), 90, np.float32))
    np.testing.assert_allclose(spectrum, 10 * np.log10(1 / 12), atol=1e-3)


def test_white_noise_is_one_pixel_wide() -> None:
    assert widths(white((16, 64, 64), 10)) == pytest.approx([1, 1], abs=0.02)


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_blurred_noise_is_as_wide_as_its_filter_says(sigma: float) -> None:
    noise = 100 + 60 * blurred(white((24, 128, 128), 1, 0), sigma)
    expected = 4 * np.sqrt(np.log(2)) * sigma
    assert widths(noise) == pytest.approx([expected] * 2, rel=0.03)


def test_axial_is_down_and_lateral_is_across() -> None:
    noise = white((16, 64, 64), 20)
    axial, lateral = widths((noise + np.roll(noise, 1, 2) + np.roll(noise, 2, 2)) / 3)
    assert axial == pytest.approx(1, abs=0.03)
    assert lateral == pytest.approx(3, abs=0.1)


def test_a_curve_that_stays_high_has_no_width() -> None:
    curves = np.array([[1, 0.9, 0.8], [1, 0.75, 0.25], [1, 0.25, 0]])
    np.testing.assert_allclose(echo_texture.half_width(curves), [np.nan, 3, 4 / 3])


def test_a_rayleigh_envelope_has_its_snr() -> None:
    images = np.rint(rayleigh((32, 64, 64), 40)).clip(0, 255).astype(np.float32)
    assert snr(images)[0] == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.02)


def test_compression_at_60_db_is_undone() -> None:
    envelope = rayleigh((32, 64, 64), 0.2)
    grey = 255 * (1 + 20 * np.log10(envelope.clip(1e-3, 1)) / echo_texture.RANGE_DB)
    shown, undone = snr(np.rint(grey).astype(np.float32))
    assert undone == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.02)
    assert shown > 5


def test_edges_and_clipped_windows_are_no_speckle() -> None:
    edge = np.full((3, 8, 8), 100, np.float32)
    edge[0, :, 4:] = 200
    edge[1, 0, 0] = 0
    edge[2, 0, 0] = 255
    assert echo_texture.speckle_terms(edge, np.ones(edge.shape, bool))[:, 2].tolist() == [0, 0, 0]


# Sectors and pools


def test_the_sector_is_the_hull_of_what_is_bright() -> None:
    y, x = np.indices((64, 64))
    disk = np.hypot(y - 30, x - 34) <= 20
    image = np.where(disk, 80, 2)
    image[25:35, 30:40] = 0  # a chamber
    mask = echo_sector.sector_masks(image[None].astype(np.float32))[0]
    assert not (disk & ~mask).any()
    # The 3 x 3 mean reaches a pixel further.
    assert not (mask & (np.hypot(y - 30, x - 34) > 22)).any()


def test_an_image_without_background_is_all_sector_and_a_black_one_has_none() -> None:
    images = np.stack([np.full((20, 24), 40), np.full((20, 24), 5)]).astype(np.float32)
    masks = echo_sector.sector_masks(images)
    assert masks[0].all()
    assert not masks[1].any()


def test_local_mean_is_of_what_is_inside() -> None:
    images = np.arange(25, dtype=np.float32).reshape(1, 5, 5)
    inside = np.zeros((1, 5, 5), bool)
    inside[0, :2, :2] = True
    mean = echo_sector.local_mean(images, inside, 3)[0]
    assert mean[0, 0] == (0 + 1 + 5 + 6) / 4
    assert mean[2, 2] == 6
    assert mean[4, 4] == 0


def test_pools_are_counted_and_measured() -> None:
    y, x = np.indices((64, 64))
    image = np.full((64, 64), 120)
    for column, radius in ((16, 6), (46, 9)):
        image[np.hypot(y - 30, x - column) <= radius] = 10
    image[56:, 20:40] = 10  # dark up to the border
    summary = echo_images.summarise(image[None].astype(np.uint8))
    count, share = summary["pools"][0]
    assert count == 2
    assert share == pytest.approx(np.pi * (6**2 + 9**2) / 64**2, rel=0.12)
    assert summary["pool_areas"][0].sum() == 2


def test_pools_of_phantoms_go_with_the_ventricles_drawn(
    hearts: tuple[Images, NDArray[np.float64]],
) -> None:
    frames, areas = hearts
    grey = frames.astype(np.float32)
    inside = echo_sector.sector_masks(grey)
    pools = echo_sector.pool_areas(grey, inside)
    largest = [found.max(initial=0) * mask.sum() for found, mask in zip(pools, inside, strict=True)]
    assert np.corrcoef(largest, areas)[0, 1] > 0.4


# The metric


def speckled(count: int, size: int = 64, seed: int = 0) -> Images:
    """Return images (count, size, size) of speckle in a disk on black."""
    draw = np.random.default_rng(seed)
    y, x = np.indices((size, size)) - (size - 1) / 2
    gain = draw.uniform(50, 90, (count, 1, 1))
    grey = gain + 30 * blurred(draw.standard_normal((count, size, size)), 0.8)
    return np.where(np.hypot(y, x) < 0.45 * size, grey, 0).clip(0, 255).astype(np.uint8)


def check_json(result: Result) -> None:
    """Fail on NaN, or on an interval that does not hold its value."""
    json.dumps([result.values, result.intervals, result.details], allow_nan=False)
    for name, (low, high) in result.intervals.items():
        assert low <= result.values[name] <= high


def test_a_set_is_at_no_distance_from_itself(sides: Sides) -> None:
    side = sides(speckled(32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = measure_echo(side, side, 0)
    check_json(result)
    for name in ("histogram_w1", "spectrum_rms_db", "spectrum_high_db", "zero_share_difference"):
        assert result.values[name] == 0
    assert result.values["sector_iou"] == 1
    for name in ("histogram_w1", "spectrum_rms_db"):
        assert 0 < result.values[f"{name}_floor"] < 10
    for name in ("mean_level", "speckle_lateral_px", "speckle_snr"):
        assert result.values[f"{name}_generated"] == result.values[f"{name}_reference"]


def test_known_sectors_have_their_overlap(sides: Sides) -> None:
    first, second = np.zeros((2, 8, 64, 64), np.uint8)
    first[:, 10:40, 10:50], second[:, 10:40, 20:60] = 90, 90
    # Each mask reaches one pixel further: 32 x 42, of which 32 x 32 are shared.
    value = measure_echo(sides(first), sides(second), 0).values["sector_iou"]
    assert value == pytest.approx(32 / 52)


def test_a_background_of_one_is_caught_whatever_the_order(sides: Sides) -> None:
    clean = speckled(16)
    stained = clean + (clean == 0).astype(np.uint8)
    values = measure_echo(sides(stained), sides(clean), 0).values
    assert values["zero_share_generated"] == 0
    assert values["zero_share_reference"] == 1
    assert values["zero_share_difference"] == -1
    assert measure_echo(sides(clean), sides(stained), 0).values["zero_share_difference"] == 1


def test_a_shift_in_grey_moves_the_histogram_by_it(sides: Sides) -> None:
    images = np.full((8, 32, 32), 100, np.uint8)
    values = measure_echo(sides(images + np.uint8(7)), sides(images), 0).values
    assert values["histogram_w1"] == 7
    assert values["mean_level_generated"] == 107


def test_a_foreign_sector_is_odd(sides: Sides) -> None:
    reference = speckled(40)
    generated = reference.copy()
    generated[:10] = np.roll(generated[:10], 20, 2)
    values = measure_echo(sides(generated), sides(reference), 0).values
    assert values["sector_odd_share"] == 10 / 40


def test_a_checkerboard_is_high_and_a_blur_low(sides: Sides) -> None:
    real = speckled(16)
    board = 6 * (np.indices((64, 64)).sum(0) % 2)
    boarded = (real + np.where(real > 20, board, 0)).astype(np.uint8)
    soft = blurred(real, 0.7).clip(0, 255).astype(np.uint8)
    side = sides(real)
    assert measure_echo(sides(boarded), side, 0).values["spectrum_high_db"] > 1
    assert measure_echo(sides(soft), side, 0).values["spectrum_high_db"] < -3


def test_chunks_change_nothing(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    made, real = sides(speckled(20)), sides(speckled(24, seed=1))
    whole = measure_echo(made, real, 0)
    monkeypatch.setattr(echo, "_CHUNK", 7)
    parts = measure_echo(made, real, 0)
    assert parts.values == pytest.approx(whole.values, rel=1e-6)
    for name, interval in whole.intervals.items():
        assert parts.intervals[name] == pytest.approx(interval, rel=1e-5, abs=1e-6)


def test_the_seed_draws_the_resamples_alone(sides: Sides) -> None:
    made, real = sides(speckled(20)), sides(speckled(24, seed=1))
    first, again, other = (measure_echo(made, real, seed) for seed in (0, 0, 1))
    assert first == again
    assert first.intervals != other.intervals
    floors = {name for name in first.values if name.endswith("_floor")}
    assert all(first.values[k] == other.values[k] for k in first.values.keys() - floors)


def test_an_interval_is_as_wide_as_its_groups_are_few(sides: Sides) -> None:
    images = np.repeat(speckled(32, 24), 4, axis=0)
    apart, together = (
        measure_echo(sides(images, group), sides(images, group), 0).intervals[
            "mean_level_reference"
        ]
        for group in (1, 4)
    )
    ratio = (together[1] - together[0]) / (apart[1] - apart[0])
    assert ratio == pytest.approx(2, rel=0.2)  # a fourth of the draws: twice as wide


def test_one_group_has_no_interval(sides: Sides) -> None:
    result = measure_echo(sides(speckled(8)), sides(speckled(8), group=8), 0)
    assert not result.intervals
    assert not any(name.endswith("_floor") for name in result.values)
    assert any("reference images are of one" in note for note in result.notes)
    check_json(result)


def test_many_images_are_thinned_evenly(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(echo, "MOST", 10)
    result = measure_echo(sides(speckled(24), 1), sides(speckled(8), 1), 0)
    assert result.details["images"] == {"generated": 10, "reference": 8}
    assert any("10 of 24 generated" in note for note in result.notes)


@pytest.mark.parametrize("shape", [(6, 16, 16), (6, 8, 20), (6, 5, 5), (6, 32, 24, 3)])
@pytest.mark.parametrize("level", [0, 1, 90, 255])
def test_small_flat_and_colour_images_are_fine(
    sides: Sides, shape: tuple[int, ...], level: int
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = measure_echo(sides(np.full(shape, level, np.uint8), 2), sides(noise, 2), 0)
    check_json(result)
    assert any("left out" in note for note in result.notes)


def test_colour_is_averaged(sides: Sides) -> None:
    grey = speckled(8)
    colour = np.stack([grey - grey // 4, grey, grey + grey // 4], -1)
    assert measure_echo(sides(colour), sides(grey), 0).values["histogram_w1"] == 0


def test_two_sizes_are_refused(sides: Sides) -> None:
    with pytest.raises(UsageError, match=r"\(32, 32\).*\(64, 64\)"):
        measure_echo(sides(speckled(4, 32)), sides(speckled(4)), 0)


def test_each_fault_of_real_images_moves_its_own_number_most(lung: Images, sides: Sides) -> None:
    real = sides(lung, 8)
    noise = np.random.default_rng(0).normal(0, 8, lung.shape)
    faults = {
        "noise": (lung + noise).clip(0, 255).astype(np.uint8),
        "blur": blurred(lung, 0.8).clip(0, 255).astype(np.uint8),
        "background": np.maximum(lung, 2),
        "brightness": (lung * 1.3).clip(0, 255).astype(np.uint8),
    }
    values = {name: measure_echo(sides(made, 8), real, 0).values for name, made in faults.items()}
    assert max(values, key=lambda fault: values[fault]["spectrum_high_db"]) == "noise"
    assert min(values, key=lambda fault: values[fault]["spectrum_high_db"]) == "blur"
    assert max(values, key=lambda fault: values[fault]["speckle_lateral_px_generated"]) == "blur"
    assert min(values, key=lambda fault: values[fault]["speckle_snr_generated"]) == "noise"
    assert max(values, key=lambda fault: values[fault]["histogram_w1"]) == "brightness"
    shares = {fault: found.get("zero_share_difference", 0) for fault, found in values.items()}
    assert shares["background"] < -0.9 * values["background"]["zero_share_reference"]
    assert abs(shares["brightness"]) < 0.1


def test_differences_are_generated_less_reference(sides: Sides) -> None:
    noise = np.random.default_rng(5).integers(20, 200, (12, 64, 64)).astype(np.uint8)
    wide = noise[:, ::2, ::2].repeat(2, 1).repeat(2, 2)
    values = measure_echo(sides(wide), sides(noise), 0).values
    for name in ("speckle_lateral_px", "speckle_axial_px", "speckle_snr"):
        own = values[f"{name}_generated"] - values[f"{name}_reference"]
        assert values[f"{name}_difference"] == pytest.approx(own)
    assert values["speckle_lateral_px_difference"] > 0.5
    assert values["speckle_axial_px_difference"] > 0.5
