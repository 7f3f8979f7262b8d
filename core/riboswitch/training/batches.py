"""Which records make which step: a pure function of the seed, the epoch and the lengths.

It knows nothing of processes and workers. A step is a list of micro-batches of similar length and
at most so many tokens each; process r of p takes the micro-batches r, r + p, … of each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from riboswitch.batch import by_budget
from riboswitch.checks import LARGEST
from riboswitch.masking.noise import Purpose, draw, keys_for, record_keys

_POOL = 64
"""Micro-batches that are sorted by length together; more would repeat the same neighbours."""

Ints = NDArray[np.int64]


@frozen(eq=False)
class Batches:
    """The steps of each epoch.

    Attributes:
        records: Numbers of the records to take, int64 (n,).
        tokens: Tokens of each of them, int64 (n,).
        budget: Tokens of a micro-batch.
        accumulate: Micro-batches of a step.
        seed: What the order depends on.
    """

    records: Ints
    tokens: Ints
    budget: int
    accumulate: int
    seed: int

    def epoch(self, number: int) -> list[list[Ints]]:
        """The steps of an epoch, each a list of micro-batches, each the numbers of its records."""
        batches = [batch for pool in self._pools(number) for batch in self._cut(pool)]
        batches = [batches[i] for i in self._order(number, len(batches), Purpose.BATCH_ORDER)]
        return [batches[i : i + self.accumulate] for i in range(0, len(batches), self.accumulate)]

    def in_order(self) -> list[Ints]:
        """All records in micro-batches that never change, longest first."""
        return self._cut(np.arange(len(self.records)))

    def steps_of(self, epochs: float) -> int:
        """Steps that so many epochs have, which may differ by a few."""
        whole = int(epochs)
        steps: float = sum(len(self.epoch(epoch)) for epoch in range(whole))
        if epochs > whole:
            steps += (epochs - whole) * len(self.epoch(whole))
        return max(1, math.ceil(steps))

    def _pools(self, number: int) -> Iterator[Ints]:
        """Shuffled places in `records`, cut into pools of about `_POOL` micro-batches."""
        order = self._order(number, len(self.records), Purpose.ORDER)
        pools = np.cumsum(self.tokens[order]) // min(self.budget * _POOL, LARGEST)
        cuts = np.flatnonzero(np.diff(pools)) + 1
        yield from np.split(order, cuts)

    def _cut(self, pool: Ints) -> list[Ints]:
        cut = by_budget(self.tokens[pool], self.budget)
        return [self.records[pool[batch]] for batch in cut]

    def _order(self, number: int, count: int, purpose: Purpose) -> Ints:
        """The numbers from 0 to below `count`, shuffled."""
        key = keys_for(record_keys(self.seed, number, np.zeros(1, np.uint64)), purpose)
        return np.argsort(draw(np.repeat(key, count), np.arange(count)), kind="stable")
