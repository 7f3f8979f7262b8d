"""Blocks: packed sequences, filled up to one of a few sizes.

XLA compiles a program for each shape. A block has one axis, tokens, so the programs are as many
as there are sizes, whatever the lengths and numbers of the sequences.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from riboswitch.batch import TokenBatch
from riboswitch.interfaces import Array

LIMIT = 256
"""Tokens up to which sequences share a block: attention computes the block's square."""
STEP = 128


class Block(NamedTuple):
    """Tokens of some sequences, one after the other, then padding; three int32 (T,).

    Attributes:
        ids: Token ids; 0 at padding.
        positions: Place of each token in its sequence, from 0; 0 at padding.
        sequence: Number of each token's sequence; -1 at padding.
    """

    ids: Array
    positions: Array
    sequence: Array


def cut(batch: TokenBatch, limit: int) -> Iterator[TokenBatch]:
    """Cut a batch where the next sequence would lead past `limit` tokens."""
    first, total = 0, 0
    for i, length in enumerate(batch.lengths.tolist()):
        if i > first and total + length > limit:
            yield batch.take(range(first, i))
            first, total = i, 0
        total += length
    if first < len(batch):
        yield batch.take(range(first, len(batch)))


def filled(batch: TokenBatch) -> Block:
    """One block of all sequences of a batch."""
    total = len(batch.ids)
    sequence = np.repeat(np.arange(len(batch)), batch.lengths)
    padding = (0, rounded(total) - total)
    columns = ((batch.ids, 0), (batch.positions, 0), (sequence, -1))
    return Block(*(np.pad(c.astype(np.int32), padding, constant_values=v) for c, v in columns))


def rounded(total: int) -> int:
    """The next size that is compiled: multiples of 128, above 1024 eight to each doubling."""
    step = max(STEP, 1 << (total - 1).bit_length() >> 4)
    return -(-total // step) * step
