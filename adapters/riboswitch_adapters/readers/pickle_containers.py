"""The opcodes that build tuples, lists and dicts, and those of the memo."""

from __future__ import annotations

from typing import Any

from riboswitch_adapters.readers.mapped import refusal
from riboswitch_adapters.readers.pickle_machine import OPCODES, Machine, opcode


@opcode(b"t")
def _tuple(m: Machine) -> None:
    items = tuple(m.to_mark())
    m.stack.append(items)


def _short_tuple(code: bytes, size: int) -> None:
    def build(m: Machine) -> None:
        if len(m.stack) < size:
            raise refusal("a tuple lacks its items")
        m.stack[-size:] = [tuple(m.stack[-size:])]

    OPCODES[code[0]] = build


for _size in (1, 2, 3):
    _short_tuple(bytes([0x84 + _size]), _size)


@opcode(b"a")
def _append(m: Machine) -> None:
    item = m.stack.pop()
    m.top(list).append(item)


@opcode(b"e")
def _appends(m: Machine) -> None:
    items = m.to_mark()
    m.top(list).extend(items)


def _set_items(m: Machine, items: list[Any]) -> None:
    target = m.top(dict)
    if len(items) % 2:
        raise refusal("a dict's last key has no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Tuples would be hashed recursively, and long numbers can be made to collide.
        if type(key) is not str and not (type(key) is int and -(2**63) <= key < 2**63):
            raise refusal(f"a dict has a {type(key).__name__} for a key, not a name or a number")
        target[key] = value


@opcode(b"s")
def _set_item(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    _set_items(m, [key, value])


@opcode(b"u")
def _set_all(m: Machine) -> None:
    _set_items(m, m.to_mark())


def _put(code: bytes, width: int) -> None:
    def put(m: Machine) -> None:
        m.memo[m.number(width)] = m.stack[-1]

    OPCODES[code[0]] = put


def _get(code: bytes, width: int) -> None:
    OPCODES[code[0]] = lambda m: m.stack.append(m.memo[m.number(width)])


for _code, _width in ((b"q", 1), (b"r", 4)):
    _put(_code, _width)
for _code, _width in ((b"h", 1), (b"j", 4)):
    _get(_code, _width)


@opcode(b"\x94")
def _memoize(m: Machine) -> None:
    m.memo[len(m.memo)] = m.stack[-1]
