"""What is dropped: in training alone, by the seed alone, and where it should be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from attrs import evolve

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch
from riboswitch.interfaces import Array
from riboswitch.testing.learner_case import LearnerCase
from riboswitch.testing.learner_judge import lively, logits_of, predicted
from riboswitch.testing.learner_losses import agree
from riboswitch.testing.learner_works import LENGTHS, work_of
from riboswitch.testing.tolerances import TOLERANCES
from riboswitch.training.learner import Learner, Predicted, Work

ALL = 1 - 1e-9
"""A share that leaves nothing."""
SHARE, DRAWS, LIKELY = 0.4, 400, 2.5
"""Two samples of one distribution are further apart than `LIKELY` hardly ever: 1 in 100,000."""
SENSITIVE = ("norm-post", "rnaernie-gelu")
"""Shapes in which the scale shows: where norms come first they take it away again."""

SHARED, SEEDS = ("plain", "norm-post", "rinalmo", "rnaernie"), 12
"""Shapes to look at the share with."""


class Dropout(LearnerCase):
    """Dropout."""

    def test_evaluation_is_without_dropout(self) -> None:
        """Before, between and after works that are learned from."""
        _, architecture = self.some()
        work = work_of(architecture)
        expected = self.evaluate(self.learner(architecture), work)
        learner = self.learner(architecture, dropout=0.4)
        for what in ("before", "after"):
            self.alike_predicted(self.evaluate(learner, work), expected, f"{what} training")
            self.accumulate(learner, work, last=False)

    def test_dropout_depends_on_the_seed_alone(self) -> None:
        """Not on the learner, on what it did before, or on how often it was asked."""
        _, architecture = self.some()
        work = work_of(architecture)
        first, second = (self.learner(architecture, dropout=0.3) for _ in range(2))

        def losses(learner: Learner, seed: int) -> Predicted:
            return self.accumulate(learner, evolve(work, seed=seed), last=False)[0]

        expected = losses(first, 1)
        self.alike_predicted(losses(first, 1), expected, "the same seed again")
        for seed in (2, 2**31 - 1):
            assert np.abs(losses(first, seed).losses - expected.losses).max() > 1e-3, seed
        self.evaluate(second, work)
        self.alike_predicted(losses(second, 1), expected, "the same seed elsewhere")

    def test_dropout_is_where_it_should_be(self) -> None:
        """After the embedding and after both blocks of a layer: all of it leaves what is known."""
        for name, architecture in self.shapes():
            work, weights = work_of(architecture), lively(architecture)
            logits = logits_of(architecture, _emptied(architecture), work, weights)
            (found,) = self.accumulate(self.learner(architecture, dropout=ALL), work)
            most = TOLERANCES["backends", "float32"]
            agree(found, logits, work, most, f"{name}, where all is dropped")

    def test_the_share_is_that_of_single_numbers(self) -> None:
        """What is dropped has gradients of exactly 0."""
        for name, architecture in self.shapes():
            if name not in SHARED:
                continue
            zeros: dict[str, list[float]] = {}
            for seed in range(SEEDS):
                work = evolve(_alone(1), seed=seed)
                found = self.gradients(architecture, lively(architecture), work, dropout=SHARE)
                for owner in _last(architecture)[1:]:
                    rows = np.all(found[f"{owner}weight"] == 0, axis=-1)
                    zeros.setdefault(owner, []).append(float(rows.mean()))
                row = _embedded(architecture, found)
                zeros.setdefault("the embedding", []).append(float(np.mean(row == 0)))
            for owner, shares in zeros.items():
                most = 5 * (SHARE * (1 - SHARE) / (SEEDS * architecture.hidden_size)) ** 0.5
                far = abs(float(np.mean(shares)) - SHARE)
                assert far < most, f"{name}: of {owner} another share is dropped, by {far:.2g}"
                assert len({*shares}) > 1, f"{name}: of {owner} always as much is dropped"

    def test_each_token_has_its_own_dropout(self) -> None:
        """What is dropped in one place of a sequence is not in another."""
        architecture = self.shape("plain")
        if architecture is None:
            return
        work = evolve(work_of(architecture), sequences=np.zeros(0, np.int64))
        count = len(work.places)
        work = evolve(work, labels=work.labels[:count], weights=work.weights[:count])
        found = self.gradients(architecture, lively(architecture), work, dropout=SHARE)
        rows = found["embedding.positions"][5 : max(LENGTHS)] == 0
        assert len({row.tobytes() for row in rows}) == len(rows)

    def test_what_is_left_is_scaled_up(self) -> None:
        """By 1 / (1 - share): losses of many tokens are spread as NumPy's are."""
        for name in SENSITIVE:
            architecture = self.shape(name)
            if architecture is None:
                continue
            work = _alone(DRAWS)
            (found,) = self.accumulate(self.learner(architecture, dropout=SHARE), work)
            rng = np.random.default_rng(0)
            expected = np.array([_drawn(architecture, rng) for _ in range(DRAWS)])
            far = _spread(found.losses, expected) / np.sqrt(2 / DRAWS)
            assert far < LIKELY, f"{name}: losses with dropout are spread otherwise, by {far:.2g}"


def _alone(count: int) -> Work:
    """So many sequences of one token, which is to be predicted."""
    none = np.zeros(0, np.int64)
    return Work(
        batch=TokenBatch.from_sequences([[1]] * count),
        places=np.arange(count),
        sequences=none,
        tail=np.zeros(count, np.int64),
        labels=np.ones(count, np.int64),
        weights=np.ones(count, np.float32),
        seed=1,
    )


def _drawn(architecture: Architecture, rng: np.random.Generator) -> float:
    """The loss of one such sequence, where NumPy drops: for one token that is to scale rows."""
    weights = lively(architecture)
    changed = {**weights}
    for owner in _last(architecture):
        scale = (rng.random(architecture.hidden_size) >= SHARE) / (1 - SHARE)
        for name in (n for n in weights if n.startswith(owner)):
            rows = owner.startswith("layers") and weights[name].ndim == 2
            changed[name] = weights[name] * (scale[:, None] if rows else scale)
    work = _alone(1)
    return float(predicted(logits_of(architecture, changed, work, weights), work).losses[0])


def _last(architecture: Architecture) -> list[str]:
    """Where the weights stand whose results are dropped."""
    layers = [f"layers.{i}" for i in range(architecture.num_layers)]
    blocks = [f"{x}.{part}." for x in layers for part in ("attention.output", "feed_forward.down")]
    return ["embedding.norm." if architecture.embedding_norm else "embedding.", *blocks]


def _embedded(architecture: Architecture, gradients: Mapping[str, Array]) -> Array:
    """The gradient of what one token's embedding is, (D,)."""
    if architecture.embedding_norm:
        return gradients["embedding.norm.bias"]
    if architecture.positions == "learned":
        row: Array = gradients["embedding.positions"][architecture.position_offset]
    else:
        row = gradients["embedding.tokens"][1]
    return row


def _spread(one: Array, two: Array) -> float:
    """Kolmogorov and Smirnov's distance of two samples."""
    places = np.concatenate([one, two])
    shares = [np.searchsorted(np.sort(x), places, "right") / len(x) for x in (one, two)]
    return float(np.abs(shares[0] - shares[1]).max())


def _emptied(architecture: Architecture) -> dict[str, Array]:
    """Weights with which the embedding and each block give 0."""
    zero = tuple(_last(architecture))
    return {n: w * (not n.startswith(zero)) for n, w in lively(architecture).items()}
