"""PyTorch and Paddle learn the same, step by step, and hand their state to each other."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from attrs import evolve

from riboswitch.batch import TokenBatch
from riboswitch.masking import Recipe
from riboswitch.optimization import Optimization
from riboswitch.registry import registry
from riboswitch.testing import lively_weights
from riboswitch.training.corpus import Source
from riboswitch.training.examples import Examples
from riboswitch.training.learner import Work
from riboswitch.training.packing import pack
from riboswitch.weights import random_weights

pytestmark = pytest.mark.together

both = pytest.mark.backend("torch", "paddle")
PAIRS = [("torch", "paddle"), ("paddle", "torch")]
SIZES = {"num_layers": 2, "hidden_size": 32, "num_heads": 4, "feed_forward_size": 48}
# Where the types are predicted, for those that have any.
FAMILIES = {"rnafm": "", "mrnafm": "", "rinalmo-nano": "", "rnaernie": "cls", "ribotiny": "mean"}
RECIPE = Recipe(rate=0.25, strategies={"nucleotide": 1, "span": 1}, predict_type=True)
# A decay that would show where it does not belong. A rate at which no ReLU is close to its kink
# so often that rounding would decide what becomes of it.
OPTIMIZATION = Optimization(schedule="constant", peak=4e-4, warmup=10, weight_decay=0.5)
STEPS = 50


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """Six micro-batches of a family: works(name)."""
    return cache(lambda name: make_works(name, tmp_path_factory.mktemp(name)))


def make_works(name: str, folder) -> list[Work]:
    alphabet, pool = registry().model(name).alphabet, FAMILIES[name]
    rng = np.random.default_rng(0)
    lines = []
    for number in range(36):
        shares = np.roll([0.7, 0.1, 0.1, 0.1], number % 4)
        letters = "".join(rng.choice([*"ACGU"], 3 * rng.integers(3, 10), p=shares))
        kind = alphabet.types[number % 4] if pool and number % 5 else ""
        lines.append(f">s{number} of {kind}\n{letters}\n")
    path = folder / "corpus.fa"
    path.write_text("".join(lines), encoding="utf-8")
    source = Source(files=(str(path),), types="of (.+)" if pool else None, held_out=0)
    examples = Examples(
        corpus=pack(source, alphabet, folder / "corpus"),
        alphabet=alphabet,
        recipe=RECIPE,
        seed=0,
        longest=90,
        shown=0.5 if alphabet.ind else 0,
        pool=pool or "cls",
    )
    made = [examples.make(part, e) for e in (0, 1) for part in np.split(rng.permutation(36), 3)]
    return [m.weighted(1 / m.count(False), 1 / max(m.count(True), 1)) for m in made]


def make_learner(backend: str, name: str, weights=None, **changes):
    architecture = registry().model(name).architecture.evolve(SIZES)
    return (
        registry()
        .backend(backend)
        .learner(
            architecture,
            random_weights(architecture, 0) if weights is None else weights,
            device="cpu",
            dtype="float32",
            optimization=evolve(OPTIMIZATION, **changes),
        )
    )


def learn(learner, works, steps: range, parts: int = 2) -> list[float]:
    """The loss of each of these steps, of so many micro-batches."""
    losses = []
    for step in steps:
        mine = [works[(parts * step + i) % len(works)] for i in range(parts)]
        done = [learner.accumulate(w, last=w is mine[-1]) for w in mine]
        losses.append(sum((d.losses * w.weights).sum() for d, w in zip(done, mine, strict=True)))
        learner.step(learner.optimization.rate(step + 1, STEPS))
    return losses


def copied(learner):
    """Weights and state, as a checkpoint has them."""
    weights, state = learner.backbone.canonical(), learner.state()
    return {n: weights[n].copy() for n in weights}, {n: state[n].copy() for n in state}


@both
@pytest.mark.parametrize("name", FAMILIES)
def test_the_losses_of_all_steps_agree(works, name):
    one, two = (
        learn(make_learner(backend, name), works(name), range(STEPS), parts=1)
        for backend in ("torch", "paddle")
    )
    np.testing.assert_allclose(two, one, rtol=1e-4)
    assert np.mean(one[-3:]) < 0.9 * np.mean(one[:3])


@both
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_and_what_is_predicted_agree(works, name):
    """With weights that hide nothing; AdamW's first means show the gradients."""
    architecture = registry().model(name).architecture.evolve(SIZES)
    states, norms = [], []
    for backend in ("torch", "paddle"):
        learner = make_learner(backend, name, lively_weights(architecture), clip=None)
        seen = learner.evaluate(works(name)[0])
        trained = learner.accumulate(works(name)[0], last=True)
        np.testing.assert_allclose(trained.losses, seen.losses, rtol=1e-5)
        norms.append(learner.step(1e-4))
        states.append((seen, copied(learner)[1]))
    (one, expected), (two, found) = states
    np.testing.assert_allclose(two.losses, one.losses, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(two.hits, one.hits)
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    assert [*found] == [*expected]
    for key in (key for key in expected if key.startswith("mean.")):
        # The bias of keys has no effect, and what its gradient is, is rounding.
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-3, atol=1e-7 * norms[0])


@both
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("owner", "heir"), PAIRS)
def test_either_goes_on_with_what_the_other_began(works, name, owner, heir):
    first = make_learner(owner, name)
    learn(first, works(name), range(5))
    weights, state = copied(first)
    expected = learn(first, works(name), range(5, 9))
    second = make_learner(heir, name, weights)
    second.restore(state, 5)
    np.testing.assert_allclose(learn(second, works(name), range(5, 9)), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["rinalmo-nano", "rnaernie"])
def test_what_is_restored_goes_on_to_the_very_same_numbers(works, trainer, name):
    first = make_learner(trainer, name, dropout=0.1)
    assert not first.state()
    learn(first, works(name), range(5))
    weights, state = copied(first)
    second = make_learner(trainer, name, weights, dropout=0.1)
    second.restore(state, 5)
    for kept, other in zip(copied(second), (weights, state), strict=True):
        assert kept.keys() == other.keys()
        assert all(np.array_equal(kept[n], other[n]) for n in kept)
    going, again = (learn(x, works(name), range(5, 9)) for x in (first, second))
    assert going == again
    for kept, other in zip(copied(second), copied(first), strict=True):
        assert all(np.array_equal(kept[n], other[n]) for n in kept)


def test_dropout_depends_on_the_seed_alone(works, trainer):
    work = works("rnaernie")[0]
    learner = make_learner(trainer, "rnaernie", dropout=0.3)

    def loss(seed):
        return learner.accumulate(evolve(work, seed=seed), last=False).losses

    np.testing.assert_array_equal(loss(1), loss(1))
    assert np.abs(loss(2) - loss(1)).max() > 1e-3
    plain = make_learner(trainer, "rnaernie").accumulate(work, last=False).losses
    np.testing.assert_array_equal(learner.evaluate(work).losses, plain)
    assert np.abs(loss(1) - plain).max() > 1e-3


@both
@pytest.mark.parametrize("name", ["rinalmo-nano", "rnaernie"])
def test_dropout_is_in_the_same_places(works, name):
    """Where all is dropped, what is left depends on nothing random."""
    work = works(name)[0]
    weights = lively_weights(registry().model(name).architecture.evolve(SIZES))
    one, two, plain = (
        make_learner(backend, name, weights, dropout=share).accumulate(work, last=True).losses
        for backend, share in (("torch", 1 - 1e-9), ("paddle", 1 - 1e-9), ("torch", 0))
    )
    np.testing.assert_allclose(two, one, rtol=1e-5)
    assert np.abs(one - plain).max() > 1e-3


@pytest.mark.parametrize("share", [0.1, 0.9, 1.1])
def test_gradients_are_clipped_by_the_norm_of_all(works, trainer, share):
    work = works("rnaernie")[0]

    def mean(clip):
        learner = make_learner(trainer, "rnaernie", clip=clip)
        learner.accumulate(work, last=True)
        norm, state = learner.step(1e-3), learner.state()
        return norm, np.concatenate([state[n].ravel() for n in state if n.startswith("mean.")])

    norm, whole = mean(None)
    assert np.linalg.norm(whole) == pytest.approx(0.1 * norm, rel=1e-5)
    same, clipped = mean(share * norm)
    assert same == norm
    np.testing.assert_allclose(clipped, min(share, 1) * whole, rtol=1e-4, atol=1e-9)


@both
def test_a_step_with_nothing_to_predict_is_the_same_step():
    """Means and weights decay, and the number of steps rises."""
    ids = registry().model("rnaernie").alphabet.encode_plain(["ACGUA"], warn=False)
    nothing = np.zeros(0, np.int64)
    empty = Work(
        TokenBatch(ids.ids, ids.offsets),
        nothing,
        nothing,
        np.ones(1, np.int64),
        nothing,
        np.zeros(0, np.float32),
    )
    one = evolve(empty, places=np.array([2]), labels=np.array([5]), weights=np.ones(1, np.float32))
    found = []
    for backend in ("torch", "paddle"):
        learner = make_learner(backend, "rnaernie")
        losses = []
        for work in (one, empty, one, one):
            losses.append(learner.accumulate(work, last=True).losses)
            losses.append(learner.step(1e-2))
        found.append(np.hstack(losses))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


@both
def test_the_pooler_is_not_trained(works):
    for backend in ("torch", "paddle"):
        learner = make_learner(backend, "rnaernie")
        before = copied(learner)[0]
        learn(learner, works("rnaernie"), range(2))
        after, state = copied(learner)
        still = {name for name in before if np.array_equal(before[name], after[name])}
        assert still == {"pooler.weight", "pooler.bias"}
        assert {n.partition(".")[2] for n in state} == before.keys() - still
