"""Take grey from a decoded frame: the luma plane as the codec stores it, in 8 bits.

Planes of 8 bits are taken as they are. Those of 9 to 16 bits are brought to 8: in limited range
(16 to 235) by a shift, rounded, as that range is defined; in full range by the ratio of the largest
values. Where luma and colour alternate in one plane, luma is picked out.
Invariant: no colour is converted, and limited range is kept and said.
"""

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from echosweep.data.source import Frame

if TYPE_CHECKING:
    import av

_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
_PLANES = {
    *("gray", "nv12", "nv16", "nv21", "nv24", "yuva420p", "yuva422p", "yuva444p"),
    *("yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p"),
    *("yuvj411p", "yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p"),
}
_DEEP = re.compile(r"(?:yuva?4[124][0124]p|gray|nv20)(9|1[0246])?(le|be)")
_DEEP_HIGH = re.compile(r"(?:p[0-4]1[026]|y21[026])(le|be)")  # values fill the upper of 16 bits


class _Layout(NamedTuple):
    """Where luma lies in a plane: every `step`-th value from `first` on, of so many bits."""

    first: int = 0
    step: int = 1
    bits: int = 8
    type: str = "u1"


_PACKED = {
    **{"yuyv422": _Layout(0, 2), "yvyu422": _Layout(0, 2), "uyvy422": _Layout(1, 2)},
    **{"nv42": _Layout(), "ya8": _Layout(0, 2), "vyu444": _Layout(1, 3)},
    **{"vuya": _Layout(2, 4), "vuyx": _Layout(2, 4), "ayuv": _Layout(1, 4), "uyva": _Layout(1, 4)},
    **{"ya16le": _Layout(0, 2, 16, "<u2"), "ya16be": _Layout(0, 2, 16, ">u2")},
    **{"ayuv64le": _Layout(1, 4, 16, "<u2"), "ayuv64be": _Layout(1, 4, 16, ">u2")},
}


def frame_of(number: int, frame: "av.VideoFrame", channels: int) -> Frame:
    """Return a decoded frame as its luma, or as RGB.

    Args:
        number: its number in the video.
        frame: the frame.
        channels: 1 gives luma where the frame has it, else RGB; 3 gives RGB.
    """
    name = frame.format.name
    if channels == 1 and name in _PLANES:
        plane, size = frame.planes[0], (frame.width, frame.height)
        luma = Image.frombuffer("L", size, bytes(plane), "raw", "L", plane.line_size, 1)
        return Frame(number, luma, _is_limited(frame))
    layout = _layout(name) if channels == 1 else None
    if layout is None:
        return Frame(number, Image.fromarray(frame.to_ndarray(format="rgb24")))
    return Frame(number, _luma(frame, layout), _is_limited(frame))


def _layout(name: str) -> _Layout | None:
    if deep := _DEEP.fullmatch(name):
        return _Layout(bits=int(deep[1] or 10), type="<u2" if deep[2] == "le" else ">u2")
    if deep := _DEEP_HIGH.fullmatch(name):
        step = 2 if name.startswith("y") else 1
        return _Layout(step=step, bits=16, type="<u2" if deep[1] == "le" else ">u2")
    return _PACKED.get(name)


def _luma(frame: "av.VideoFrame", layout: _Layout) -> Image.Image:
    plane = frame.planes[0]
    rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height]
    taken = frame.width * layout.step * np.dtype(layout.type).itemsize
    values = np.ascontiguousarray(rows[:, :taken]).view(layout.type)[:, layout.first :: layout.step]
    if layout.bits == 8:
        return Image.fromarray(np.ascontiguousarray(values))
    values = values.astype(np.uint32)
    if _is_limited(frame):
        shift = layout.bits - 8
        values = np.minimum(255, (values + (1 << shift >> 1)) >> shift)
    else:
        largest = (1 << layout.bits) - 1
        values = np.minimum(255, (values * 510 + largest) // (2 * largest))
    return Image.fromarray(values.astype(np.uint8))


def _is_limited(frame: "av.VideoFrame") -> bool:
    """Say whether luma is 16 to 235: by the stream's flag, else by what its format implies."""
    flag: Any = frame.color_range
    if flag in (_FULL_RANGE, _LIMITED_RANGE):
        return bool(flag == _LIMITED_RANGE)
    return not frame.format.name.startswith(("yuvj", "gray", "ya8", "ya16"))
