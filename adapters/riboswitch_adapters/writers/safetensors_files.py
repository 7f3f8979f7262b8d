"""Write safetensors files one tensor at a time, with a CRC-32 for each."""

# Not with the safetensors library: it wants all tensors in memory at once, and gives NumPy no
# bfloat16.

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from riboswitch.interfaces import Draft
from riboswitch_adapters.readers.crc import CRC_KEY, SEAL_KEY, crc32
from riboswitch_adapters.readers.lazy import itemsize
from riboswitch_adapters.readers.safetensors_files import DTYPES
from riboswitch_adapters.writers.encoded import encoded

_ALIGNMENT = 64
_NAMES = {ours: theirs for theirs, ours in DTYPES.items()}


def write_safetensors(path: Path, draft: Draft) -> None:
    """Write the tensors in their order; the format's own names, no config.

    The metadata says `"format": "pt"`, which transformers asks for, and the CRC-32 of each
    tensor, as eight hexadecimal digits in the file's order, and the seal.
    """
    blank = _header(draft, "0" * 8 * len(draft.tensors))
    with path.open("wb") as file:
        file.write(blank)
        header = _header(draft, _write_all(file, draft))
        file.seek(0)
        file.write(header)


def _write_all(file: BinaryIO, draft: Draft) -> str:
    checks = []
    for name, tensor in draft.tensors.items():
        data = encoded(tensor, name)
        checks.append(f"{crc32(data):08x}")
        file.write(data)
    return "".join(checks)


def _header(draft: Draft, checks: str) -> bytes:
    seal = {SEAL_KEY: draft.seal} if draft.seal else {}
    metadata = {"format": "pt", CRC_KEY: checks, **seal}
    table: dict[str, Mapping[str, object]] = {"__metadata__": metadata}
    start = 0
    for name, tensor in draft.tensors.items():
        stop = start + math.prod(tensor.shape) * itemsize(tensor.dtype)
        table[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
