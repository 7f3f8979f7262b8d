"""What a backend must bring so that models train on it: the seam between core and framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch
from riboswitch.interfaces import Array, Backbone, Backend, Weights
from riboswitch.optimization import Optimization


@frozen(eq=False)
class Work:
    """One micro-batch and what is to be predicted from it.

    There are m tokens and t whole sequences to predict, perhaps none; whatever has an entry for
    each has the tokens first.

    Attributes:
        batch: What the model sees, sequences sorted by length.
        places: Tokens to predict, int64 (m,), ascending.
        sequences: Sequences whose type is to be predicted, by the head that predicts tokens, from
            the mean of the states of their residues, int64 (t,), ascending. These are all tokens
            but the first one and the tail; where there are none the mean is 0.
        tail: Special tokens at the end of each sequence, which that mean leaves out, int64 (n,).
        labels: Token ids, int64 (m + t,).
        weights: Of each in the loss, float32 (m + t,).
        seed: What dropout depends on, and on nothing else; below 2**31.
    """

    batch: TokenBatch
    places: NDArray[np.int64]
    sequences: NDArray[np.int64]
    tail: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    seed: int = 0


class Predicted(NamedTuple):
    """How well each label of a `Work` was predicted.

    Attributes:
        losses: Cross-entropy in nats, unweighted, float64 (m + t,).
        hits: Whether the likeliest token was the right one, bool (m + t,).
    """

    losses: NDArray[np.float64]
    hits: NDArray[np.bool_]


class Learner(Protocol):
    """A model in training on one backend, in one or several processes that hold the same.

    Attributes:
        rank: The number of this process, from 0.
        world: How many there are.
        backbone: The model as it stands now: its weights those after the last step, itself in
            evaluation mode at all times but while `accumulate` runs.
    """

    rank: int
    world: int
    backbone: Backbone

    def accumulate(self, work: Work, *, last: bool) -> Predicted:
        """Add the gradients of sum(weights * losses) to those that are there.

        Args:
            work: One of this process's.
            last: Whether a `step` follows; several processes may exchange gradients now.

        Raises:
            MemoryError: Memory ran out, the device's too.
        """

    def step(self, rate: float) -> float:
        """Sum the gradients of all processes, clip them, apply AdamW, forget them.

        All canonical weights are trained but the pooler's, which nothing that is predicted goes
        through. Where there is no gradient, as in rows of a table that no token took or after a
        work with nothing to predict, it is 0 and AdamW goes on.

        Args:
            rate: The learning rate of this step, whatever `Optimization.peak` is; it may be 0.

        Returns:
            The norm of all gradients together, before they were clipped.
        """

    def evaluate(self, work: Work) -> Predicted:
        """Predict without dropout and without gradients; nothing changes by it."""

    def total(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up what each process gives, element by element."""

    def state(self) -> Mapping[str, Array]:
        """AdamW's means as they stand now, float32, each made when asked for.

        `mean.NAME` and `square.NAME` for each canonical weight that is trained: the same on every
        backend. None before the first step.
        """

    def restore(self, state: Mapping[str, Array], steps: int) -> None:
        """Go on from what `state` returned after so many steps; the arrays are copied.

        On a CPU that is to the very same bits. An empty state, of 0 steps, is a beginning.
        """


@runtime_checkable
class TrainingBackend(Backend, Protocol):
    """A backend whose `BackendEntry.trains` is true."""

    def learner(
        self,
        architecture: Architecture,
        weights: Weights,
        *,
        device: str,
        dtype: str,
        optimization: Optimization,
    ) -> Learner:
        """Make a model that is to be trained.

        Started by the framework's own launcher, it joins the other processes.

        Args:
            architecture: Of the model; it has an `lm_head`.
            weights: Where it begins. They are copied.
            device: As in `Backend.build`.
            dtype: `float32`, or `bfloat16`: weights, their gradients and sums are float32 then
                too, and products are bfloat16's.
            optimization: AdamW's numbers, and dropout.
        """

    def process(self) -> tuple[int, int]:
        """Number of this process, from 0, and how many the launcher started; joins nobody."""
