"""`Tally`: losses and hits by why a token was to be predicted."""

from __future__ import annotations

from typing import Any

import numpy as np

from riboswitch.masking import Origin
from riboswitch.training.examples import Example
from riboswitch.training.learner import Learner, Predicted


class Tally:
    """Sums of one step, or of one look at the held-out sequences."""

    def __init__(self) -> None:
        self.losses, self.hits, self.counts = (np.zeros(len(Origin)) for _ in range(3))
        self.tokens = 0
        self.stops = False  # whether this process, and then any, was asked to stop

    def add(self, example: Example, predicted: Predicted) -> None:
        """Count one micro-batch."""
        kinds = example.origins
        size = len(Origin)
        if example.counts:
            self.losses += np.bincount(kinds, predicted.losses, size)
            self.hits += np.bincount(kinds, predicted.hits, size)
            self.counts += np.bincount(kinds, minlength=size)
            self.tokens += len(example.work.batch.ids)

    def summary(self, learner: Learner, alpha: float) -> dict[str, Any]:
        """Means over all processes: the loss and its parts, and accuracy by strategy.

        What nothing was predicted of is left out.
        """
        rest = [float(self.tokens), float(self.stops)]
        parts = np.concatenate([self.losses, self.hits, self.counts, rest])
        *means, (tokens, stops) = np.split(
            learner.total(parts), [len(Origin) * i for i in (1, 2, 3)]
        )
        self.stops = bool(stops)
        losses, hits, counts = means
        words = np.arange(len(Origin)) != Origin.TYPE
        said = {"loss": 0.0}
        if many := counts[words].sum():
            said["mlm"] = float(losses[words].sum() / many)
            said["accuracy"] = float(hits[words].sum() / many)
            said["loss"] += said["mlm"]
        if counts[Origin.TYPE]:
            said["cls"] = float(losses[Origin.TYPE] / counts[Origin.TYPE])
            said["loss"] += alpha * said["cls"]
        for kind in Origin:
            if counts[kind]:
                said[f"accuracy_{kind.name.lower()}"] = float(hits[kind] / counts[kind])
        return {**said, "tokens": int(tokens)}
