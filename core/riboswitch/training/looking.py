"""`Looks`: losses and accuracies on the held-out sequences, which a run never trains on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from riboswitch.errors import TrainingError
from riboswitch.training.examples import Examples
from riboswitch.training.learner import Learner
from riboswitch.training.stop import Stop
from riboswitch.training.tally import Tally

HELD_OUT_EPOCH = 2**63
"""The epoch whose masks held-out sequences have, and which is never one of training."""


@frozen(kw_only=True, eq=False)
class Looks:
    """What is looked at, and by whom.

    Attributes:
        examples: How examples are made.
        batches: The same micro-batches each time, for all processes.
        learner: Whose model it is.
        alpha: Weight of the type's loss.
        rank: The number of this process.
        world: How many there are.
    """

    examples: Examples
    batches: list[NDArray[np.int64]]
    learner: Learner
    alpha: float
    rank: int
    world: int

    def __bool__(self) -> bool:
        return bool(self.batches)

    def look(self, done: int, stop: Stop) -> dict[str, Any] | None:
        """Look at all of them after a step; None where any process was asked to stop meanwhile.

        Raises:
            TrainingError: The loss is no finite number.
        """
        tally = Tally()
        for first in range(0, len(self.batches), self.world):
            if self.learner.total(np.array([float(stop.asked)])).any():
                return None
            for records in self.batches[first + self.rank : first + self.rank + 1]:
                example = self.examples.make(records, HELD_OUT_EPOCH)
                tally.add(example, self.learner.evaluate(example.work))
        said = {"step": done, **tally.summary(self.learner, self.alpha)}
        if not math.isfinite(said["loss"]):
            raise TrainingError(
                f"the loss on the held-out sequences is {said['loss']} after step {done}.\n"
                "Take a lower learning rate, and begin anew in another folder: -o."
            )
        return said
