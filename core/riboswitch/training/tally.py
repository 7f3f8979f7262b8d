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
        """Means over all processes: the loss and its parts, and accuracy by strategy."""
        parts = np.concatenate([self.losses, self.hits, self.counts, [float(self.tokens)]])
        *means, (tokens,) = np.split(learner.total(parts), [len(Origin) * i for i in (1, 2, 3)])
        losses, hits, counts = means
        words = np.arange(len(Origin)) != Origin.TYPE
        said = {"mlm": _ratio(losses[words].sum(), counts[words].sum())}
        said["accuracy"] = _ratio(hits[words].sum(), counts[words].sum())
        said["loss"] = said["mlm"]
        if counts[Origin.TYPE]:
            said["cls"] = _ratio(losses[Origin.TYPE], counts[Origin.TYPE])
            said["loss"] += alpha * said["cls"]
        for kind in Origin:
            if counts[kind]:
                said[f"accuracy_{kind.name.lower()}"] = _ratio(hits[kind], counts[kind])
        return {**said, "tokens": int(tokens)}


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
