"""The machine that reads a pickle: stack, memo, limits, and the opcodes of plain values."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from riboswitch_adapters.readers.mapped import refusal
from riboswitch_adapters.readers.pickle_values import Ledger, TypedStorage, long_text

# (key, dtype, number of elements) -> the torch storage with that key.
FindStorage = Callable[[str, str, int], TypedStorage]

_MAX_NAMES = 4 << 20  # bytes of text decoded in one pickle
_MAX_NAME = 64 << 10  # longer texts are arrays that protocol 2 has spelled out
_SMALL_BYTES = 256  # a view costs more memory than a copy of so few


class Machine:
    """The stack, the memo and the limits of one pickle."""

    def __init__(
        self, data: memoryview, start: int, storages: FindStorage | None, ledger: Ledger
    ) -> None:
        self.data, self.start, self.position, self.at = data, start, start, start
        self.storages, self.ledger = storages, ledger
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.names, self.running = _MAX_NAMES, True

    def run(self) -> object:
        """Read to STOP and return the one value that is left."""
        data = self.data
        if data[self.start] != 0x80:
            raise refusal("the pickle does not begin with its protocol, 2 to 5")
        while self.running:
            self.at = self.position
            code = data[self.at]
            self.position += 1
            self.ledger.spend(1)
            OPCODES.get(code, _unknown)(self)
        if self.marks or len(self.stack) != 1:
            raise refusal("the pickle ends with values left over")
        return self.stack.pop()

    def take(self, count: int) -> memoryview:
        """The next bytes, not copied."""
        if count > len(self.data) - self.position:
            raise refusal(f"{count} bytes are announced, which the file does not have")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, width: int, signed: bool = False) -> int:
        """The next whole number, little-endian."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def pop(self, kind: type) -> Any:
        """The topmost value, which must be of exactly this kind."""
        value = self.stack.pop()
        # By identity: Namespace, for one, is a dict too.
        if type(value) is not kind:
            raise refusal(f"a {kind.__name__} is due where a {type(value).__name__} is")
        return value

    def top(self, kind: type) -> Any:
        """The same, left where it is."""
        self.stack.append(self.pop(kind))
        return self.stack[-1]

    def to_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        items = self.stack
        self.stack = self.marks.pop()
        return items


Opcode = Callable[[Machine], None]
OPCODES: dict[int, Opcode] = {}


def opcode(code: bytes) -> Callable[[Opcode], Opcode]:
    """Register the function that carries out an opcode."""

    def register(function: Opcode) -> Opcode:
        OPCODES[code[0]] = function
        return function

    return register


def _unknown(m: Machine) -> None:
    raise refusal(f"opcode {bytes(m.data[m.at : m.at + 1])!r} has no place in a checkpoint")


@opcode(b"\x80")
def _protocol(m: Machine) -> None:
    if m.at != m.start or not 2 <= m.number(1) <= 5:
        raise refusal("the pickle does not begin with its protocol, 2 to 5")


@opcode(b"\x95")
def _frame(m: Machine) -> None:
    size = m.number(8)
    if size > len(m.data) - m.position:
        raise refusal(f"a frame of {size} bytes is announced, which the file does not have")


@opcode(b".")
def _stop(m: Machine) -> None:
    m.running = False


@opcode(b"(")
def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


def _constant(code: bytes, value: object) -> None:
    OPCODES[code[0]] = lambda m: m.stack.append(value)


for _code, _value in ((b"N", None), (b"\x88", True), (b"\x89", False), (b")", ())):
    _constant(_code, _value)


@opcode(b"}")
def _empty_dict(m: Machine) -> None:
    m.stack.append({})


@opcode(b"]")
def _empty_list(m: Machine) -> None:
    m.stack.append([])


def _whole(code: bytes, width: int, signed: bool = False) -> None:
    OPCODES[code[0]] = lambda m: m.stack.append(m.number(width, signed))


_whole(b"J", 4, signed=True)
_whole(b"K", 1)
_whole(b"M", 2)


def _long(code: bytes, width: int) -> None:
    def read(m: Machine) -> None:
        size = m.number(width)
        if size > 16:
            raise refusal(f"a number of {size} bytes has no place in a checkpoint")
        m.stack.append(m.number(size, signed=True))

    OPCODES[code[0]] = read


_long(b"\x8a", 1)
_long(b"\x8b", 4)


@opcode(b"G")
def _float(m: Machine) -> None:
    m.stack.append(struct.unpack(">d", m.take(8))[0])


def _text(code: bytes, width: int) -> None:
    def read(m: Machine) -> None:
        raw = m.take(m.number(width))
        if len(raw) > _MAX_NAME:
            m.stack.append(long_text(m.ledger.where, raw))
            return
        m.names -= len(raw)
        if m.names < 0:
            raise refusal(f"the pickle holds more than {_MAX_NAMES} bytes of names")
        m.stack.append(str(raw, "utf-8"))

    OPCODES[code[0]] = read


def _bytes(code: bytes, width: int) -> None:
    def read(m: Machine) -> None:
        raw = m.take(m.number(width))
        m.stack.append(raw if len(raw) > _SMALL_BYTES else bytes(raw))

    OPCODES[code[0]] = read


for _code, _width in ((b"\x8c", 1), (b"X", 4), (b"\x8d", 8)):
    _text(_code, _width)
for _code, _width in ((b"C", 1), (b"B", 4), (b"\x8e", 8), (b"\x96", 8)):
    _bytes(_code, _width)
