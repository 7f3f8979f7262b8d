"""What a checkpoint's pickle can put on the stack besides Python's plain types."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from attrs import define, frozen

from riboswitch_adapters.readers.lazy import LazyTensor, Storage, itemsize
from riboswitch_adapters.readers.mapped import refusal

# A file of 650 M parameters takes 20,000 steps; this many take a quarter of a second.
MAX_STEPS = 250_000
# 4 times: tensors may share storages, but reading them all must not take for ever.
_SHARING, _SLACK = 4, 1 << 20
_LATIN_LEAD = 0xC3  # the highest byte in the UTF-8 of text that latin-1 can hold


@define(eq=False, repr=False)
class Name:
    """A global name that stands on the stack."""

    text: str


class Namespace(dict[str, Any]):
    """What was an `argparse.Namespace`: its attributes as a dict."""


@define(eq=False, repr=False)
class Dtype:
    """A NumPy dtype; protocol 2 tells the byte order after the rest."""

    name: str
    order: str = "<"


@define(eq=False, repr=False)
class Shell:
    """A NumPy array: made empty, filled by BUILD."""

    tensor: LazyTensor | None = None


@frozen(eq=False, repr=False)
class TypedStorage:
    """A torch storage and what its bytes mean."""

    storage: Storage
    dtype: str


@define(eq=False, repr=False)
class LongText(Storage):
    """A text too long to be a name: the bytes of an array, as protocol 2 spells them.

    `data` is UTF-8; `load` gives the latin-1 bytes; `size` counts those.
    """

    def load(self) -> memoryview | bytes:
        """The text in latin-1.

        Raises:
            CheckpointError: it has letters outside latin-1.
        """
        data = self.data or b""
        # Checked first: one wide letter would make Python's copy four times as large.
        if np.frombuffer(data, np.uint8).max(initial=0) > _LATIN_LEAD:
            raise refusal(f"{self.where}: an array's text is not latin-1")
        return str(data, "utf-8").encode("latin-1")


def long_text(where: str, data: memoryview) -> LongText:
    """Hold a text without decoding it; letters are counted by their first bytes."""
    size, step = 0, 1 << 20
    for at in range(0, len(data), step):
        part = np.frombuffer(data[at : at + step], np.uint8)
        size += int(np.count_nonzero((part & 0xC0) != 0x80))
    return LongText(where, size, data)


@define(eq=False, repr=False)
class Ledger:
    """What the pickles of one file may still claim, and the name of the file."""

    where: str
    room: int
    steps: int = MAX_STEPS

    @classmethod
    def of(cls, where: str, n_bytes: int) -> Ledger:
        """For a file of so many bytes."""
        return cls(where, _SHARING * n_bytes + _SLACK)

    def spend(self, steps: int) -> None:
        """Count opcodes, and what they cost beyond one."""
        self.steps -= steps
        if self.steps < 0:
            raise refusal(f"the pickle takes more than {MAX_STEPS} steps, too many for weights")

    def enter(self, tensor: LazyTensor) -> LazyTensor:
        """Count a tensor's bytes."""
        self.room -= math.prod(tensor.shape) * itemsize(tensor.dtype)
        if self.room < 0:
            raise refusal("the tensors together claim several times what the file holds")
        return tensor

    def storage(self, raw: object) -> Storage:
        """The storage behind the bytes of a NumPy array."""
        if isinstance(raw, Storage):
            return raw
        if not isinstance(raw, bytes | memoryview):
            raise refusal("an array's content is not bytes")
        return Storage(self.where, len(raw), raw)
