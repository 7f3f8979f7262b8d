"""Random numbers that are a function of where they are used: no state, no order, no platform.

A number is the hash of (seed, epoch, record, purpose, index), in 64-bit integers. The hash is the
finaliser of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA), a counter-based generator.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

UInts: TypeAlias = NDArray[np.uint64]
Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.floating[Any]]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MAX = np.uint64(2**64 - 1)
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Purpose(IntEnum):
    """What a number decides; each has numbers of its own."""

    STRATEGY = 1
    BUDGET = 2
    PLACE = 3
    LENGTH = 4
    ACTION = 5
    WORD = 6
    MOTIF = 7
    OCCURRENCE = 8
    FILL_BUDGET = 9
    FILL_PLACE = 10
    RUN = 11
    ORDER = 12
    BATCH_ORDER = 13
    CROP = 14
    PROMPT = 15
    DROPOUT = 16


def mix(values: UInts) -> UInts:
    """Hash each number, uint64 (n,) to uint64 (n,); one to one."""
    mixed = values ^ (values >> _SHIFTS[0])
    mixed *= _FACTORS[0]
    mixed ^= mixed >> _SHIFTS[1]
    mixed *= _FACTORS[1]
    mixed ^= mixed >> _SHIFTS[2]
    return mixed


def record_keys(seed: int, epoch: int, records: UInts) -> UInts:
    """One key for each record, uint64 (n,), of whole numbers below 2**64."""
    state = mix(np.array([seed], np.uint64) + _STEP)
    state = mix(state + _times(np.array([epoch], np.uint64)))
    return mix(state + _times(records))


def keys_for(keys: UInts, purpose: Purpose) -> UInts:
    """The keys of one purpose."""
    return mix(keys ^ mix(np.array([purpose], np.uint64)))


def draw(keys: UInts, index: NDArray[np.integer]) -> UInts:
    """One number for each pair of a key and an index, uint64 (n,)."""
    return mix(keys + _times(index.astype(np.uint64)))


def uniform(numbers: UInts) -> Floats:
    """Turn random numbers into random fractions: 0 <= x < 1, multiples of 2**-53."""
    return (numbers >> np.uint64(11)).astype(np.float64) * np.float64(2.0**-53)


def below(numbers: UInts, limits: Ints) -> Ints:
    """Turn random numbers into whole numbers from 0 to below `limits`, which are under 2**31."""
    high = (numbers >> np.uint64(32)) * limits.astype(np.uint64)
    return (high >> np.uint64(32)).astype(np.int64)


def round_randomly(amounts: Floats, numbers: UInts) -> Ints:
    """Round up or down so that the expectation is the amount."""
    return np.floor(amounts + uniform(numbers)).astype(np.int64)


def choose(keys: UInts, sizes: Ints, wanted: Ints) -> Ints:
    """Choose some items of each group, each subset with the same probability.

    The items with the smallest numbers are chosen. Only those whose number is so small that it
    may count are sorted.

    Args:
        keys: Of each group, (n,).
        sizes: Items in each group, (n,).
        wanted: How many to choose, at most the size, (n,).

    Returns:
        The chosen items in their group, from 0 and ascending, group after group: int64
        (sum of wanted,).
    """
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    numbers = _numbers(keys, sizes, bounds)
    candidates = _candidates(numbers, sizes, wanted, bounds)
    firsts = np.searchsorted(candidates, bounds)
    groups = np.repeat(np.arange(len(sizes)), np.diff(firsts))
    ordered = candidates[_order(groups, numbers[candidates])]
    ranks = np.arange(len(ordered)) - np.repeat(firsts[:-1], np.diff(firsts))
    chosen = np.zeros(bounds[-1], bool)
    chosen[ordered[ranks < wanted[groups]]] = True
    items: Ints = np.flatnonzero(chosen) - np.repeat(bounds[:-1], wanted)
    return items


def _times(index: UInts) -> UInts:
    return (index + np.uint64(1)) * _STEP


def _numbers(keys: UInts, sizes: Ints, bounds: Ints) -> UInts:
    """One number for each item of each group; `draw` without a multiplication for each."""
    starts = keys - bounds[:-1].astype(np.uint64) * _STEP
    return mix(np.repeat(starts, sizes) + _times(np.arange(bounds[-1], dtype=np.uint64)))


def _candidates(numbers: UInts, sizes: Ints, wanted: Ints, bounds: Ints) -> Ints:
    """Items among which the smallest of each group are."""
    share = (wanted + 3 * np.sqrt(wanted) + 2) / np.maximum(sizes, 1)
    limits = (np.minimum(share, 0.99) * 2.0**64).astype(np.uint64)
    limits[share > 0.99] = _MAX
    limits[wanted == 0] = 0
    found = np.flatnonzero(numbers <= np.repeat(limits, sizes))
    short = np.diff(np.searchsorted(found, bounds)) < wanted
    if not short.any():
        return found
    limits[short] = _MAX
    return np.flatnonzero(numbers <= np.repeat(limits, sizes))


def _order(groups: Ints, numbers: UInts) -> Ints:
    """Sort by group and number; equals, which are rare, in the order they come."""
    keys = (groups.astype(np.uint64) << np.uint64(40)) | (numbers >> np.uint64(24))
    order = np.argsort(keys)
    ordered = keys[order]
    if np.any(ordered[1:] == ordered[:-1]):
        order = np.argsort(keys, kind="stable")
    return order
