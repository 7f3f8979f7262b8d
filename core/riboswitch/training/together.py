"""What the first process does alone, and what the others do when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from riboswitch.errors import TrainingError
from riboswitch.training.learner import Learner


@contextmanager
def together(learner: Learner) -> Iterator[None]:
    """Let all processes wait for what the first one does, and end where it fails.

    Whoever only raised an error would leave the others waiting for numbers that never come.

    Raises:
        TrainingError: Another process failed, which raises its own error.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    failed = learner.total(np.array([float(error is not None)]))
    if error is not None:
        raise error
    if failed.any():
        raise TrainingError(
            "the first process ended with an error, which it tells.\nSee its output."
        )
