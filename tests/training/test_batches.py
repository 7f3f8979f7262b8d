"""Steps are a pure function of seed, epoch and lengths."""

from __future__ import annotations

import numpy as np
import pytest

from riboswitch.training.batches import Batches

RECORDS = np.arange(5000) * 2
TOKENS = np.random.default_rng(0).integers(3, 400, 5000)


def batches(**changes):
    given = {"budget": 2000, "accumulate": 3, "seed": 7, **changes}
    return Batches(RECORDS, TOKENS, **given)


def flat(epoch):
    return np.concatenate([batch for step in epoch for batch in step])


@pytest.mark.parametrize("epoch", [0, 1, 12345])
def test_each_record_comes_once_in_each_epoch(epoch):
    np.testing.assert_array_equal(np.sort(flat(batches().epoch(epoch))), RECORDS)


def test_budgets_are_kept_and_used():
    sizes = [TOKENS[b // 2].sum() for step in batches().epoch(0) for b in step]
    assert max(sizes) <= 2000
    assert np.mean(sizes) > 1600
    assert {len(step) for step in batches().epoch(0)[:-1]} == {3}


def test_neighbours_are_of_similar_length_and_steps_are_not():
    first = batches().epoch(0)
    spread = [np.ptp(TOKENS[b // 2]) for step in first for b in step]
    assert np.median(spread) < 30
    means = [np.mean([TOKENS[b // 2].mean() for b in step]) for step in first]
    early, late = np.array_split(means, 2)
    assert abs(early.mean() - late.mean()) < 15


def test_the_same_again_and_another_for_another_epoch_or_seed():
    one = flat(batches().epoch(3))
    np.testing.assert_array_equal(one, flat(batches().epoch(3)))
    assert not np.array_equal(one, flat(batches().epoch(4)))
    assert not np.array_equal(one, flat(batches(seed=8).epoch(3)))


def test_a_record_longer_than_the_budget_is_alone():
    found = Batches(np.arange(3), np.array([5, 999, 6]), 100, 1, 0).epoch(0)
    assert sorted(sorted(b.tolist()) for step in found for b in step) == [[0, 2], [1]]


@pytest.mark.parametrize("budget", [10**18, 2**63 - 1])
def test_a_budget_for_everything(budget):
    (step,) = batches(budget=budget, accumulate=2**63 - 1).epoch(0)
    assert [len(batch) for batch in step] == [5000]


def test_steps_of_epochs():
    some = batches()
    assert some.steps_of(2) == len(some.epoch(0)) + len(some.epoch(1))
    assert some.steps_of(1e-9) == 1


def test_what_never_changes_is_in_order_of_length():
    found = batches().in_order()
    lengths = TOKENS[np.concatenate(found) // 2]
    assert np.all(np.diff(lengths) <= 0) and len(lengths) == len(TOKENS)
