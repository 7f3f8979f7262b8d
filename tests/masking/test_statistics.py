"""What masks are like over a million tokens."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from tests.masking.masks import (
    ALPHABETS,
    CODONS,
    KMERS,
    NUCLEOTIDES,
    only,
    random_texts,
    runs,
    share,
    words,
)

from riboswitch import TokenBatch
from riboswitch.masking import Masked, Origin

WEIGHTS = np.array([12, 6, 4, 3]) / 25
"""1/(n - 4) for n = 5, 6, 7, 8."""


@cache
def corpus(name: str) -> TokenBatch:
    """A million tokens in sequences of 90 to 600 letters."""
    alphabet = ALPHABETS[name]
    total = 1_000_000 * alphabet.stride
    lengths = np.random.default_rng(1).integers(30, 200, total // 345 + 1) * 3
    return alphabet.encode(random_texts(lengths))


@cache
def mask(name: str, strategy: str) -> Masked:
    if strategy == "motif":
        pytest.importorskip("ahocorasick", reason="the extra `pretrain`")
    return only(strategy).apply(corpus(name), ALPHABETS[name], seed=5)


each = pytest.mark.parametrize("name", ["nucleotides", "3-mers", "codons"])
every = pytest.mark.parametrize("strategy", ["nucleotide", "span", "motif"])


@each
@every
def test_the_masked_share(name, strategy):
    assert len(corpus(name).ids) > 1_000_000
    assert share(ALPHABETS[name], corpus(name), mask(name, strategy)) == pytest.approx(
        0.150, abs=0.002
    )


@each
@every
def test_mask_random_keep(name, strategy):
    alphabet, masked = ALPHABETS[name], mask(name, strategy)
    hit = masked.labels != -100
    shown, true = masked.ids[hit], masked.labels[hit]
    counts = [shown == alphabet.mask_id, (shown != true) & (shown != alphabet.mask_id)]
    assert [float(c.mean()) for c in counts] == pytest.approx([0.8, 0.1], abs=0.005)
    assert float((shown == true).mean()) == pytest.approx(0.1, abs=0.005)


@each
def test_other_words_are_drawn_evenly_and_are_words(name):
    alphabet, masked = ALPHABETS[name], mask(name, "nucleotide")
    swapped = (masked.labels != -100) & ~np.isin(masked.ids, alphabet.mask_id)
    swapped &= masked.ids != masked.labels
    drawn = masked.ids[swapped]
    assert words(alphabet, drawn).all()
    counts = np.unique(drawn, return_counts=True)[1]
    assert len(counts) == len(alphabet.words)
    expected = len(drawn) / len(counts)
    assert ((counts - expected) ** 2 / expected).sum() < len(counts) + 6 * np.sqrt(2 * len(counts))


@each
def test_span_lengths_have_their_weights(name):
    masked, width = mask(name, "span"), 3 if name == "3-mers" else 1
    found = runs(corpus(name), masked.labels != -100)
    lengths = np.array([end - start for _, start, end in found]) - width + 1
    assert set(lengths.tolist()) == {5, 6, 7, 8}
    counts = np.bincount(lengths)[5:]
    error = 5 * np.sqrt(WEIGHTS * (1 - WEIGHTS) / len(lengths))
    assert np.all(np.abs(counts / len(lengths) - WEIGHTS) < error)
    assert np.all(masked.origins[masked.labels != -100] == Origin.SPAN)


def test_span_lengths_keep_their_weights_in_short_sequences():
    batch = NUCLEOTIDES.encode(random_texts([8, 12, 20, 45] * 15_000))
    masked = only("span").apply(batch, NUCLEOTIDES, seed=3)
    lengths = np.array([b - a for _, a, b in runs(batch, masked.labels != -100)])
    counts = np.bincount(lengths, minlength=9)[5:]
    error = 5 * np.sqrt(WEIGHTS * (1 - WEIGHTS) / len(lengths))
    assert np.all(np.abs(counts / len(lengths) - WEIGHTS) < error)
    assert share(NUCLEOTIDES, batch, masked) == pytest.approx(0.15, abs=0.003)


def test_spans_do_not_go_over_unknown_letters():
    batch = NUCLEOTIDES.encode(["ACGU" * 5 + "N" + "GGCA" * 3] * 3000, warn=False)
    masked = only("span").apply(batch, NUCLEOTIDES, seed=3)
    lengths = {b - a for _, a, b in runs(batch, masked.labels != -100)}
    assert lengths == {5, 6, 7, 8}
    assert share(NUCLEOTIDES, batch, masked) == pytest.approx(0.15, abs=0.01)


@pytest.mark.parametrize("strategy", ["nucleotide", "span", "motif"])
@pytest.mark.parametrize("length", range(1, 13))
def test_short_sequences_are_masked_in_expectation(strategy, length):
    if strategy == "motif":
        pytest.importorskip("ahocorasick", reason="the extra `pretrain`")
    count = 120_000 // length
    batch = NUCLEOTIDES.encode(random_texts([length] * count))
    masked = only(strategy).apply(batch, NUCLEOTIDES, seed=8)
    size = 1 if strategy != "span" or length < 8 else 6
    error = 5 * np.sqrt(0.15 * size / (count * length))
    assert share(NUCLEOTIDES, batch, masked) == pytest.approx(0.15, abs=error)
    per = np.array([int((part != -100).sum()) for part in batch.split(masked.labels)])
    if size == 1:
        assert set(per.tolist()) == {int(0.15 * length), int(0.15 * length) + 1}
    else:
        assert set(per.tolist()) == {0, *(n for n in range(5, 9) if n <= length)}


@pytest.mark.parametrize("alphabet", [KMERS, CODONS], ids=["3-mers", "codons"])
@pytest.mark.parametrize("strategy", ["nucleotide", "span"])
def test_short_sequences_of_longer_words(alphabet, strategy):
    for count in range(1, 13):
        length = (count - 1) * alphabet.stride + alphabet.k
        batch = alphabet.encode(random_texts([length] * 8000))
        masked = only(strategy).apply(batch, alphabet, seed=2)
        assert share(alphabet, batch, masked) == pytest.approx(0.15, abs=0.03)


@pytest.mark.parametrize("strategy", ["nucleotide", "span", "motif"])
@pytest.mark.parametrize("name", ["nucleotides", "3-mers", "codons"])
def test_high_rates_mask_as_much_as_there_is_room_for(name, strategy):
    if strategy == "motif":
        pytest.importorskip("ahocorasick", reason="the extra `pretrain`")
    alphabet = ALPHABETS[name]
    batch = alphabet.encode(random_texts(range(0, 300, 3)) * 10)
    shares = [
        share(alphabet, batch, only(strategy, rate=rate).apply(batch, alphabet, seed=1))
        for rate in (0.6, 0.97, 1)
    ]
    if strategy == "span":
        assert shares[0] == pytest.approx(0.6, abs=0.02)
        assert 0.7 < shares[1] < 1
    else:
        assert shares == pytest.approx([0.6, 0.97, 1], abs=0.03)


@pytest.mark.parametrize("strategy", ["nucleotide", "span"])
def test_every_place_of_a_sequence_is_masked(strategy):
    batch = NUCLEOTIDES.encode(random_texts([60] * 20_000))
    masked = only(strategy).apply(batch, NUCLEOTIDES, seed=4)
    often = (masked.labels != -100).reshape(-1, 62).mean(axis=0)[1:-1]
    assert often.min() > 0.02
    assert np.abs(often[10:-10] - 0.15).max() < (0.015 if strategy == "nucleotide" else 0.03)
    assert np.abs(often - often[::-1]).max() < 0.015  # no end is better off


@every
def test_no_stretch_of_kmers_is_too_short_to_hide_a_letter(strategy):
    batch = corpus("3-mers")
    hit = mask("3-mers", strategy).labels != -100
    ends = batch.lengths - 1
    found = np.array(runs(batch, hit))
    inside = (found[:, 1] > 1) & (found[:, 2] < ends[found[:, 0]])
    assert (found[:, 2] - found[:, 1])[inside].min() == (3 if strategy != "span" else 7)


def test_strategies_are_drawn_by_their_weights():
    batch = NUCLEOTIDES.encode(random_texts([100] * 20_000))
    recipe = only("nucleotide", strategies={"nucleotide": 1, "span": 3})
    masked = recipe.apply(batch, NUCLEOTIDES, seed=1)
    spans = [bool((part == Origin.SPAN).any()) for part in batch.split(masked.origins)]
    singles = [bool((part == Origin.NUCLEOTIDE).any()) for part in batch.split(masked.origins)]
    assert not any(np.array(spans) & np.array(singles))
    assert np.mean(spans) / np.mean(np.array(spans) | np.array(singles)) == pytest.approx(
        0.75, abs=0.02
    )


def test_epochs_mask_differently():
    batch, hits = corpus("nucleotides"), []
    for epoch in range(2):
        masked = only("nucleotide").apply(batch, NUCLEOTIDES, seed=5, epoch=epoch)
        hits.append(masked.labels != -100)
    both = (hits[0] & hits[1]).sum() / words(NUCLEOTIDES, batch.ids).sum()
    assert both == pytest.approx(0.15**2, abs=0.001)


def test_sequences_of_the_same_letters_are_masked_differently():
    batch = NUCLEOTIDES.encode(["ACGUACGUGGCCUUAA" * 4] * 500)
    masked = only("nucleotide").apply(batch, NUCLEOTIDES, seed=0)
    assert len({part.tobytes() for part in batch.split(masked.labels)}) > 490
