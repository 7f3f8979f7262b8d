"""`Recipe`: which tokens of a batch are masked, and by what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from math import fsum, isclose

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.batch import TokenBatch
from riboswitch.checks import MOST, flag, plain_numbers, refused, share
from riboswitch.errors import UsageError
from riboswitch.masking.checks import (
    check_ids,
    mapping,
    record_numbers,
    weights,
    whole_number,
)
from riboswitch.masking.masked import IGNORED, Masked, Origin, label_types
from riboswitch.masking.motif import mask_motifs
from riboswitch.masking.motifs import Motifs
from riboswitch.masking.noise import Ints, Purpose, UInts, draw, keys_for, record_keys, uniform
from riboswitch.masking.nucleotide import mask_nucleotides
from riboswitch.masking.policy import replaced, words_of
from riboswitch.masking.sites import Sites, width_of
from riboswitch.masking.span import mask_spans

STRATEGIES = ("nucleotide", "span", "motif")
_PIECE = 1 << 16
"""Tokens that are worked on at a time, so that they stay in the processor's cache."""


@frozen(kw_only=True, field_transformer=plain_numbers)
class Recipe:
    """How a batch is masked.

    A mask is a function of the sequence, the seed, the epoch and the record's number alone: it is
    the same in any batch, order, process and on any platform.

    Attributes:
        rate: Share of the words to mask, in expectation of every sequence.
        mask: Share of those that become the mask token.
        random: Share that becomes another word, of A, C, G and U alone.
        keep: Share that stays as it is. The three add up to 1.
        strategies: Weight of `nucleotide`, `span` and `motif`; one is drawn for each sequence.
        spans: Weight of each span length, in letters, or in codons.
        motifs: What the strategy `motif` looks for.
        predict_type: Whether the first token is trained on the type, where a prompt has one.
    """

    rate: float = field(default=0.15, validator=share)
    mask: float = field(default=0.8, validator=share)
    random: float = field(default=0.1, validator=share)
    keep: float = field(default=0.1, validator=share)
    strategies: Mapping[str, float] = field(
        factory=lambda: {"nucleotide": 1}, converter=mapping, validator=weights, hash=False
    )
    spans: Mapping[int, float] = field(
        factory=lambda: {n: 1 / (n - 4) for n in range(5, 9)},
        converter=mapping,
        validator=weights,
        hash=False,
    )
    motifs: Motifs | None = None
    predict_type: bool = field(default=False, validator=flag)

    def __attrs_post_init__(self) -> None:
        if not isclose(self.mask + self.random + self.keep, 1, abs_tol=1e-9):
            raise UsageError(
                f"mask, random and keep are {self.mask}, {self.random} and {self.keep}, "
                "and must add up to 1."
            )
        if unknown := [name for name in self.strategies if name not in STRATEGIES]:
            raise UsageError(f"no strategy {unknown[0]!r}.\nThere are: {', '.join(STRATEGIES)}.")
        if wrong := [n for n in self.spans if type(n) is not int or not 1 <= n <= MOST]:
            raise refused("a span length", wrong[0], f"a whole number from 1 to {MOST}")
        if self.strategies.get("motif") and self.motifs is None:
            raise UsageError("the strategy motif has no motifs.\nGive it some: motifs.known.")

    def apply(
        self,
        batch: TokenBatch,
        alphabet: Alphabet,
        *,
        seed: int,
        epoch: int = 0,
        records: ArrayLike | None = None,
    ) -> Masked:
        """Mask a batch.

        Args:
            batch: Any sequences, as `alphabet.encode` makes them. It is not changed.
            alphabet: Theirs.
            seed: A whole number from 0 to 2**64 - 1.
            epoch: Another one: each epoch masks differently.
            records: The number of each sequence in the corpus, 0, 1, … unless given.

        Returns:
            What the model sees, what it is to predict, and why.

        Raises:
            UsageError: The numbers are none, or not one for each sequence; or motifs are to be
                found and pyahocorasick is missing.
        """
        check_ids(batch, alphabet)
        numbers = record_numbers(records, len(batch))
        keys = record_keys(whole_number(seed, "seed"), whole_number(epoch, "epoch"), numbers)
        masked = Masked(
            batch.ids.copy(),
            np.full(len(batch.ids), IGNORED, np.int64),
            np.zeros(len(batch.ids), np.uint8),
        )
        for first, last in _pieces(batch.offsets):
            self._mask(batch, alphabet, first, last, keys[first:last], masked)
        if self.predict_type:
            label_types(batch, alphabet, masked)
        return masked

    def _mask(
        self,
        batch: TokenBatch,
        alphabet: Alphabet,
        first: int,
        last: int,
        keys: UInts,
        masked: Masked,
    ) -> None:
        """Mask the sequences from `first` to before `last`."""
        begin, end = batch.offsets[first], batch.offsets[last]
        ids, offsets = batch.ids[begin:end], batch.offsets[first : last + 1] - begin
        tokens = np.flatnonzero(
            words_of(alphabet).is_word.take(ids, mode="clip")
        )  # no check: quicker
        sites = Sites(tokens, np.searchsorted(tokens, offsets), keys)
        why = self._origins(sites, ids, alphabet)
        chosen = np.flatnonzero(why)
        places, owners = tokens[chosen], np.searchsorted(sites.bounds, chosen, side="right") - 1
        local = places - offsets[owners]
        deciders = local if width_of(alphabet) == 1 else _stretches(places, local, owners)
        shares = self.mask, self.random
        new = replaced(ids[places], keys, owners, local, deciders, alphabet, shares)
        masked.labels[begin + places] = ids[places]
        masked.ids[begin + places] = new
        masked.origins[begin + places] = why[chosen]

    def _origins(
        self, sites: Sites, ids: NDArray[np.int32], alphabet: Alphabet
    ) -> NDArray[np.uint8]:
        """Draw a strategy for each sequence and let it choose sites."""
        result = np.zeros(len(sites.tokens), np.uint8)
        drawn = self._drawn(sites.keys)
        for number, name in enumerate(STRATEGIES):
            mine = np.flatnonzero(drawn == number)
            if len(mine):
                part = sites.take(mine)
                result[_site_numbers(sites, mine)] = self._strategy(name, part, ids, alphabet)
        return result

    def _strategy(
        self, name: str, sites: Sites, ids: NDArray[np.int32], alphabet: Alphabet
    ) -> NDArray[np.uint8]:
        width = width_of(alphabet)
        if name == "motif" and self.motifs is not None:
            return mask_motifs(sites, ids, self.rate, self.motifs, alphabet)
        result = np.zeros(len(sites.tokens), np.uint8)
        if name == "span":
            used = {n: weight for n, weight in sorted(self.spans.items()) if weight}
            spans, singles = mask_spans(sites, self.rate, width, used)
            result[spans], result[singles] = Origin.SPAN, Origin.FILL
        else:
            result[mask_nucleotides(sites, self.rate, width)] = Origin.NUCLEOTIDE
        return result

    def _drawn(self, keys: UInts) -> Ints:
        """The number of each sequence's strategy."""
        weights = [self.strategies.get(name, 0) for name in STRATEGIES]
        total = fsum(weights)
        ends = [*accumulate(weight / total for weight in weights)]
        last = max(i for i, weight in enumerate(weights) if weight)
        if not any(weights[:last]):
            return np.full(len(keys), last)
        fractions = uniform(draw(keys_for(keys, Purpose.STRATEGY), np.zeros(len(keys), np.int64)))
        drawn: Ints = np.minimum(np.searchsorted(ends, fractions, side="right"), last)
        return drawn


def _site_numbers(sites: Sites, sequences: Ints) -> Ints | slice:
    if len(sequences) == len(sites):
        return slice(None)
    every = Sites(np.arange(len(sites.tokens)), sites.bounds, sites.keys)
    return every.take(sequences).tokens


def _stretches(places: Ints, local: Ints, owners: Ints) -> Ints:
    """The first place of the masked stretch that each token is in."""
    begins = np.ones(len(places), bool)
    begins[1:] = (np.diff(places) != 1) | (np.diff(owners) != 0)
    first: Ints = local[begins][np.cumsum(begins) - 1]
    return first


def _pieces(offsets: Ints) -> Iterator[tuple[int, int]]:
    """Cut a batch into runs of sequences of not many tokens."""
    sizes = offsets + np.arange(len(offsets))  # so that empty sequences count too
    first, total = 0, len(offsets) - 1
    while first < total:
        last = int(np.searchsorted(sizes, sizes[first] + _PIECE, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last
