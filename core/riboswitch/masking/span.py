"""Sub-sequence level: spans whose lengths have weights, which do not touch one another.

Source: Wang et al. 2024, Nature Machine Intelligence 6:548.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from math import fsum

import numpy as np

from riboswitch.masking.noise import Ints, Purpose, draw, keys_for, round_randomly, uniform
from riboswitch.masking.sites import Sites, place_blocks, place_singles


def mask_spans(
    sites: Sites, rate: float, width: int, spans: Mapping[int, float]
) -> tuple[Ints, Ints]:
    """Choose spans in each run of neighbouring sites.

    The number of spans is drawn first, so that their mean length times their mean number is the
    budget; then each length is drawn by its weight. No span is cut or dropped because the budget
    is full, which would favour short ones. A run that is shorter than the longest span is masked
    by single letters.

    Args:
        sites: What may be masked.
        rate: The share to mask.
        width: Neighbouring tokens that show one letter; a span hides `length + width - 1`.
        spans: Length in letters to weight.

    Returns:
        The numbers of the sites in spans and of those masked singly, int64.
    """
    runs = sites.runs()
    sizes = np.array(list(spans), np.int64) + width - 1
    total = fsum(spans.values())
    shares = [weight / total for weight in spans.values()]
    long = np.flatnonzero(runs.sizes >= sizes.max())
    short = np.flatnonzero(runs.sizes < sizes.max())
    return (
        _global(runs, long, _long(runs.take(long), rate, sizes, shares)),
        _global(runs, short, _short(runs.take(short), rate, width)),
    )


def _long(runs: Sites, rate: float, sizes: Ints, shares: list[float]) -> Ints:
    mean = fsum(size * share for size, share in zip(sizes.tolist(), shares, strict=True))
    numbers = draw(keys_for(runs.keys, Purpose.BUDGET), np.zeros(len(runs), np.int64))
    wanted = round_randomly(runs.sizes * rate / mean, numbers)
    order = np.arange(wanted.sum()) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    fractions = uniform(draw(np.repeat(keys_for(runs.keys, Purpose.LENGTH), wanted), order))
    lengths = sizes[np.searchsorted([*accumulate(shares)][:-1], fractions, side="right")]
    lengths, wanted = _that_fit(runs.sizes, lengths, wanted)
    return place_blocks(runs, lengths, wanted, keys_for(runs.keys, Purpose.PLACE), gap=1)


def _that_fit(room: Ints, lengths: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """Leave out the last spans of a run that has no room for all, as happens at high rates."""
    homes = np.repeat(np.arange(len(wanted)), wanted)
    ends = np.concatenate([[0], np.cumsum(lengths + 1)])
    before = ends[np.cumsum(wanted) - wanted]
    fit = ends[1:] - before[homes] <= room[homes] + 1
    return lengths[fit], np.bincount(homes[fit], minlength=len(wanted)).astype(np.int64)


def _short(runs: Sites, rate: float, width: int) -> Ints:
    amounts = runs.sizes * rate
    return place_singles(runs, amounts, width, Purpose.FILL_BUDGET, Purpose.FILL_PLACE)


def _global(runs: Sites, some: Ints, chosen: Ints) -> Ints:
    """From numbers among the sites of some runs to numbers among all."""
    if len(some) == len(runs):
        return chosen
    taken = runs.take(some)
    homes = np.searchsorted(taken.bounds, chosen, side="right") - 1
    return chosen + (runs.bounds[some] - taken.bounds[:-1])[homes]
