"""From one vocabulary to another: which row of the old table each new token takes."""

from __future__ import annotations

import re

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Array
from riboswitch.weights import LazyWeights

_ROLES = ("cls", "pad", "eos", "unk", "mask", "ind")
_BY_TOKEN = ("embedding.tokens", "lm_head.decoder.weight", "lm_head.decoder.bias")


@frozen
class Change:
    """What a change of vocabulary does.

    Attributes:
        rows: For each new token the id whose numbers it takes.
        lost: Old tokens that no new one takes.
        borrowed: New tokens that the old vocabulary lacks, and whose numbers they take: those
            of the token that the old alphabet would have read in their place.
    """

    rows: NDArray[np.intp]
    lost: tuple[str, ...]
    borrowed: dict[str, str]


def change(old: Alphabet, new: Alphabet) -> Change | None:
    """Return what becomes of each token; None when nothing changes.

    Raises:
        CheckpointError: The words are of another length.
    """
    if (old.k, old.stride) != (new.k, new.stride):
        raise CheckpointError(
            f"words of {old.k} letters cannot become words of {new.k}.\nTrain such a model anew."
        )
    if old.tokens == new.tokens:
        return None
    own = {token: old.index[twin] for token in new.tokens if (twin := _twin(token, old, new))}
    rows = np.array([own.get(t, _read_as(t, old, new)) for t in new.tokens], np.intp)
    taken = set(own.values())
    return Change(
        rows,
        lost=tuple(t for i, t in enumerate(old.tokens) if i not in taken),
        borrowed={t: old.tokens[i] for t, i in zip(new.tokens, rows, strict=True) if t not in own},
    )


def changed_weights(weights: LazyWeights, change: Change | None) -> LazyWeights:
    """Canonical weights with the rows of the new vocabulary."""
    if change is None:
        return weights
    rows = change.rows

    def make(name: str) -> Array:
        array = weights[name]
        return array[rows] if name in _BY_TOKEN else array

    return LazyWeights(weights, make, weights.dtypes)


def _twin(token: str, old: Alphabet, new: Alphabet) -> str | None:
    """The old token that means the same: by role, by name, or letter for letter."""
    for role in _ROLES:
        if token == getattr(new, role):
            found: str | None = getattr(old, role)
            return found
    if token in new.words:
        spelt = {word.replace("T", "U"): word for word in old.words}
        return spelt.get(token.replace("T", "U"))
    if token in old.index:
        return token
    alike = [t for t in old.tokens if _stem(t) == _stem(token) != ""]
    first = next((t for t in new.tokens if _stem(t) == _stem(token)), token)
    return alike[0] if alike and first == token else None


def _stem(token: str) -> str:
    """`<null_1>` and `<null>` are one kind."""
    return re.sub(r"[^a-z]", "", token.lower())


def _read_as(token: str, old: Alphabet, new: Alphabet) -> int:
    """Id of what the old alphabet makes of a new word; other tokens are unknown to it."""
    if token not in new.words:
        return old.unk_id
    return int(old.encode([token], warn=False).ids[1])
