"""From the bytes of one DICOM frame to an 8-bit image.

Grey is the Y channel of YBR images and the one channel of monochrome ones. Samples of 8 stored bits
keep their values; others go through the window of the file (PS3.3 C.11.2), or else from the range
that their bits allow, to 0 to 255. Invariant: equal samples of a clip become equal pixels.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from echosweep.data.dicom_codestream import check_size, plugins
from echosweep.data.dicom_header import load_pydicom, number, shown_value, text, whole
from echosweep.data.dicom_payload import Payload
from echosweep.data.source import Broken

KEYWORDS = (
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *(
        f"{segmented}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
)
MAX_SIDE = 8192
_MOST_BITS = 16
_SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_422")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", *_SUBSAMPLED, "YBR_RCT", "YBR_ICT", "YBR_PARTIAL_420")
_PALETTE = "PALETTE COLOR"
Pixels = NDArray[Any]


class Format(NamedTuple):
    """How the samples of a file are stored; the names are those of DICOM."""

    rows: int
    columns: int
    samples: int
    planar: int
    photometric: str
    allocated: int
    stored: int
    shift: int
    signed: bool

    @property
    def frame_bytes(self) -> int:
        """The size of a native frame."""
        samples = 2 if self.photometric in _SUBSAMPLED else self.samples
        return self.rows * self.columns * samples * self.allocated // 8

    @property
    def lowest(self) -> int:
        """The lowest value that a sample can have."""
        return -(1 << (self.stored - 1)) if self.signed else 0


def read_format(data: Any) -> Format:
    """Return how the samples are stored; raise Broken with the attribute that says nonsense."""
    photometric = text(data, "PhotometricInterpretation").upper()
    if photometric not in (*_GREY, *_COLOURS, _PALETTE):
        shown = shown_value(data, photometric)
        raise Broken(f"PhotometricInterpretation is {shown}, which is not known")
    wanted = 3 if photometric in _COLOURS else 1
    samples = whole(data, "SamplesPerPixel", 1, 4, default=wanted)
    if samples != wanted:
        raise Broken(f"SamplesPerPixel is {samples}, but {photometric} has {wanted}")
    allocated = whole(data, "BitsAllocated", 8, 64)
    stored = whole(data, "BitsStored", 1, allocated, default=allocated)
    if allocated not in (8, 16, 32) or stored > _MOST_BITS:
        raise Broken(f"BitsStored is {stored} of {allocated}: at most {_MOST_BITS} bits are read")
    high = whole(data, "HighBit", 0, 63, default=stored - 1)
    return Format(
        rows=whole(data, "Rows", 1, MAX_SIDE),
        columns=whole(data, "Columns", 1, MAX_SIDE),
        samples=samples,
        planar=whole(data, "PlanarConfiguration", 0, 1, default=0),
        photometric=photometric,
        allocated=allocated,
        stored=stored,
        shift=max(0, min(high, allocated - 1) + 1 - stored),
        signed=whole(data, "PixelRepresentation", 0, 1, default=0) == 1,
    )


class Converter:
    """Turns the frames of one file into images; the first frame decides what is read into it.

    Args:
        data: the header.
        payload: the pixel data of the file.
        channels: 1 gives grey where the file has it, 3 gives colour where it has that.
    """

    def __init__(self, data: Any, payload: Payload, channels: int) -> None:
        self._data, self._channels, self._payload = data, channels, payload
        self._format = read_format(data)
        self._table: Pixels | None = None
        self._decoder: Any = load_pydicom().pixels.get_decoder(payload.syntax)
        available = self._decoder.available_plugins if payload.encapsulated else ()
        self._plugins = plugins(payload.syntax, available, self._format.stored)

    @property
    def frame_bytes(self) -> int:
        """The size of a native frame."""
        return self._format.frame_bytes

    def image(self, frame: bytes) -> tuple[Image.Image, bool]:
        """Return one frame as an image ("L" or "RGB"), and whether its luma is 16 to 235."""
        pixels, photometric = self._decode(frame)
        limited = self._format.photometric.startswith("YBR_PARTIAL")
        if photometric == _PALETTE:
            return Image.fromarray(self._look_up(pixels)), False
        if not self._is_plain():
            pixels = self._look_up(pixels)
        if not photometric.startswith("YBR"):
            return Image.fromarray(np.ascontiguousarray(pixels, np.uint8)), False
        if self._channels == 1:
            return Image.fromarray(np.ascontiguousarray(pixels[..., 0], np.uint8)), limited
        whole_range = _full_range(pixels) if limited else pixels
        ycc = Image.fromarray(np.ascontiguousarray(whole_range, np.uint8), "YCbCr")
        return ycc.convert("RGB"), False

    def _decode(self, frame: bytes) -> tuple[Pixels, str]:
        """Return the samples of a frame, and the photometric interpretation that they have."""
        form = self._format
        if not self._payload.encapsulated:
            return self._samples(frame, "", form.shift)
        check_size(frame, form.rows, form.columns, form.samples)
        frame = load_pydicom().encaps.encapsulate([frame], has_bot=False)
        *first, last = self._plugins
        for plugin in first:
            try:
                return self._samples(frame, plugin, 0)
            except Exception:  # decoders raise anything on what they cannot read
                continue
        return self._samples(frame, last, 0)

    def _samples(self, frame: bytes, plugin: str, shift: int) -> tuple[Pixels, str]:
        form, photometric = self._format, self._format.photometric
        if not self._payload.encapsulated and photometric == "YBR_PARTIAL_422":
            photometric = "YBR_FULL_422"
        pixels, facts = self._decoder.as_array(
            frame,
            index=0,
            raw=True,
            decoding_plugin=plugin,
            rows=form.rows,
            columns=form.columns,
            number_of_frames=1,
            samples_per_pixel=form.samples,
            planar_configuration=form.planar,
            photometric_interpretation=photometric,
            bits_allocated=form.allocated,
            bits_stored=form.stored + shift,
            pixel_representation=int(form.signed),
            pixel_keyword="PixelData",
            pixel_vr=self._payload.vr,
        )
        return pixels >> shift if shift else pixels, str(facts["photometric_interpretation"])

    def _is_plain(self) -> bool:
        """Say whether the samples are the pixels already."""
        form = self._format
        return form.stored == 8 and not form.signed and form.photometric != "MONOCHROME1"

    def _look_up(self, pixels: Pixels) -> Pixels:
        """Return samples through the table of this file; raise Broken for one beyond its end."""
        if self._table is None:
            self._table = _table(self._data, self._format, int(pixels.max()))
        places = pixels.astype(np.int64) - self._format.lowest
        if places.max() >= len(self._table) or places.min() < 0:
            raise Broken(
                f"samples reach from {pixels.min()} to {pixels.max()}, "
                f"beyond the {len(self._table)} values that were expected"
            )
        return self._table[places]


def _table(data: Any, form: Format, largest: int) -> Pixels:
    """Return the 8-bit pixel (or colour) of each value that a sample can have.

    Args:
        data: the header.
        form: how the samples are stored.
        largest: the largest sample of the first frame.
    """
    values = np.arange(form.lowest, form.lowest + (1 << form.stored))
    if form.photometric == _PALETTE:
        return _palette(data, values)
    windowed = _windowed(data, values) if form.stored > 8 and form.samples == 1 else None
    if windowed is None:
        if form.stored > 8 and largest < 256 and not form.signed:
            values = values[:256]  # 8-bit samples, whatever BitsStored says
        span = max(1, len(values) - 1)
        windowed = (values - form.lowest) / span
    table = np.floor(255 * np.clip(windowed, 0, 1) + 0.5).astype(np.uint8)
    return 255 - table if form.photometric == "MONOCHROME1" else table


def _windowed(data: Any, values: Pixels) -> Pixels | None:
    """Return sample values between 0 (black) and 1 by the file's table or window, if it has one."""
    pixels = load_pydicom().pixels
    rescaled = values * (number(data, "RescaleSlope") or 1) + (
        number(data, "RescaleIntercept") or 0
    )
    try:
        if data.get("ModalityLUTSequence"):
            rescaled = pixels.apply_modality_lut(values, data)
        if data.get("VOILUTSequence"):
            bits = data.VOILUTSequence[0].LUTDescriptor[2]
            looked_up = pixels.apply_voi(np.rint(rescaled).astype(np.int32), data)
            return np.asarray(looked_up / ((1 << bits) - 1))
    except Exception:  # pydicom raises anything on garbage: the window may be good all the same
        pass
    center, width = number(data, "WindowCenter"), number(data, "WindowWidth")
    if center is None or width is None or not width > 0:
        return None
    function = text(data, "VOILUTFunction").upper()
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (rescaled - center) / width, -60, 60))))
    if function == "LINEAR_EXACT":
        return np.asarray((rescaled - center) / width + 0.5)
    return np.asarray((rescaled - (center - 0.5)) / max(width - 1, 1e-6) + 0.5)


def _palette(data: Any, values: Pixels) -> Pixels:
    """Return the colour (8 bits) of each value. Entries of 8 bits can be stored in 16."""
    try:
        table = load_pydicom().pixels.apply_color_lut(values.astype(np.uint16), data)
    except Exception as error:  # pydicom raises anything on garbage
        raise Broken(f"the palette cannot be read: {type(error).__name__}") from None
    is_wide = table.dtype.itemsize == 2 and table.max() > 255
    return np.asarray(table >> 8 if is_wide else table, np.uint8)


def _full_range(ycc: Pixels) -> Pixels:
    """Return limited-range YCbCr (16 to 235 and 240, ITU-R BT.601) stretched to 0 to 255."""
    zero, span = np.array([16, 128, 128]), np.array([219, 224, 224])
    stretched = (ycc - zero) * (255 / span) + np.array([0, 128, 128])
    return np.asarray(np.clip(np.rint(stretched), 0, 255), np.uint8)
