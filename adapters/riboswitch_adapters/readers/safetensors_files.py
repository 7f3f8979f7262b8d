"""Read safetensors files: a JSON header, then the bytes of the tensors."""

# Not with the safetensors library: it takes headers of 100 MB, which cost gigabytes to parse,
# and gives NumPy no bfloat16. The format is a page long.

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

from riboswitch_adapters.readers.crc import CRC_KEY
from riboswitch_adapters.readers.lazy import LazyTensor, Storage, contiguous, itemsize, lazy_tensor
from riboswitch_adapters.readers.mapped import map_file, reading, refusal

# The largest of the models has 80 KB. What 4 MB of JSON can expand to is bounded by its marks.
MAX_HEADER = 4 << 20
_MAX_MARKS = 200_000
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_KNOWN = {**DTYPES, "U16": "bfloat16"}  # which is how Paddle keeps it
_FIELDS = {"dtype", "shape", "data_offsets"}
_Span = tuple[int, int]


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    """Read a safetensors file's header.

    Returns:
        The tensors by name, unread, and the file's `__metadata__`.

    Raises:
        CheckpointError: a header that is too long, is no JSON of the format's kind, or whose
            tensors overlap, leave holes or do not fill the file.
    """
    with reading(path):
        return from_mapped(map_file(path), os.fspath(path))


def header_length(data: memoryview) -> int:
    """What the first eight bytes announce."""
    return int.from_bytes(data[:8], "little")


def from_mapped(data: memoryview, where: str) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    """Read a mapped safetensors file."""
    length = header_length(data)
    if len(data) < 10 or length > len(data) - 8:
        raise refusal(f"the header claims {length} bytes, which the file does not have")
    if length > MAX_HEADER:
        raise refusal(f"the header claims {length} bytes; {MAX_HEADER} are allowed")
    header = _parsed(bytes(data[8 : 8 + length]))
    metadata = _metadata(header.pop("__metadata__", {}))
    body = data[8 + length :]
    checks = _checks(metadata.pop(CRC_KEY, None), list(header))
    found = {n: _tensor(body, where, n, entry, checks.get(n)) for n, entry in header.items()}
    _must_tile([span for _, span in found.values()], len(body))
    return {name: tensor for name, (tensor, _) in found.items()}, metadata


def _parsed(text: bytes) -> dict[str, Any]:
    if sum(text.count(mark) for mark in b"[{,") > _MAX_MARKS:
        raise refusal(f"the header has more than {_MAX_MARKS} items")
    header = json.loads(
        text.decode("utf-8"),
        object_pairs_hook=_distinct,
        parse_int=_integer,
        parse_float=_no_number,
        parse_constant=_no_number,
    )
    if type(header) is not dict:
        raise refusal("the header is no JSON object")
    return header


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise refusal("the header names something twice")
    return found


def _integer(digits: str) -> int:
    # Python takes quadratic time for long ones.
    return int(digits) if len(digits) < 20 else _no_number(digits)


def _no_number(text: str) -> int:
    raise refusal(f"the header has the number {text[:30]}, which is no size")


def _metadata(found: object) -> dict[str, str]:
    if type(found) is not dict or not all(type(text) is str for text in found.values()):
        raise refusal("the header's __metadata__ is not a table of texts")
    return found


def _checks(digits: str | None, names: list[str]) -> dict[str, int]:
    """The CRC-32 of each tensor, where our own writer has put them down."""
    if digits is None:
        return {}
    if not re.fullmatch(rf"[0-9a-f]{{{8 * len(names)}}}", digits):
        raise refusal("the header's CRC-32s are not one for each tensor")
    return {name: int(digits[8 * i : 8 * i + 8], 16) for i, name in enumerate(names)}


def _tensor(
    body: memoryview, where: str, name: str, entry: Any, crc: int | None
) -> tuple[LazyTensor, _Span]:
    if type(entry) is not dict or set(entry) != _FIELDS or entry["dtype"] not in _KNOWN:
        raise refusal(f"the tensor {name[:100]!a} is described in a way that is not known")
    dtype, shape = _KNOWN[entry["dtype"]], _sizes(entry["shape"])
    start, stop = _span(_sizes(entry["data_offsets"]), len(body))
    if stop - start != math.prod(shape) * itemsize(dtype):
        raise refusal(f"the tensor {name[:100]!a} has more or fewer bytes than its shape needs")
    storage = Storage(f"{where}: {name[:100]}", stop - start, body[start:stop], crc)
    return lazy_tensor(storage, dtype, shape, _strides(shape)), (start, stop)


def _sizes(found: object) -> tuple[int, ...]:
    if type(found) is not list or len(found) > 64 or not all(type(n) is int for n in found):
        raise refusal("a shape or an offset in the header is no list of whole numbers")
    return tuple(found)


def _span(offsets: tuple[int, ...], size: int) -> _Span:
    if len(offsets) != 2 or not 0 <= offsets[0] <= offsets[1] <= size:
        raise refusal("a tensor's data_offsets lie outside the file")
    return offsets[0], offsets[1]


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return contiguous(shape) if math.prod(shape) else (0,) * len(shape)


def _must_tile(spans: list[_Span], size: int) -> None:
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise refusal("tensors overlap or leave a hole between them")
        end = stop
    if end != size:
        raise refusal(f"{size - end} bytes of the file belong to no tensor")
