"""Gradients against differences, and steps against AdamW, both by NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve

from riboswitch.testing.learner_case import (
    PLAIN,
    RATE,
    LearnerCase,
    close,
    same_bits,
    weights_of,
)
from riboswitch.testing.learner_judge import AdamW, lively, norm_of, slopes
from riboswitch.testing.learner_works import TRAINABLE, empty_work, part_of, work_of
from riboswitch.testing.tolerances import TOLERANCES
from riboswitch.training.learner import Learner

NEAR = TOLERANCES["learning", "float32"]


class Steps(LearnerCase):
    """Gradients, and what becomes of them."""

    @pytest.mark.parametrize("name", TRAINABLE)
    def test_gradients_are_the_slopes_of_the_loss(self, name: str) -> None:
        """Of each weight, along random directions; labels weigh unequally."""
        architecture = self.shape(name)
        if architecture is None:
            return
        found = self.gradients(architecture, lively(architecture), work_of(architecture))
        expected = slopes(architecture)
        sizes = {n: float(np.mean([s**2 for _, s in ways])) for n, ways in expected.items()}
        whole = sum(sizes.values()) ** 0.5
        for weight, ways in expected.items():
            # That of the keys' bias is 0, and what a framework has there is rounding.
            most = TOLERANCES["gradients", "float32"] * (sizes[weight] ** 0.5 + 1e-3 * whole)
            for direction, slope in ways:
                far = abs(float((found[weight] * direction).sum()) - slope)
                assert far <= most, f"{name}: {weight} is {far:.2g} off, more than {most:.2g}"

    def test_gradients_of_several_works_add_up(self) -> None:
        """Two works are what one with the sequences of both is."""
        for name, architecture in self.shapes():
            work, weights = work_of(architecture), lively(architecture)
            parts = [part_of(work, sequences) for sequences in ([0, 2, 4], [1, 3])]
            (whole,) = self.accumulate(self.learner(architecture), work)
            found = self.accumulate(self.learner(architecture), *(part for part, _ in parts))
            for each, (_, labels) in zip(found, parts, strict=True):
                close(each.losses, whole.losses[labels], NEAR, f"{name}: losses of a part")
            expected = self.gradients(architecture, weights, work)
            together = self.gradients(architecture, weights, *(part for part, _ in parts))
            for weight, gradient in expected.items():
                what = f"{name}: the gradient of {weight} in two parts"
                close(together[weight], gradient, NEAR, what, floor=1e-6)

    def test_gradients_are_forgotten_after_a_step(self) -> None:
        """The same work has the same ones again, where the rate is 0 and weights stay."""
        _, architecture = self.some()
        learner, work = self.learner(architecture), work_of(architecture)
        norms = [self.step(learner, work, rate=0.0) for _ in range(3)]
        assert norms == pytest.approx([norms[0]] * 3, rel=NEAR)
        same_bits(weights_of(learner), lively(architecture), "after steps of a rate of 0")

    def test_a_step_is_one_of_adamw(self) -> None:
        """For every architecture: all rows of matrices decay, and nothing else."""
        for name, architecture in self.shapes():
            learner, weights = self.learner(architecture), lively(architecture)
            judge = AdamW(architecture, PLAIN)
            judge.weights = dict(weights)
            gradients = self.gradients(architecture, weights, work_of(architecture))
            norm = self.step(learner, work_of(architecture))
            assert norm == pytest.approx(judge.step(gradients, RATE), rel=NEAR), name
            _agree(learner, judge, RATE, name)

    @pytest.mark.parametrize("clip", [None, 1.0])
    def test_several_steps_are_those_of_adamw(self, clip: float | None) -> None:
        """Of other works and rates, one with nothing to predict among them."""
        name, architecture = self.some()
        works = [work_of(architecture, seed) for seed in range(3)]
        works.insert(2, empty_work(architecture))
        learner = self.learner(architecture, clip=clip)
        judge = AdamW(architecture, evolve(PLAIN, clip=clip))
        for rate, work in zip((1e-3, 2e-2, 5e-3, 1e-2), works, strict=True):
            judge.weights = weights_of(learner)
            gradients = self.gradients(architecture, judge.weights, work)
            norm = self.step(learner, work, rate=rate)
            assert norm == pytest.approx(judge.step(gradients, rate), rel=NEAR), name
            _agree(learner, judge, rate, f"{name}, step {judge.steps}")

    @pytest.mark.parametrize("share", [0.1, 0.9, 1.1])
    def test_gradients_are_clipped_by_the_norm_of_all(self, share: float) -> None:
        """All by the same share, and not at all below it; `step` says what it was before."""
        _, architecture = self.some()
        work = work_of(architecture)
        expected = self.gradients(architecture, lively(architecture), work)
        norm = norm_of(expected)
        learner = self.learner(architecture, clip=share * norm)
        assert self.step(learner, work) == pytest.approx(norm, rel=NEAR)
        state = learner.state()
        for name, gradient in expected.items():
            found = np.array(state[f"mean.{name}"], "f8") / (1 - PLAIN.beta1)
            close(found, min(share, 1) * gradient, NEAR, f"the clipped gradient of {name}")


def _agree(learner: Learner, judge: AdamW, rate: float, what: str) -> None:
    """Compare weights and means with the judge's."""
    weights, state = weights_of(learner), learner.state()
    assert [*weights] == [*judge.weights], what
    for name, array in judge.weights.items():
        size = float(np.abs(array).max(initial=0))
        close(weights[name], array, 0, f"{what}: {name}", floor=10 * NEAR * rate + 2e-7 * size)
    for name, mean in judge.means.items():
        close(state[f"mean.{name}"], mean, NEAR, f"{what}: mean.{name}")
        roots = np.sqrt(state[f"square.{name}"]), np.sqrt(judge.squares[name])
        close(*roots, NEAR, f"{what}: the root of square.{name}")
