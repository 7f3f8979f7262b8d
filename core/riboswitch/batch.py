"""`TokenBatch`: sequences of different lengths, packed end to end, with no padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from riboswitch.errors import UsageError


class Group(NamedTuple):
    """Neighbouring sequences of one length: the tokens `start` to `start + number * length`."""

    first: int
    number: int
    length: int
    start: int


class TokenBatch:
    """Token ids of n sequences, one after the other.

    Special tokens are among them; there is no padding. `Model` gives an encoder no empty batch
    and no empty sequence.

    Attributes:
        ids: int32, shape (total,).
        offsets: int64, shape (n + 1,); sequence i is `ids[offsets[i]:offsets[i + 1]]`.
    """

    __slots__ = ("ids", "offsets")

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __init__(self, ids: ArrayLike, offsets: ArrayLike) -> None:
        """Check and keep both arrays; raises `UsageError` when they do not fit together."""
        self.ids = _integers(ids, np.int32, "ids")
        self.offsets = _integers(offsets, np.int64, "offsets")
        bounds = self.offsets
        if not len(bounds) or bounds[0] != 0 or bounds[-1] != len(self.ids):
            raise UsageError(
                f"offsets must begin with 0 and end with {len(self.ids)}, the number of ids."
            )
        if np.any(np.diff(bounds) < 0):
            raise UsageError("offsets must not decrease.")

    @classmethod
    def from_sequences(cls, sequences: Sequence[ArrayLike]) -> TokenBatch:
        """Pack one array of ids for each sequence."""
        arrays = [_integers(s, np.int32, "a sequence of ids") for s in sequences]
        ids = np.concatenate(arrays) if arrays else np.zeros(0, np.int32)
        return cls(ids, offsets_of(np.array([len(a) for a in arrays], np.int64)))

    @classmethod
    def from_padded(cls, ids: ArrayLike, pad_id: int) -> TokenBatch:
        """Pack a padded matrix (n, T); `pad_id` may stand at the end of a row only."""
        matrix = np.asarray(ids)
        if matrix.ndim != 2:
            raise UsageError(f"padded ids have two axes, not {matrix.ndim}.")
        real = matrix != pad_id
        lengths = real.sum(axis=1)
        if np.any(real != (np.arange(matrix.shape[1]) < lengths[:, None])):
            raise UsageError(f"the padding id {pad_id} stands before the end of a row.")
        return cls(matrix[real], offsets_of(lengths))

    def padded(self, pad_id: int) -> NDArray[np.int32]:
        """Return a matrix (n, longest), filled up with `pad_id`."""
        lengths = self.lengths
        matrix = np.full((len(self), lengths.max(initial=0)), pad_id, np.int32)
        matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = self.ids
        return matrix

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sequence, int64 (n,)."""
        return np.diff(self.offsets)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Place of each token in its sequence, from 0; int64 (total,)."""
        return np.arange(len(self.ids)) - np.repeat(self.offsets[:-1], self.lengths)

    def take(self, order: ArrayLike) -> TokenBatch:
        """Return the sequences named by `order`, in that order."""
        index = np.asarray(order, np.int64)
        lengths = self.lengths[index]
        offsets = offsets_of(lengths)
        source = np.arange(offsets[-1]) + np.repeat(self.offsets[index] - offsets[:-1], lengths)
        return TokenBatch(self.ids[source], offsets)

    def groups(self) -> list[Group]:
        """Runs of neighbours with equal length: what a kernel can take without padding."""
        lengths = self.lengths
        cuts = np.flatnonzero(np.diff(lengths)) + 1
        firsts = [0, *cuts.tolist()] if len(lengths) else []
        ends = [*firsts[1:], len(lengths)] if firsts else []
        return [
            Group(a, b - a, int(lengths[a]), int(self.offsets[a]))
            for a, b in zip(firsts, ends, strict=True)
        ]

    def split(self, packed: NDArray[Any], axis: int = 0) -> list[NDArray[Any]]:
        """Cut an array with one entry for each token along `axis` into sequences."""
        return np.split(packed, self.offsets[1:-1], axis=axis) if len(self) else []

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return iter(self.split(self.ids))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenBatch):
            return NotImplemented
        return np.array_equal(self.ids, other.ids) and np.array_equal(self.offsets, other.offsets)

    __hash__ = None  # type: ignore[assignment]  # holds arrays that may change

    def __repr__(self) -> str:
        return f"TokenBatch({len(self)} sequences, {len(self.ids)} tokens)"


def run_sorted(
    batch: TokenBatch, run: Callable[[TokenBatch], Mapping[str, NDArray[Any] | list[NDArray[Any]]]]
) -> dict[str, list[NDArray[Any]]]:
    """Let an encoder work on sequences sorted by length, and give each its own results.

    For `Backbone.forward` of any backend: neighbours then have similar lengths, so that
    `padded` fills up little and `groups` finds long runs.

    Args:
        batch: Sequences in any order.
        run: Gets the sorted batch; returns by name an array with a row for each sequence
            (`pooled`), one with an entry for each token along its first axis or, for
            `hidden_states`, its second, or a list with an array for each sequence.

    Returns:
        For each name one array a sequence, in the order of `batch`.
    """
    order = np.argsort(batch.lengths, kind="stable")
    ordered = batch.take(order)
    back = np.argsort(order).tolist()
    found: dict[str, list[NDArray[Any]]] = {}
    for name, value in run(ordered).items():
        if name == "pooled" or isinstance(value, list):
            pieces = list(value)
        else:
            pieces = ordered.split(value, axis=1 if name == "hidden_states" else 0)
        found[name] = [pieces[i] for i in back]
    return found


def offsets_of(lengths: ArrayLike) -> NDArray[np.int64]:
    """Return [0, l0, l0 + l1, …] as int64."""
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(np.int64)


def by_budget(lengths: ArrayLike, budget: int) -> list[NDArray[np.int64]]:
    """Cut sequences into batches of similar length and at most `budget` tokens each.

    Depends on the lengths and the budget alone, so the same work is always cut alike. A
    sequence longer than the budget makes a batch of its own. Longest first, so that memory
    runs out at the beginning or not at all.

    Args:
        lengths: Tokens of each sequence, (n,).
        budget: Tokens of a batch.

    Returns:
        The numbers of the sequences of each batch, int64.
    """
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(-sizes, kind="stable")
    batches: list[NDArray[np.int64]] = []
    start, total = 0, 0
    for end, size in enumerate(sizes[order].tolist()):
        if end > start and total + size > budget:
            batches.append(order[start:end])
            start, total = end, 0
        total += size
    return [*batches, order[start:]] if len(order) else []


def _integers(values: ArrayLike, dtype: type[Any], what: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise UsageError(
            f"{what} must be whole numbers on one axis, not {array.dtype} {array.shape}."
        )
    info = np.iinfo(dtype)
    if array.size and (array.min() < info.min or array.max() > info.max):
        raise UsageError(f"{what} do not fit into {np.dtype(dtype).name}.")
    return array.astype(dtype, copy=False)
