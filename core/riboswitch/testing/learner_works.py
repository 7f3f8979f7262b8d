"""What learners are tested with: works that hide nothing, and parts of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from riboswitch.architecture import Architecture
from riboswitch.testing.shapes import CHANGES, batch_of, shape
from riboswitch.training.learner import Work

LENGTHS = (2, 5, 5, 9, 13)
TAIL = (1, 1, 3, 3, 1)
POOLED = (0, 2, 3, 4)
TRAINABLE = tuple(name for name in CHANGES if shape(name, {}).lm_head)
"""Names of the shapes that have a head."""


def work_of(architecture: Architecture, seed: int = 0) -> Work:
    """Draw a work: first and last tokens to predict too, and a sequence without residues to pool.

    Labels weigh unequally, and every fifth one nothing.
    """
    batch, rng = batch_of(architecture, LENGTHS, seed), np.random.default_rng(seed)
    chosen = rng.random(len(batch.ids)) < 0.4
    chosen[[*batch.offsets[1:3], -1]] = True
    places, sequences = np.flatnonzero(chosen), np.array(POOLED, np.int64)
    count = len(places) + len(sequences)
    weights = rng.uniform(0.2, 2, count) / count
    weights[::5] = 0
    return Work(
        batch=batch,
        places=places,
        sequences=sequences,
        tail=np.array(TAIL, np.int64),
        labels=rng.integers(0, architecture.vocab_size, count),
        weights=weights.astype(np.float32),
        seed=seed,
    )


def empty_work(architecture: Architecture) -> Work:
    """The same sequences, and nothing to predict."""
    work, nothing = work_of(architecture), np.zeros(0, np.int64)
    return Work(work.batch, nothing, nothing, work.tail, nothing, np.zeros(0, np.float32))


def part_of(work: Work, sequences: Sequence[int]) -> tuple[Work, NDArray[np.bool_]]:
    """Some of its sequences with what is to be predicted from them, and which labels these are."""
    order = np.array(sequences, np.int64)
    batch, owners = work.batch, np.repeat(np.arange(len(work.batch)), work.batch.lengths)
    owned, pooled = (np.isin(x, order) for x in (owners[work.places], work.sequences))
    kept = np.concatenate([owned, pooled])
    rows = np.flatnonzero(np.isin(owners, order))
    part = Work(
        batch=batch.take(order),
        places=np.searchsorted(rows, work.places[owned]),
        sequences=np.searchsorted(order, work.sequences[pooled]),
        tail=work.tail[order],
        labels=work.labels[kept],
        weights=work.weights[kept],
        seed=work.seed,
    )
    return part, kept
