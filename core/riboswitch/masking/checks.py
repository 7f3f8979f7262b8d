"""What a recipe and a call are checked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import Attribute
from numpy.typing import ArrayLike

from riboswitch.alphabet import Alphabet
from riboswitch.batch import TokenBatch
from riboswitch.checks import is_number, plain, refused, shown
from riboswitch.errors import UsageError
from riboswitch.masking.noise import UInts

_WEIGHT = 1e100
"""Of one weight; sums of larger ones would overflow."""


def weights(_: object, attribute: Attribute[Any], value: Mapping[Any, float]) -> None:
    """Refuse weights that are negative, no numbers or all 0."""
    name = attribute.name
    for key, weight in value.items():
        if not is_number(weight) or not 0 <= weight < _WEIGHT:
            raise refused(
                f"the weight of {shown(key)} in {name}",
                weight,
                f"a number from 0 to below {_WEIGHT:g}",
            )
    if not any(value.values()):
        raise UsageError(f"the weights in {name} are all 0.\nGive at least one a positive weight.")


def mapping(value: object) -> Any:
    """Copy pairs of a name and a weight."""
    if not isinstance(value, Mapping):
        raise UsageError(f"weights are pairs of a name and a number, not {shown(value)}.")
    return {plain(key): plain(weight) for key, weight in value.items()}


def whole_number(value: int, what: str) -> int:
    """Refuse a seed or an epoch that is no whole number of 64 bits."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value < 2**64:
        raise refused(what, value, "a whole number from 0 to 2**64 - 1")
    return int(value)


def record_numbers(records: ArrayLike | None, count: int) -> UInts:
    """The number of each sequence in its corpus, uint64 (count,)."""
    if records is None:
        return np.arange(count, dtype=np.uint64)
    numbers = np.asarray(records)
    if numbers.shape != (count,):
        raise UsageError(
            f"records has the shape {numbers.shape}, and the batch {count} sequences.\n"
            "Give one number for each sequence."
        )
    if count and (not np.issubdtype(numbers.dtype, np.integer) or numbers.min() < 0):
        raise UsageError("records must be whole numbers from 0.")
    return numbers.astype(np.uint64)


def check_ids(batch: TokenBatch, alphabet: Alphabet) -> None:
    """Refuse what is no batch, or one that another alphabet has encoded."""
    if not isinstance(batch, TokenBatch):
        raise UsageError(
            f"masking takes a TokenBatch, not {type(batch).__name__}.\n"
            "Encode the sequences first: alphabet.encode(sequences)."
        )
    if len(batch.ids) and not 0 <= batch.ids.min() <= batch.ids.max() < len(alphabet):
        raise UsageError(
            f"the batch has ids that are not in the alphabet, which has {len(alphabet)} tokens.\n"
            "Give the alphabet that encoded it."
        )
