"""What a learner predicts: NumPy in float64 is the judge."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve

from riboswitch.interfaces import Array
from riboswitch.testing.learner_case import LearnerCase, copied, weights_of
from riboswitch.testing.learner_judge import lively, logits_of, predicted
from riboswitch.testing.learner_works import TRAINABLE, empty_work, work_of
from riboswitch.testing.tolerances import TOLERANCES
from riboswitch.training.learner import Predicted, Work

CLOSE_CALL = 1e-2
"""Two tokens whose scores differ by less may change places."""


class Losses(LearnerCase):
    """Losses and hits."""

    @pytest.mark.parametrize("name", TRAINABLE)
    def test_losses_and_hits_are_those_of_numpy(self, name: str) -> None:
        """Of tokens and of whole sequences, in training without dropout and in evaluation."""
        architecture = self.shape(name)
        if architecture is None:
            return
        work = work_of(architecture)
        logits = logits_of(architecture, lively(architecture), work)
        work.labels[::2] = logits.argmax(-1)[::2]
        learner = self.learner(architecture)
        for found in (self.evaluate(learner, work), *self.accumulate(learner, work)):
            agree(found, logits, work, TOLERANCES["backends", "float32"], name)

    def test_other_specials_are_not_pooled(self) -> None:
        """As many as `tail` says at the end, and always the first token."""
        name, architecture = self.some()
        work, weights = work_of(architecture), lively(architecture)
        learner = self.learner(architecture)
        for tail in (np.ones_like(work.tail), np.zeros_like(work.tail)):
            other = evolve(work, tail=tail)
            logits = logits_of(architecture, weights, other)
            found = self.evaluate(learner, other)
            agree(found, logits, other, TOLERANCES["backends", "float32"], f"{name}, {tail}")

    def test_a_work_with_nothing_to_predict_gives_nothing(self) -> None:
        """Neither in training nor in evaluation."""
        _, architecture = self.some()
        learner, work = self.learner(architecture), empty_work(architecture)
        for found in (self.evaluate(learner, work), *self.accumulate(learner, work)):
            assert (found.losses.shape, found.hits.shape) == ((0,), (0,))

    def test_evaluation_changes_nothing(self) -> None:
        """Neither weights, nor gradients, nor means, nor what is dropped next."""
        _, architecture = self.some()
        one, two = (work_of(architecture, seed) for seed in (0, 1))
        ends = []
        for looks in (False, True):
            learner = self.learner(architecture, dropout=0.3)
            for _ in range(2):
                self.accumulate(learner, one, last=False)
                if looks:
                    self.evaluate(learner, two)
                self.step(learner, two)
                if looks:
                    self.evaluate(learner, one)
            ends.append((weights_of(learner), copied(learner.state())))
        for found, expected in zip(ends[1], ends[0], strict=True):
            self.alike(found, expected, "with looks between")

    def test_half_precision_keeps_precise_weights(self) -> None:
        """Where bfloat16 is declared: losses are near, and a small step is not rounded away."""
        if "bfloat16" not in self.dtypes:
            return
        for name, architecture in self.shapes():
            work, weights = work_of(architecture), lively(architecture)
            expected = predicted(logits_of(architecture, weights, work), work).losses
            learner = self.learner(architecture, dtype="bfloat16", weight_decay=0.0)
            before = weights_of(learner)
            assert all(np.array_equal(before[n], weights[n]) for n in weights), name
            for found in (self.evaluate(learner, work), *self.accumulate(learner, work)):
                far = float(np.abs(found.losses - expected).mean() / expected.mean())
                most = TOLERANCES["backends", "bfloat16"]
                most, _ = self.half_tolerance.get("bfloat16", (most, ""))
                assert far <= most, f"{name}: losses in bfloat16 are {far:.2g} off"
            self.step(learner, work, rate=1e-5)
            state, after = learner.state(), weights_of(learner)
            kinds = {a.dtype for a in (*after.values(), *(state[n] for n in state))}
            assert kinds == {np.dtype("f4")}, name
            moves = np.abs(after["embedding.tokens"] - before["embedding.tokens"])
            assert np.mean(moves > 0) > 0.5, f"{name}: a small step is rounded away"
            assert moves.max() < 1e-4, f"{name}: weights are rounded"


def agree(found: Predicted, logits: Array, work: Work, most: float, what: str) -> None:
    """Compare with what follows from the judge's logits."""
    expected = predicted(logits, work)
    assert found.losses.dtype == np.float64, what
    assert found.hits.dtype == np.bool_, what
    assert found.losses.shape == found.hits.shape == expected.losses.shape, what
    assert np.isfinite(found.losses).all(), f"{what}: losses are not finite"
    far = float(np.abs(found.losses - expected.losses).max())
    assert far <= most, f"{what}: a loss is {far:.2g} off, more than {most:.2g}"
    best = np.sort(logits, -1)
    clear = best[:, -1] - best[:, -2] > CLOSE_CALL
    assert np.array_equal(found.hits[clear], expected.hits[clear]), f"{what}: other hits"
