"""Alphabets, batches and what is read off masks, for the tests of masking."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from riboswitch import Alphabet, TokenBatch
from riboswitch.masking import Masked, Motifs, Recipe

SPECIAL = ("<cls>", "<pad>", "<eos>", "<unk>", "<mask>")
TYPES = ("tRNA", "rRNA")
NUCLEOTIDES = Alphabet(tokens=(*SPECIAL, "<ind>", *TYPES, *"ATCG"), ind="<ind>", types=TYPES)
AMBIGUOUS = Alphabet(tokens=(*SPECIAL, *"ACGURYN-"))
KMERS = Alphabet(tokens=(*SPECIAL, *map("".join, product("ACGU", repeat=3))), k=3)
CODONS = Alphabet(tokens=KMERS.tokens, k=3, stride=3)
ALPHABETS = {"nucleotides": NUCLEOTIDES, "ambiguous": AMBIGUOUS, "3-mers": KMERS, "codons": CODONS}

MOTIFS = Motifs(["AUGC", "GGA", "CCUUCC", "A" * 14], ["UUGU", "ACG", "GUGUG"])


def only(strategy: str, **changes: object) -> Recipe:
    """A recipe of one strategy."""
    motifs = MOTIFS if strategy == "motif" else None
    return Recipe(**{"strategies": {strategy: 1}, "motifs": motifs, **changes})


def random_texts(lengths: Iterable[int], seed: int = 0) -> list[str]:
    ends = np.cumsum([*lengths])
    drawn = np.frombuffer(b"ACGU", np.uint8)[np.random.default_rng(seed).integers(0, 4, ends[-1])]
    text = drawn.tobytes().decode()
    return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def words(alphabet: Alphabet, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    return np.isin(ids, [alphabet.index[word] for word in alphabet.words])


def share(alphabet: Alphabet, batch: TokenBatch, masked: Masked) -> float:
    """The masked part of the words."""
    return float((masked.labels != -100).sum() / words(alphabet, batch.ids).sum())


def runs(batch: TokenBatch, marked: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Sequence, start and end of each stretch of marked tokens."""
    found = []
    for number, part in enumerate(batch.split(marked)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], part.astype(int), [0]])))
        found += [(number, int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    return found
