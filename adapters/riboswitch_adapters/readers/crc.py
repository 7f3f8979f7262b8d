"""CRC-32 of tensors, by the fastest library that is here."""

from __future__ import annotations

import re
import zlib

try:  # dnaio brings it on most machines: seven times as fast
    from isal.isal_zlib import crc32 as _crc32
except ImportError:
    _crc32 = zlib.crc32

CRC_KEY = "riboswitch.crc32"
"""In a safetensors file's metadata: eight hexadecimal digits for each tensor, in file order."""


def crc32(data: memoryview | bytes) -> int:
    """Return the CRC-32 of some bytes."""
    return int(_crc32(data))


SEAL_KEY = "riboswitch.seal"
"""In a safetensors file's metadata: `Draft.seal`."""


def name_with_crc(name: str, crc: int, seal: str | None) -> str:
    """A parameter's name that says the CRC-32 of its numbers, for Paddle's table of names."""
    return f"{name}#crc32={crc:08x}" + (f"#seal={seal}" if seal else "")


def seal_in_name(name: object) -> str | None:
    """The seal that `name_with_crc` put there."""
    found = re.search(r"#seal=([0-9a-f]{64})$", name) if isinstance(name, str) else None
    return found[1] if found else None


def crc_in_name(name: object) -> int | None:
    """What `name_with_crc` put there; None in names of others."""
    found = (
        re.search(r"#crc32=([0-9a-f]{8})(#seal=[0-9a-f]{64})?$", name)
        if isinstance(name, str)
        else None
    )
    return int(found[1], 16) if found else None
