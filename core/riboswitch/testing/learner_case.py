"""`LearnerCase`: how the tests of a learner make one, let it learn and compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from attrs import evolve

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Array, Weights
from riboswitch.optimization import Optimization
from riboswitch.registry import refusal
from riboswitch.testing.backend_case import BackendCase
from riboswitch.testing.learner_judge import Arrays, lively, trained
from riboswitch.testing.shapes import shape
from riboswitch.testing.tolerances import TOLERANCES
from riboswitch.training.learner import Learner, Predicted, TrainingBackend, Work

PLAIN = Optimization(beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.5, clip=None)
"""Numbers that are nobody's defaults: each would show where it is left out."""
RATE = 1e-2


class LearnerCase(BackendCase):
    """What the tests of a learner share; see `LearnerContract` for the facts."""

    backend: ClassVar[str]

    @property
    def trainer(self) -> TrainingBackend:
        """The backend, its framework imported."""
        started = self.started
        assert isinstance(started, TrainingBackend), "it has no `learner` and `process`"
        return started

    def shapes(self) -> Iterator[tuple[str, Architecture]]:
        """Names and architectures that have a head and that it does not refuse."""
        return ((name, a) for name, a in super().shapes() if a.lm_head)

    def shape(self, name: str) -> Architecture | None:
        """One of `TRAINABLE`; None where it is refused, which `BackendContract` tests."""
        architecture = shape(name, self.sizes)
        return None if refusal(self.entry, architecture) else architecture

    def some(self) -> tuple[str, Architecture]:
        """The one for what does not depend on the architecture."""
        return next(self.shapes())

    def learner(
        self,
        architecture: Architecture,
        weights: Weights | None = None,
        dtype: str = "float32",
        **changes: Any,
    ) -> Learner:
        """Make a learner, of lively weights unless others are given."""
        with self.started.single_thread():
            return self.trainer.learner(
                architecture,
                lively(architecture) if weights is None else weights,
                device=self.device,
                dtype=dtype,
                optimization=evolve(PLAIN, **changes),
            )

    def accumulate(self, learner: Learner, *works: Work, last: bool = True) -> list[Predicted]:
        """Let it see some works; on one core, as all of this."""
        with self.started.single_thread():
            ends = [last and i == len(works) for i in range(1, len(works) + 1)]
            return [learner.accumulate(w, last=end) for w, end in zip(works, ends, strict=True)]

    def step(self, learner: Learner, *works: Work, rate: float = RATE) -> float:
        """Let it see some works and learn from them; the norm that it returns."""
        self.accumulate(learner, *works)
        return self.update(learner, rate)

    def update(self, learner: Learner, rate: float = RATE) -> float:
        """Let it learn from what it has seen."""
        with self.started.single_thread():
            return learner.step(rate)

    def evaluate(self, learner: Learner, work: Work) -> Predicted:
        """Ask for what it predicts."""
        with self.started.single_thread():
            return learner.evaluate(work)

    def gradients(
        self, architecture: Architecture, weights: Arrays, *works: Work, dropout: float = 0.0
    ) -> Arrays:
        """What a new learner has for gradients, which its first means show."""
        learner = self.learner(architecture, weights, dropout=dropout)
        self.step(learner, *works, rate=0.0)
        state = learner.state()
        assert state, "there is no state after a step"
        share = 1 - PLAIN.beta1
        return {n: np.array(state[f"mean.{n}"], "f8") / share for n in trained(architecture)}

    def alike(self, found: Arrays, expected: Arrays, what: str) -> None:
        """Compare what one backend came to twice.

        That is the same bits on a CPU, and up to what a GPU's kernels round differently.
        """
        if self.device == "cpu":
            same_bits(found, expected, what)
        assert [*found] == [*expected], what
        for name, array in expected.items():
            close(found[name], array, TOLERANCES["learning", "float32"], f"{what}: {name}")

    def alike_predicted(self, found: Predicted, expected: Predicted, what: str) -> None:
        """The same of losses."""
        self.alike({"losses": found.losses}, {"losses": expected.losses}, what)


def copied(arrays: Weights) -> dict[str, Array]:
    """Copies that last."""
    return {name: np.array(arrays[name]) for name in arrays}


def weights_of(learner: Learner) -> dict[str, Array]:
    """Its weights as they stand now, as a checkpoint has them."""
    return copied(learner.backbone.canonical())


def same_bits(found: Arrays, expected: Arrays, what: str) -> None:
    """Compare what must not change, on any device."""
    assert [*found] == [*expected], what
    for name, array in expected.items():
        assert np.array_equal(found[name], array), f"{what}: {name} is not the same"


def close(found: Array, expected: Array, share: float, what: str, *, floor: float = 1e-7) -> None:
    """Compare two arrays by their largest difference, over the largest number of the second."""
    assert found.shape == expected.shape, f"{what}: {found.shape}, not {expected.shape}"
    assert np.isfinite(found).all(), f"{what} is not finite"
    far = float(np.abs(np.asarray(found, "f8") - expected).max(initial=0))
    most = share * float(np.abs(expected).max(initial=0)) + floor
    assert far <= most, f"{what} is {far:.2g} off, more than {most:.2g}"
