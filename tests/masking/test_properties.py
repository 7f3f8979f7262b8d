"""What holds for every mask: hypothesis looks for sequences for which it does not."""

from __future__ import annotations

import pickle
import subprocess
import sys
from hashlib import sha256
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.masking.masks import (
    ALPHABETS,
    KMERS,
    NUCLEOTIDES,
    TYPES,
    only,
    random_texts,
    runs,
    words,
)

from riboswitch import Alphabet, TokenBatch
from riboswitch.masking import Masked, Origin, recipe, recipes

HAS_SEARCH = find_spec("ahocorasick") is not None
STRATEGIES = ["nucleotide", "span", *(["motif"] if HAS_SEARCH else [])]
MIXED = only(STRATEGIES[-1], strategies=dict.fromkeys(STRATEGIES, 1), predict_type=True)

rates = st.sampled_from([0.0, 0.15, 0.5, 1.0])
strategies = st.sampled_from(STRATEGIES)
names = st.sampled_from(list(ALPHABETS))


@st.composite
def batches(draw: st.DrawFn, name: str, prompts: bool = True) -> TokenBatch:
    """Sequences of any length, with unknown letters and masks in them."""
    alphabet = ALPHABETS[name]
    letter = st.sampled_from([*"ACGUACGUACGUacgt", "N", "<mask>", "?"])
    step = alphabet.stride
    texts = draw(st.lists(st.lists(letter, max_size=70), max_size=6))
    cut = ["".join(t if step == 1 else [x if len(x) == 1 else "A" for x in t]) for t in texts]
    whole = [_fitting(text, alphabet) for text in cut]
    prompt = draw(st.sampled_from([None, *TYPES])) if prompts and alphabet.ind else None
    return alphabet.encode(whole, prompt=prompt, warn=False)


def _fitting(text: str, alphabet: Alphabet) -> str:
    size = len(alphabet.plain(text))
    if alphabet.stride > 1:
        return text[: size - size % alphabet.stride]
    return text if size >= alphabet.k else ""


@given(st.data(), names, strategies, rates, st.integers(0, 2**64 - 1))
def test_labels_are_the_originals_and_nothing_special_is_touched(data, name, strategy, rate, seed):
    alphabet, batch = ALPHABETS[name], data.draw(batches(name))
    masked = only(strategy, rate=rate).apply(batch, alphabet, seed=seed)
    hit, word = masked.labels != -100, words(alphabet, batch.ids)
    assert masked.ids.shape == masked.labels.shape == batch.ids.shape
    assert (masked.ids.dtype, masked.labels.dtype) == (np.int32, np.int64)
    assert not np.any(hit & ~word)
    assert np.array_equal(masked.labels[hit], batch.ids[hit])
    assert np.array_equal(masked.ids[~hit], batch.ids[~hit])
    shown = masked.ids[hit]
    assert np.all(words(alphabet, shown) | (shown == alphabet.mask_id))
    assert np.array_equal(hit, masked.origins != Origin.NONE)


@given(st.data(), names, strategies, st.sampled_from([0.1, 0.15, 0.4]))
def test_no_sequence_has_more_than_its_budget(data, name, strategy, rate):
    alphabet, batch = ALPHABETS[name], data.draw(batches(name))
    masked = only(strategy, rate=rate).apply(batch, alphabet, seed=1)
    longest = 8 + (alphabet.k - 1 if name == "3-mers" else 0)
    for hit, word in zip(
        batch.split(masked.labels != -100), batch.split(words(alphabet, batch.ids)), strict=True
    ):
        budget, block = rate * word.sum(), 3 if name == "3-mers" else 1
        if strategy == "span":  # the number of spans is rounded, in each stretch of words
            assert hit.sum() <= longest * (budget / (longest - 3) + len(word))
        else:
            assert budget - block < hit.sum() < budget + block


@given(st.data(), names, st.integers(0, 1000), st.randoms(use_true_random=False))
def test_a_mask_depends_on_the_record_alone(data, name, seed, random):
    alphabet, batch = ALPHABETS[name], data.draw(batches(name))
    records = np.array([random.randrange(2**63) for _ in range(len(batch))], np.int64)
    whole = MIXED.apply(batch, alphabet, seed=seed, epoch=3, records=records)
    order = random.sample(range(len(batch)), len(batch))
    mixed = MIXED.apply(batch.take(order), alphabet, seed=seed, epoch=3, records=records[order])
    expected = TokenBatch(whole.ids, batch.offsets).take(order)
    assert np.array_equal(mixed.ids, expected.ids)
    for i in range(len(batch)):
        alone = MIXED.apply(
            batch.take([i]), alphabet, seed=seed, epoch=3, records=records[i : i + 1]
        )
        place = slice(batch.offsets[i], batch.offsets[i + 1])
        for part in ("ids", "labels", "origins"):
            assert np.array_equal(getattr(alone, part), getattr(whole, part)[place])


@pytest.mark.parametrize("name", ["nucleotides", "3-mers", "codons"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sequences_without_special_tokens_do_not_run_together(name, strategy):
    alphabet, used = ALPHABETS[name], only(strategy, rate=0.4)
    encoded = alphabet.encode(random_texts([60, 3, 27, 90] * 5))
    bare = TokenBatch.from_sequences([ids[1:-1] for ids in encoded])
    whole = used.apply(bare, alphabet, seed=1)
    for i, ids in enumerate(bare.split(whole.ids)):
        alone = used.apply(bare.take([i]), alphabet, seed=1, records=[i])
        assert np.array_equal(alone.ids, ids)


@given(st.data(), strategies, st.sampled_from([0.15, 0.5]), st.integers(0, 100))
def test_no_masked_kmer_can_be_read_off_its_neighbours(data, strategy, rate, seed):
    """Each shows a letter that no other stretch and no unmasked k-mer shows."""
    batch = data.draw(batches("3-mers"))
    masked = only(strategy, rate=rate).apply(batch, KMERS, seed=seed)
    hit, word = masked.labels != -100, words(KMERS, batch.ids)
    for number, start, end in runs(batch, hit):
        place = batch.offsets[number]
        shown = set()
        for other in range(len(batch.split(word)[number])):
            if word[place + other] and not start <= other < end:
                shown |= {other, other + 1, other + 2}
        for token in range(start, end):
            assert {token, token + 1, token + 2} - shown, (number, token)
        stretch = slice(place + start, place + end)
        new, old = masked.ids[stretch], batch.ids[stretch]
        kinds = np.select([new == KMERS.mask_id, new == old], [0, 1], 2)
        assert len(set(kinds.tolist())) == 1  # what is kept would give its neighbours away


@given(st.data(), st.sampled_from([*TYPES, None]), st.booleans())
def test_the_first_token_predicts_the_type_of_the_prompt(data, prompt, predict):
    texts = data.draw(st.lists(st.text("ACGU", max_size=30), min_size=1, max_size=4))
    batch = NUCLEOTIDES.encode(texts, prompt=prompt)
    masked = only("nucleotide", predict_type=predict).apply(batch, NUCLEOTIDES, seed=0)
    firsts = batch.offsets[:-1]
    expected = NUCLEOTIDES.index[prompt] if prompt and predict else -100
    assert set(masked.labels[firsts].tolist()) == {expected}
    assert np.array_equal(masked.ids[firsts], batch.ids[firsts])
    assert np.all((masked.origins[firsts] == Origin.TYPE) == (expected != -100))


def test_only_a_prompt_has_a_type():
    cls, ind, eos, trna = (NUCLEOTIDES.index[t] for t in ("<cls>", "<ind>", "<eos>", "tRNA"))
    rows = [[cls, ind, trna, eos], [cls, trna, trna, eos], [cls, ind, cls, eos], [ind, trna, eos]]
    batch = TokenBatch.from_sequences(rows)
    masked = only("nucleotide", predict_type=True).apply(batch, NUCLEOTIDES, seed=0)
    assert masked.labels[batch.offsets[:-1]].tolist() == [trna, -100, -100, -100]


def test_a_large_batch_is_cut_in_pieces_that_do_not_show(monkeypatch):
    batch = NUCLEOTIDES.encode(random_texts([0, 50, 1, 700, 0, 0, 90] * 4))
    expected = MIXED.apply(batch, NUCLEOTIDES, seed=2)
    for size in (1, 100, 10_000):
        monkeypatch.setattr(recipes, "_PIECE", size)
        assert np.array_equal(MIXED.apply(batch, NUCLEOTIDES, seed=2).ids, expected.ids)


WORKER = """
import pickle, sys
recipe, alphabet, ids, offsets, records = pickle.load(sys.stdin.buffer)
from riboswitch import TokenBatch
masked = recipe.apply(TokenBatch(ids, offsets), alphabet, seed=9, epoch=1, records=records)
sys.stdout.buffer.write(masked.ids.tobytes())
"""


def test_workers_in_other_processes_mask_alike():
    batch = NUCLEOTIDES.encode(random_texts(range(20, 60)))
    expected = MIXED.apply(batch, NUCLEOTIDES, seed=9, epoch=1).ids
    found = b""
    for records in np.array_split(np.arange(len(batch)), 2):
        mine = batch.take(records)
        job = pickle.dumps((MIXED, NUCLEOTIDES, mine.ids, mine.offsets, records))
        command = [sys.executable, "-c", WORKER]
        found += subprocess.run(command, input=job, capture_output=True, check=True).stdout
    assert found == expected.tobytes()


def digest(masked: Masked) -> str:
    arrays = (masked.ids, masked.labels, masked.origins)
    return sha256(b"".join(a.astype("<i8").tobytes() for a in arrays)).hexdigest()[:16]


GOLDEN = {
    "nucleotide": "999f9aa439aceb06",
    "span": "a2591ec3a53c26de",
    "motif": "f91919cffeff0abb",
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_masks_are_these_on_every_platform_and_in_every_version(strategy):
    """A change here changes every training run that anybody goes on with."""
    texts = ["".join("ACGU"[(i * i * n + i) // 3 % 4] for i in range(n)) for n in range(0, 300, 7)]
    found = [
        digest(only(strategy).apply(NUCLEOTIDES.encode(texts), NUCLEOTIDES, seed=s, epoch=s % 3))
        for s in (0, 1, 2**64 - 1)
    ]
    assert sha256("".join(found).encode()).hexdigest()[:16] == GOLDEN[strategy]


def test_the_batch_is_not_changed():
    batch = NUCLEOTIDES.encode(random_texts([80] * 10))
    before = batch.ids.copy()
    MIXED.apply(batch, NUCLEOTIDES, seed=0)
    assert np.array_equal(batch.ids, before)


def test_a_batch_of_nothing():
    for batch in (NUCLEOTIDES.encode([]), NUCLEOTIDES.encode(["", ""]), TokenBatch([], [0, 0])):
        masked = MIXED.apply(batch, NUCLEOTIDES, seed=0)
        assert np.array_equal(masked.ids, batch.ids)
        assert np.all(masked.labels == -100)


def test_unpacking_gives_ids_and_labels():
    ids, labels = recipe("bert").apply(NUCLEOTIDES.encode(["ACGU" * 9]), NUCLEOTIDES, seed=0)
    assert ids.shape == labels.shape
