"""Write pickles of dicts, lists, texts and numbers, and the few objects that hold tensors.

Not with Python's `pickle`: it wants the objects themselves, which are torch's or all in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

_NONE, _TRUE, _FALSE = b"N", b"\x88", b"\x89"
_INT32 = range(-(1 << 31), 1 << 31)


class PickleStream:
    """A pickle that is written as it is told, one opcode after the other."""

    def __init__(self, file: BinaryIO, protocol: int) -> None:
        self._file = file
        file.write(bytes([0x80, protocol]))

    def op(self, code: bytes) -> None:
        """Write an opcode with what belongs to it."""
        self._file.write(code)

    def stop(self) -> None:
        """End the pickle."""
        self.op(b".")

    def name(self, module: str, name: str) -> None:
        """Push what stands under a name of a module."""
        self.op(f"c{module}\n{name}\n".encode())

    def call(self, module: str, name: str, *arguments: Any) -> None:
        """Push what a function returns; arguments are plain values."""
        self.name(module, name)
        self.value(arguments)
        self.op(b"R")

    def raw(self, data: memoryview) -> None:
        """Push bytes; the pickle must be of protocol 4."""
        self.op(b"\x8e" + struct.pack("<Q", data.nbytes))
        self._file.write(data)

    def value(self, value: Any) -> None:
        """Push None, a boolean, a number, a text, or a dict, list or tuple of such.

        Raises:
            TypeError: It is something else.
        """
        match value:
            case None | True | False:
                self.op({None: _NONE, True: _TRUE, False: _FALSE}[value])
            case int() if value in _INT32:
                self.op(b"J" + struct.pack("<i", value))
            case float():
                self.op(b"G" + struct.pack(">d", value))
            case str():
                text = value.encode()
                self.op(b"X" + struct.pack("<I", len(text)) + text)
            case bytes() if len(value) < 256:
                self.op(b"C" + bytes([len(value)]) + value)
            case Mapping():
                self._items(b"}(", [x for pair in value.items() for x in pair], b"u")
            case list():
                self._items(b"](", value, b"e")
            case tuple():
                self._items(b"(", value, b"t")
            case _:
                raise TypeError(f"{value!r:.60} is nothing that a checkpoint's pickle holds")

    def _items(self, begin: bytes, items: Any, end: bytes) -> None:
        self.op(begin)
        for item in items:
            self.value(item)
        self.op(end)
