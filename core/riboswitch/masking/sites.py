"""`Sites`: the tokens that may be masked, and how blocks of them are placed."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.masking.noise import (
    Floats,
    Ints,
    Purpose,
    UInts,
    choose,
    draw,
    keys_for,
    round_randomly,
)


@frozen(eq=False)
class Sites:
    """The words of n sequences; special tokens, prompts and unknown letters are none.

    Attributes:
        tokens: Where each stands in the batch, ascending, int64 (sites,).
        bounds: Sequence i has the sites `bounds[i]` to `bounds[i + 1]`, int64 (n + 1,).
        keys: What the random numbers of each sequence come from, uint64 (n,).
    """

    tokens: Ints
    bounds: Ints
    keys: UInts

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def sizes(self) -> Ints:
        """Sites of each sequence, int64 (n,)."""
        return np.diff(self.bounds)

    @property
    def owners(self) -> Ints:
        """The sequence of each site, int64 (sites,)."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def take(self, sequences: Ints) -> Sites:
        """The sites of some sequences."""
        if len(sequences) == len(self):
            return self
        sizes = self.sizes[sequences]
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        index = np.arange(bounds[-1]) + np.repeat(self.bounds[sequences] - bounds[:-1], sizes)
        return Sites(self.tokens[index], bounds, self.keys[sequences])

    def without(self, taken: NDArray[np.bool_]) -> Sites:
        """The sites that are left when some, bool (sites,), are taken."""
        left = np.flatnonzero(~taken)
        return Sites(self.tokens[left], np.searchsorted(left, self.bounds), self.keys)

    def runs(self) -> Sites:
        """The same sites, by stretches of neighbours in place of sequences."""
        breaks = np.ones(len(self.tokens), bool)
        breaks[1:] = np.diff(self.tokens) != 1
        breaks[self.bounds[:-1][self.sizes > 0]] = True
        starts = np.flatnonzero(breaks)
        homes = np.searchsorted(self.bounds, starts, side="right") - 1
        keys = draw(keys_for(self.keys, Purpose.RUN)[homes], starts - self.bounds[homes])
        return Sites(self.tokens, np.concatenate([starts, [len(self.tokens)]]), keys)


def width_of(alphabet: Alphabet) -> int:
    """Neighbouring tokens that must be masked to hide one letter."""
    return alphabet.k if alphabet.stride < alphabet.k else 1


def budgets(sites: Sites, rate: float) -> Ints:
    """How many sites of each sequence are masked, rounded up or down at random."""
    numbers = draw(keys_for(sites.keys, Purpose.BUDGET), np.zeros(len(sites), np.int64))
    return round_randomly(sites.sizes * rate, numbers)


def place_singles(
    sites: Sites, amounts: Floats | Ints, width: int, count: Purpose, place: Purpose
) -> Ints:
    """Choose single letters: for overlapping k-mers, blocks of the k tokens that show one.

    A sequence of fewer sites than a block is masked whole or not at all.

    Args:
        sites: Where.
        amounts: Sites to mask in each sequence; the number of blocks is rounded at random.
        width: Sites of a block.
        count: What the random numbers of the rounding are for.
        place: What those of the places are for.

    Returns:
        The numbers of the chosen sites, int64, ascending.
    """
    blocks = np.maximum(np.minimum(sites.sizes, width), 1)
    numbers = draw(keys_for(sites.keys, count), np.zeros(len(sites), np.int64))
    wanted = np.minimum(round_randomly(amounts / blocks, numbers), sites.sizes // blocks)
    return place_blocks(sites, np.repeat(blocks, wanted), wanted, keys_for(sites.keys, place))


def place_blocks(sites: Sites, lengths: Ints, wanted: Ints, keys: UInts, gap: int = 0) -> Ints:
    """Place blocks at random, without overlap: each arrangement has the same probability.

    Args:
        sites: Where.
        lengths: Of each block, in its order from the left, sequence after sequence.
        wanted: Blocks of each sequence, which must fit, (n,).
        keys: What the places come from, (n,).
        gap: Sites that are left free between two blocks, at least.

    Returns:
        The numbers of the sites in the blocks, int64, ascending.
    """
    firsts = np.concatenate([[0], np.cumsum(wanted)])
    grown = lengths - 1 + gap
    before = np.concatenate([[0], np.cumsum(grown)])
    slots = sites.sizes - np.diff(before[firsts]) + np.where(wanted > 0, gap, 0)
    starts = choose(keys, slots, wanted) + before[:-1]
    starts += np.repeat(sites.bounds[:-1] - before[firsts[:-1]], wanted)
    return ranges(starts, lengths)


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """The whole numbers of each range, one after the other."""
    if len(lengths) and lengths.max() == 1:
        return starts
    ends = np.cumsum(lengths)
    total = ends[-1] if len(ends) else 0
    numbers: Ints = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return numbers
