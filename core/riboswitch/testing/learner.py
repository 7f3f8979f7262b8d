"""`LearnerContract`: what every backend that trains keeps to."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Array, Backbone
from riboswitch.testing.learner_case import copied, same_bits, weights_of
from riboswitch.testing.learner_dropout import Dropout
from riboswitch.testing.learner_judge import lively, logits_of, trained
from riboswitch.testing.learner_losses import Losses
from riboswitch.testing.learner_steps import Steps
from riboswitch.testing.learner_works import work_of
from riboswitch.testing.tolerances import TOLERANCES
from riboswitch.training.learner import Learner, TrainingBackend
from riboswitch.weights import shown


class LearnerContract(Losses, Dropout, Steps):
    """The contract of a backend that trains, beside `BackendContract`. A subclass states which:

        class TestMineLearns(LearnerContract):
            backend = "mine"

    NumPy in float64 is the judge of losses, differences of its losses that of gradients, and
    AdamW in NumPy that of steps: no framework that trains is needed for it.

    Attributes:
        backend: Its name, as in `load(…, backend=name)`; its `BackendEntry.trains` is true.
        device: The one to test on. One subclass for each device.
        sizes: Values of every architecture that is tried, for a backend that refuses the usual
            small ones: `{"hidden_size": 128, "num_heads": 2}`.
        half_tolerance: For losses in bfloat16, where a backend strays more than the table
            allows: the mean absolute difference over the mean size, 0.25 at most, and the
            reason: `{"bfloat16": (0.08, "its tables have 8 bits")}`.
    """  # noqa: D415  # an example follows

    backend: ClassVar[str]

    def test_it_is_announced_as_one_that_trains(self) -> None:
        """And it has what `TrainingBackend` asks for."""
        assert self.entry.trains, "its entry does not say that it trains"
        assert isinstance(self.started, TrainingBackend), "it has no `learner` and `process`"

    def test_one_process_is_alone(self) -> None:
        """It is the first of one, and what it gives is the total."""
        _, architecture = self.some()
        learner = self.learner(architecture)
        assert self.trainer.process() == (0, 1)
        assert (learner.rank, learner.world) == (0, 1)
        numbers = np.array([0.1, -1e-9, 2.0**40 + 1, 7.0])
        found = learner.total(numbers.copy())
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float64
        assert np.array_equal(found, numbers)

    def test_it_begins_with_copies_of_the_weights(self) -> None:
        """Those of a mapped file too: neither changes when the other does."""
        for name, architecture in self.shapes():
            for view in (np.asarray, shown):
                given = lively(architecture)
                learner = self.learner(architecture, {n: view(w) for n, w in given.items()})
                same_bits(weights_of(learner), lively(architecture), f"{name}, at first")
                self.step(learner, work_of(architecture))
                same_bits(given, lively(architecture), f"{name}, given and learned from")
                before = weights_of(learner)
                for array in given.values():
                    array[...] = 7
                same_bits(weights_of(learner), before, f"{name}, where those given change")

    def test_the_backbone_is_the_model_as_it_stands(self) -> None:
        """Its results are those of its weights, without dropout, before and after a step."""
        name, architecture = self.some()
        work = work_of(architecture)
        learner = self.learner(architecture, dropout=0.4)
        assert isinstance(learner.backbone, Backbone)
        assert learner.backbone.module is not None
        seen = []
        for what in ("at first", "after a work", "after a step"):
            found = self.run(learner.backbone, work.batch, ("logits",))["logits"]
            weights = weights_of(learner)
            assert {w.dtype for w in weights.values()} == {np.dtype("f4")}, what
            expected = logits_of(architecture, weights, work)[: len(work.places)]
            far = float(np.abs(np.concatenate(found)[work.places] - expected).max())
            most = TOLERANCES["backends", "float32"]
            assert far <= most, f"{name}, {what}: logits are {far:.2g} off, more than {most:.2g}"
            seen.append(expected)
            if what == "at first":
                self.accumulate(learner, work)
            elif what == "after a work":
                self.update(learner)
        assert np.array_equal(seen[1], seen[0]), "weights change before a step"
        assert np.abs(seen[2] - seen[1]).max() > 1e-3, "its weights are not those of after a step"

    def test_losses_fall(self) -> None:
        """The same few works, learned again and again."""
        _, architecture = self.some()
        works = [work_of(architecture, seed) for seed in (0, 1)]
        learner = self.learner(architecture, eps=1e-8, weight_decay=0.0)

        def total() -> float:
            return sum(float(self.evaluate(learner, w).losses @ w.weights) for w in works)

        before = total()
        for _ in range(20):
            self.step(learner, *works, rate=3e-3)
        assert total() < 0.5 * before

    def test_names_shapes_and_dtypes_of_the_state(self) -> None:
        """None before the first step; then two for each weight but the pooler's."""
        for name, architecture in self.shapes():
            learner, shapes = self.learner(architecture), architecture.parameter_shapes()
            assert len(learner.state()) == 0, f"{name}: a state before the first step"
            self.step(learner, work_of(architecture))
            names = trained(architecture)
            state = learner.state()
            wanted = {f"{kind}.{n}" for kind in ("mean", "square") for n in names}
            assert {*state} == wanted, name
            for key in wanted:
                kind, _, weight = key.partition(".")
                assert state[key].dtype == np.float32, f"{name}: {key}"
                assert state[key].shape == shapes[weight], f"{name}: {key}"
                assert kind == "mean" or np.min(state[key]) >= 0, f"{name}: {key}"

    def test_the_pooler_is_not_trained(self) -> None:
        """It stays, bit for bit: nothing that is predicted goes through it."""
        for name, architecture in self.shapes():
            learner, before = self.learner(architecture), lively(architecture)
            self.step(learner, work_of(architecture))
            after = weights_of(learner)
            still = {n for n in before if np.array_equal(before[n], after[n])}
            assert still == before.keys() - {*trained(architecture)}, name

    def test_what_is_restored_goes_on_as_if_it_had_not_stopped(self) -> None:
        """To the same losses, weights and means; what was given to `restore` stays."""
        for name, architecture in self.shapes():
            first = self.learner(architecture, dropout=0.1, clip=1.0)
            self._learn(architecture, first, 3)
            weights, state = weights_of(first), copied(first.state())
            given = copied(state)
            second = self.learner(architecture, weights, dropout=0.1, clip=1.0)
            second.restore(given, 3)
            same_bits(copied(second.state()), state, f"{name}, restored")
            same_bits(weights_of(second), weights, f"{name}, restored")
            losses = [self._learn(architecture, x, 3) for x in (first, second)]
            self.alike({"losses": losses[1]}, {"losses": losses[0]}, f"{name}, going on")
            self.alike(weights_of(second), weights_of(first), f"{name}, going on")
            self.alike(copied(second.state()), copied(first.state()), f"{name}, going on")
            same_bits(given, state, f"{name}: what was given to restore")

    def test_restoring_nothing_is_a_beginning(self) -> None:
        """An empty state, of no steps."""
        _, architecture = self.some()
        first, second = self.learner(architecture), self.learner(architecture)
        second.restore({}, 0)
        assert len(second.state()) == 0
        losses = [self._learn(architecture, x, 2) for x in (first, second)]
        self.alike({"losses": losses[1]}, {"losses": losses[0]}, "after restoring nothing")
        self.alike(weights_of(second), weights_of(first), "after restoring nothing")

    def _learn(self, architecture: Architecture, learner: Learner, steps: int) -> Array:
        """Make so many steps of two works each; all losses in a row."""
        losses = []
        for seed in range(steps):
            works = [work_of(architecture, 2 * seed + i) for i in (0, 1)]
            losses += [done.losses for done in self.accumulate(learner, *works)]
            self.update(learner)
        return np.concatenate(losses)
