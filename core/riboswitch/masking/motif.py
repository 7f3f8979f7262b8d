"""Motif level: occurrences of known motifs, then of statistical ones, then single letters.

Source: Wang et al. 2024, Nature Machine Intelligence 6:548.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.masking.masked import Origin
from riboswitch.masking.motifs import Motifs
from riboswitch.masking.noise import Ints, Purpose, UInts, draw, keys_for
from riboswitch.masking.policy import words_of
from riboswitch.masking.sites import Sites, budgets, place_singles, ranges, width_of

_RANDOM_BITS = 23
_GENEROSITY = (1.8, float("inf"))
"""How many times the letters that are needed are looked at, in turn; no result depends on it."""


def mask_motifs(
    sites: Sites, ids: NDArray[np.int32], rate: float, motifs: Motifs, alphabet: Alphabet
) -> NDArray[np.uint8]:
    """Choose occurrences of motifs in each sequence until its budget is full.

    Known motifs come in an order that is drawn for each sequence, then ranked ones in theirs;
    occurrences of one motif come in random order. An occurrence that overlaps one that is taken
    is passed over. The one that would pass the budget is cut: its first sites are masked. What
    is left of the budget after the last occurrence is masked by single letters.

    Args:
        sites: What may be masked.
        ids: The tokens of the batch.
        rate: The share to mask.
        motifs: What to look for.
        alphabet: Of the tokens.

    Returns:
        For each site 0 or why it is masked: an `Origin`, uint8 (sites,).
    """
    width = width_of(alphabet)
    room = budgets(sites, rate)
    taken = np.zeros(len(sites.tokens), np.uint8)
    text = _text(sites, ids, alphabet)
    numbers, ends = motifs.find(text.letters)
    counts = np.diff(np.searchsorted(ends, text.bounds, side="right"))
    order = _order(numbers, counts, motifs, sites.keys)
    done = np.zeros(len(sites), np.int64)
    for generosity in _GENEROSITY:
        upto = _limits(numbers, counts, motifs, room, generosity)
        upto[room < width] = 0
        index = np.flatnonzero(order < np.repeat(upto, counts))
        index = index[order[index] >= np.repeat(done, counts)[index]]
        done = upto
        owners = np.searchsorted(np.cumsum(counts), index, side="right")
        local = ends[index] - text.bounds[owners]
        found = _Occurrences(owners, order[index], local, motifs.lengths[numbers[index]])
        _take(found, text, sites, alphabet, room, taken)
    return _filled(sites, taken, room, width)


class _Occurrences(NamedTuple):
    """Sequence, place of the motif in its order, end in the sequence and length, int64 each."""

    owners: Ints
    order: Ints
    ends: Ints
    lengths: Ints


class _Text(NamedTuple):
    """Letters of all sequences; where each begins, and the tokens at its ends."""

    letters: str
    bounds: Ints
    firsts: Ints
    lasts: Ints


def _text(sites: Sites, ids: NDArray[np.int32], alphabet: Alphabet) -> _Text:
    """Write what the tokens show; no letter stands where a token is no site."""
    k, stride, table = alphabet.k, alphabet.stride, words_of(alphabet).letters
    full = np.flatnonzero(sites.sizes)
    firsts, lasts = np.zeros((2, len(sites)), np.int64)
    firsts[full] = sites.tokens[sites.bounds[:-1][full]]
    lasts[full] = sites.tokens[sites.bounds[1:][full] - 1]
    bounds = np.concatenate([[0], np.cumsum((lasts - firsts) * stride + k + 1)])
    text = np.full(bounds[-1], ord(" "), np.uint8)
    places = sites.tokens * stride + np.repeat(bounds[:-1] - firsts * stride, sites.sizes)
    words = ids[sites.tokens]
    for shift in range(k):
        text[places + shift] = table[words, shift]
    return _Text(text.tobytes().decode("ascii"), bounds, firsts, lasts)


def _order(numbers: Ints, counts: Ints, motifs: Motifs, keys: UInts) -> Ints:
    """The place of each occurrence's motif in the order of its sequence: known ones first."""
    known = len(motifs.known)
    drawn = draw(np.repeat(keys_for(keys, Purpose.MOTIF), counts), numbers)
    drawn >>= np.uint64(64 - _RANDOM_BITS)
    ranked = (1 << _RANDOM_BITS) + np.minimum(numbers - known, (1 << _RANDOM_BITS) - 1)
    return np.where(numbers < known, drawn.astype(np.int64), ranked)


def _limits(numbers: Ints, counts: Ints, motifs: Motifs, room: Ints, generosity: float) -> Ints:
    """An order up to which occurrences are likely to do, so that the others need no sorting."""
    letters = counts * float(motifs.lengths[numbers].mean()) if len(numbers) else counts
    share = generosity * (room + 8) / np.maximum(letters, 1)
    return (np.where(share < 1, share, 2) * (1 << _RANDOM_BITS)).astype(np.int64)


def _take(
    found: _Occurrences,
    text: _Text,
    sites: Sites,
    alphabet: Alphabet,
    room: Ints,
    taken: NDArray[np.uint8],
) -> None:
    """Take occurrences in their order; `room` and `taken` are what is left, and are changed."""
    index = _sorted(found, sites.keys)
    owners = found.owners[index]
    starts, ends = _sites_of(_Occurrences(*(part[index] for part in found)), text, sites, alphabet)
    statistical = found.order[index] >> _RANDOM_BITS
    kinds = (Origin.KNOWN_MOTIF + statistical).astype(np.uint8)  # neighbours in Origin
    free = np.flatnonzero(_free(starts, ends - starts, taken))
    free = free[_first_come(starts[free], (ends - starts)[free], len(taken))]
    starts, sizes, owners, kinds = starts[free], (ends - starts)[free], owners[free], kinds[free]
    left = room[owners] - _before(sizes, owners)
    some = left >= width_of(alphabet)
    sizes = np.minimum(sizes, left)[some]
    taken[ranges(starts[some], sizes)] = np.repeat(kinds[some], sizes)
    room -= np.bincount(owners[some], sizes, len(room)).astype(np.int64)


def _before(sizes: Ints, owners: Ints) -> Ints:
    """The sum of the sizes that come before each in its sequence."""
    before = np.cumsum(sizes) - sizes
    return before - before[np.searchsorted(owners, owners)]


def _free(starts: Ints, sizes: Ints, taken: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether no site of each range is taken."""
    sums = np.concatenate([[0], np.cumsum(taken != 0)])
    free: NDArray[np.bool_] = sums[starts + sizes] == sums[starts]
    return free


def _first_come(starts: Ints, sizes: Ints, total: int) -> NDArray[np.bool_]:
    """Which ranges get their sites when each is served in its turn and overlaps are refused.

    In each round those are served that come before all that they overlap, and what overlaps them
    is refused; a few rounds do for any number of ranges.
    """
    served = np.zeros(len(starts), bool)
    waiting = np.arange(len(starts))
    holders = np.zeros(total, np.int64)
    while len(waiting):
        length = sizes[waiting]
        places, turns = ranges(starts[waiting], length), np.repeat(waiting, length)
        holders[places] = len(starts)
        np.minimum.at(holders, places, turns)
        firsts = np.cumsum(length) - length
        served[waiting[np.logical_and.reduceat(holders[places] == turns, firsts)]] = True
        waiting = waiting[~np.logical_or.reduceat(served[holders[places]], firsts)]
    return served


def _sorted(found: _Occurrences, keys: UInts) -> Ints:
    """Sort by sequence and order, and occurrences of one motif at random."""
    numbers = draw(keys_for(keys, Purpose.OCCURRENCE)[found.owners], found.ends)
    ties = (numbers >> np.uint64(48)).astype(np.int64)
    return np.argsort(
        (found.owners << (_RANDOM_BITS + 17)) | (found.order << 16) | ties, kind="stable"
    )


def _sites_of(
    found: _Occurrences, text: _Text, sites: Sites, alphabet: Alphabet
) -> tuple[Ints, Ints]:
    """The first site that shows a letter of each occurrence, and the one after the last."""
    k, stride = alphabet.k, alphabet.stride
    begin = text.firsts[found.owners]
    first = begin + np.maximum((found.ends - found.lengths - k + stride) // stride, 0)
    last = np.minimum(begin + (found.ends - 1) // stride, text.lasts[found.owners])
    before = np.zeros(sites.tokens[-1] + 2 if len(sites.tokens) else 0, np.int64)
    before[sites.tokens + 1] = 1
    before.cumsum(out=before)
    return before[first], before[last + 1]


def _filled(sites: Sites, taken: NDArray[np.uint8], room: Ints, width: int) -> NDArray[np.uint8]:
    """Mask single letters for what is left of each budget."""
    result = taken.copy()
    some = np.flatnonzero(room)
    if len(some):
        free = np.flatnonzero(taken == 0)
        rest = Sites(free, np.searchsorted(free, sites.bounds), sites.keys).take(some)
        singles = place_singles(rest, room[some], width, Purpose.FILL_BUDGET, Purpose.FILL_PLACE)
        result[rest.tokens[singles]] = Origin.FILL
    return result
