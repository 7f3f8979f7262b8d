"""`Feed`: the examples of each step, made while the learner works on those before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from riboswitch.training.batches import Batches
from riboswitch.training.examples import Example, Examples

Ints = NDArray[np.int64]


@frozen(kw_only=True, eq=False)
class Feed:
    """The share of one process.

    Attributes:
        batches: The steps of each epoch.
        examples: How examples are made.
        steps: Of the whole run.
        workers: Threads that make them; so many steps, and as many again, are made ahead.
        rank: The number of this process.
        world: How many there are.
    """

    batches: Batches
    examples: Examples
    steps: int
    workers: int
    rank: int
    world: int

    def after(self, done: int, pool: ThreadPoolExecutor) -> Iterator[tuple[int, list[Example]]]:
        """Number and examples of each step that is left, which the threads of a pool make."""
        left = self._left(done)
        waiting: list[tuple[int, Future[list[Example]]]] = []
        try:
            while True:
                for number, epoch, step in islice(left, 2 * self.workers - len(waiting)):
                    waiting.append((number, pool.submit(self._make, step, epoch)))
                if not waiting:
                    return
                number, future = waiting.pop(0)
                yield number, future.result()
        finally:
            for _, future in waiting:
                future.cancel()

    def _make(self, step: list[Ints], epoch: int) -> list[Example]:
        mine = [self.examples.make(s, epoch) for s in step[self.rank :: self.world]]
        # Who has none computes another's, which then counts for nothing.
        return mine or [self.examples.make(step[0], epoch).muted()]

    def _left(self, done: int) -> Iterator[tuple[int, int, list[Ints]]]:
        """Number, epoch and all micro-batches of each step that is left."""
        before, epoch = 0, 0
        while done < self.steps > before:
            steps = self.batches.epoch(epoch)
            for number, step in enumerate(steps, before + 1):
                if done < number <= self.steps:
                    yield number, epoch, step
            before, epoch = before + len(steps), epoch + 1
