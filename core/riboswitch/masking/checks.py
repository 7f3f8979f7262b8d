"""What a recipe and a call are checked for."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from attrs import Attribute
from numpy.typing import ArrayLike

from riboswitch.alphabet import Alphabet
from riboswitch.batch import TokenBatch
from riboswitch.errors import UsageError
from riboswitch.masking.noise import UInts


def share(_: object, attribute: Attribute[float], value: float) -> None:
    """Refuse what is no number from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise UsageError(f"{attribute.name} is {value!r}, and must be a number from 0 to 1.")


def weights(_: object, attribute: Attribute[Any], value: Mapping[Any, float]) -> None:
    """Refuse weights that are negative, no numbers or all 0."""
    name = attribute.name
    for key, weight in value.items():
        if not _is_number(weight) or not 0 <= weight < float("inf"):
            raise UsageError(
                f"the weight of {key!r} in {name} is {weight!r}, and must be a number from 0."
            )
    total = sum(value.values())
    if not isfinite(total) or total <= 0:
        raise UsageError(f"the weights in {name} are all 0.\nGive at least one a positive weight.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def mapping(value: object) -> Any:
    """Copy pairs of a name and a weight."""
    if not isinstance(value, Mapping):
        raise UsageError(f"weights are pairs of a name and a number, not {value!r}.")
    return dict(value)


def whole_number(value: int, what: str) -> int:
    """Refuse a seed or an epoch that is no whole number of 64 bits."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value < 2**64:
        raise UsageError(f"{what} is {value!r}, and must be a whole number from 0 to 2**64 - 1.")
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
