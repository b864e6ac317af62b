"""Tensors as the bytes of a safetensors file, one at a time.

The library's own writer leaves a file of a name that it draws where it is killed, and holds no lock
meanwhile; this is its format, for a file that the caller opens. Eight bytes, the header's length; a
JSON header with dtype, shape and place of each tensor; then their data.
"""

import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

# From the widest to the narrowest, as the library sorts them: so all are aligned.
_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ORDER = {dtype: number for number, dtype in enumerate(_NAMES)}


def parts(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a safetensors file of `tensors`, in order."""
    names = sorted(tensors, key=lambda name: (_ORDER[tensors[name].dtype], name))
    header, start = {}, 0
    for name in names:
        tensor = tensors[name]
        end = start + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    yield len(text).to_bytes(8, "little") + text
    for name in names:
        data = tensors[name].detach().cpu().contiguous().reshape(-1)
        yield data.view(torch.uint8).numpy().data
