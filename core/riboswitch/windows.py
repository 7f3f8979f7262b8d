"""Sequences longer than a model: cut into overlapping pieces, join what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from riboswitch.alphabet import Alphabet
from riboswitch.interfaces import Array


class Piece(NamedTuple):
    """Letters `start` to `stop` of a sequence; rows `keep` to `end` of it are used.

    Rows are words of the whole sequence; `row` is the first one that the piece has.
    """

    sequence: int
    start: int
    stop: int
    row: int
    keep: int
    end: int


def cut(sequence: int, num_letters: int, window: int | None, alphabet: Alphabet) -> Iterator[Piece]:
    """Cut a text into pieces of `window` letters that overlap by half.

    Each row is kept from the piece in which it stands farthest from an end.
    """
    rows = alphabet.num_words(num_letters)
    if window is None or num_letters <= window:
        yield Piece(sequence, 0, num_letters, 0, 0, rows)
        return
    size = alphabet.num_words(window)
    step = max(1, size // 2)
    firsts = [*range(0, rows - size, step), rows - size]
    middles = [(b + a + size) // 2 for a, b in pairwise(firsts)]
    for first, keep, end in zip(firsts, [0, *middles], [*middles, rows], strict=True):
        start = first * alphabet.stride
        yield Piece(sequence, start, start + window, first, keep, end)


def join(pieces: list[Piece], found: list[Array], pool: str | None) -> list[Array]:
    """Put the pieces of each sequence together again.

    Args:
        pieces: In order, all pieces of a sequence side by side.
        found: For each piece its rows (words, D), or with `pool="cls"` its vector (D,).
        pool: As in `Model.embed`.

    Returns:
        For each sequence an array (L, D), or (D,) with `pool`.
    """
    pairs = groupby(zip(pieces, found, strict=True), key=lambda pair: pair[0].sequence)
    return [_join(list(group), pool) for _, group in pairs]


def _join(group: list[tuple[Piece, Array]], pool: str | None) -> Array:
    if pool == "cls":
        return pool_rows(np.stack([array for _, array in group]), "mean")
    rows = np.concatenate([a[p.keep - p.row : p.end - p.row] for p, a in group])
    return pool_rows(rows, pool)


def pool_rows(rows: Array, pool: str | None) -> Array:
    """Return rows (L, D), or their mean or maximum (D,); sums are taken in float64."""
    if pool is None:
        return rows
    pooled: Array = rows.max(axis=0) if pool == "max" else rows.mean(axis=0, dtype=np.float64)
    return pooled.astype(rows.dtype)
