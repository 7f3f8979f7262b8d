"""`Masked`: what a recipe makes of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.batch import TokenBatch

IGNORED = -100
"""The label where nothing is to be predicted."""


class Origin(IntEnum):
    """Why a token is to be predicted."""

    NONE = 0
    KNOWN_MOTIF = 1
    STATISTICAL_MOTIF = 2
    FILL = 3
    """A single letter where motifs were too few, or a sequence too short for spans."""
    NUCLEOTIDE = 4
    SPAN = 5
    TYPE = 6
    """The first token, which is trained on the type of the prompt."""


@frozen(eq=False)
class Masked:
    """A masked batch; all three arrays have the shape of the batch's `ids`.

    Can be unpacked as `ids, labels`.

    Attributes:
        ids: What the model sees, int32 (total,).
        labels: What it is to predict, -100 where nothing is, int64 (total,).
        origins: Why, an `Origin` for each token, uint8 (total,).
    """

    ids: NDArray[np.int32]
    labels: NDArray[np.int64]
    origins: NDArray[np.uint8]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.ids, self.labels))


def label_types(batch: TokenBatch, alphabet: Alphabet, masked: Masked) -> None:
    """Let the first token of each sequence with a prompt predict the type."""
    if alphabet.ind is None:
        return
    types = np.zeros(len(alphabet), bool)
    types[[alphabet.index[name] for name in alphabet.types]] = True
    first, last = batch.offsets[:-1], batch.offsets[1:]
    first, last = first[last - first >= 4], last[last - first >= 4]
    ids, index = batch.ids, alphabet.index
    prompted = (ids[first] == index[alphabet.cls]) & (ids[last - 3] == index[alphabet.ind])
    prompted &= types[ids[last - 2]]
    masked.labels[first[prompted]] = ids[last[prompted] - 2]
    masked.origins[first[prompted]] = Origin.TYPE
