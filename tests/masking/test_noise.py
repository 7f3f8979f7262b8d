"""Random numbers without a state: even, independent of their neighbours, the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from riboswitch.masking import noise
from riboswitch.masking.noise import Purpose

COUNT = 1 << 15


def keys(count: int = COUNT, seed: int = 0, epoch: int = 0) -> np.ndarray:
    return noise.record_keys(seed, epoch, np.arange(count, dtype=np.uint64))


def streams() -> dict[str, np.ndarray]:
    """Numbers that differ in one counter only."""
    zero, one = np.zeros(COUNT, np.int64), keys(1)
    return {
        "records": noise.draw(keys(), zero),
        "places": noise.draw(one, np.arange(COUNT)),
        "seeds": np.array([keys(1, seed=s)[0] for s in range(1 << 13)]),
        "epochs": np.array([keys(1, epoch=e)[0] for e in range(1 << 13)]),
    }


@pytest.mark.parametrize("name", ["records", "places", "seeds", "epochs"])
def test_every_bit_is_even_and_free_of_its_neighbour(name):
    numbers = streams()[name]
    bits = (numbers[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    error = 5 * 0.5 / np.sqrt(len(numbers))
    assert np.abs(bits.mean(axis=0) - 0.5).max() < error
    assert np.abs((bits[1:] ^ bits[:-1]).mean(axis=0) - 0.5).max() < error


@pytest.mark.parametrize("name", ["records", "places", "seeds", "epochs"])
def test_bytes_and_pairs_of_bytes_are_even(name):
    numbers = streams()[name]
    for shift in (0, 24, 56):
        octets = ((numbers >> np.uint64(shift)) & np.uint64(255)).astype(int)
        pairs = (octets[1:] >> 4) * 16 + (octets[:-1] >> 4)
        for values in (octets, pairs):
            expected = len(values) / 256
            chi = ((np.bincount(values, minlength=256) - expected) ** 2 / expected).sum()
            assert abs(chi - 255) < 5 * np.sqrt(2 * 255)


def test_one_flipped_bit_of_any_counter_flips_half_of_the_bits():
    index = np.arange(4096, dtype=np.int64)
    for bit in range(20):
        other = noise.draw(keys(1), index ^ (1 << bit)) ^ noise.draw(keys(1), index)
        flipped = ((other[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).mean()
        assert abs(flipped - 0.5) < 0.005


def test_purposes_have_numbers_of_their_own():
    drawn = [noise.keys_for(keys(1000), purpose) for purpose in Purpose]
    assert len(np.unique(np.concatenate(drawn))) == 1000 * len(Purpose)
    assert len({*Purpose}) == 16


def test_mix_is_the_published_function():
    first = noise.mix(np.array([0x9E3779B97F4A7C15], np.uint64))[0]
    assert int(first) == 0xE220A8397B1DCDAF  # SplitMix64's first number for the seed 0


@pytest.mark.parametrize("sizes", [[5, 1, 0, 40], [300], [7] * 50])
def test_choose_takes_as_many_as_wanted_each_once(sizes):
    sizes = np.array(sizes)
    for wanted in (sizes, sizes // 3, np.minimum(sizes, 1), sizes * 0):
        chosen = noise.choose(keys(len(sizes)), sizes, wanted)
        groups = np.repeat(np.arange(len(sizes)), wanted)
        assert np.all(chosen >= 0) and np.all(chosen < sizes[groups])
        for group in range(len(sizes)):
            mine = chosen[groups == group]
            assert np.all(np.diff(mine) > 0)


def test_choose_takes_each_subset_equally_often():
    count = 40_000
    sizes, wanted = np.full(count, 5), np.full(count, 2)
    chosen = noise.choose(keys(count), sizes, wanted).reshape(-1, 2)
    seen = np.unique(chosen[:, 0] * 5 + chosen[:, 1], return_counts=True)[1]
    assert len(seen) == 10
    assert np.abs(seen - count / 10).max() < 5 * np.sqrt(count * 0.1 * 0.9)


def test_choose_finds_the_smallest_also_where_the_first_guess_fails(monkeypatch):
    sizes, wanted = np.full(50, 200), np.full(50, 90)
    expected = noise.choose(keys(50), sizes, wanted)
    guess = noise._candidates
    calls = []

    def stingy(numbers, sizes, wanted, bounds):
        with monkeypatch.context() as patch:
            patch.setattr(np, "sqrt", lambda values: -np.asarray(values) / 10)
            calls.append(guess(numbers, sizes, wanted, bounds))
        return calls[-1]

    monkeypatch.setattr(noise, "_candidates", stingy)
    assert np.array_equal(noise.choose(keys(50), sizes, wanted), expected)
    assert len(calls[0]) == 200 * 50  # every group fell short, and is looked at whole


def test_order_does_not_depend_on_how_equals_are_sorted():
    groups = np.zeros(5000, int)
    numbers = np.random.default_rng(0).integers(0, 3, 5000).astype(np.uint64) << np.uint64(60)
    expected = np.argsort(numbers, kind="stable")
    assert np.array_equal(noise._order(groups, numbers), expected)


def test_rounding_keeps_the_expectation():
    amounts = np.full(COUNT, 1.8)
    rounded = noise.round_randomly(amounts, noise.keys_for(keys(), Purpose.BUDGET))
    assert set(rounded.tolist()) == {1, 2}
    assert abs(rounded.mean() - 1.8) < 5 * 0.4 / np.sqrt(COUNT)
