from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riboswitch import TokenBatch, UsageError
from riboswitch.batch import by_budget, run_sorted

PAD = 99
sequences = st.lists(st.lists(st.integers(0, 90), max_size=6), max_size=8)


def pack(lists: list[list[int]]) -> TokenBatch:
    return TokenBatch.from_sequences([np.array(s, np.int64) for s in lists])


def unpack(batch: TokenBatch) -> list[list[int]]:
    return [ids.tolist() for ids in batch]


@given(sequences)
def test_packing_keeps_every_sequence(lists):
    batch = pack(lists)
    assert unpack(batch) == lists
    assert len(batch) == len(lists)
    assert batch.lengths.tolist() == [len(s) for s in lists]
    assert batch.positions.tolist() == [i for s in lists for i in range(len(s))]
    assert (batch.ids.dtype, batch.offsets.dtype) == (np.int32, np.int64)


@given(sequences)
def test_a_padded_batch_packs_back(lists):
    padded = pack(lists).padded(PAD)
    assert padded.shape == (len(lists), max(map(len, lists), default=0))
    assert padded.dtype == np.int32
    assert [[i for i in row if i != PAD] for row in padded.tolist()] == lists
    assert TokenBatch.from_padded(padded, PAD) == pack(lists)


@given(sequences, st.data())
def test_take_follows_the_order_duplicates_included(lists, data):
    order = data.draw(st.lists(st.sampled_from(range(len(lists))), max_size=10)) if lists else []
    assert unpack(pack(lists).take(order)) == [lists[i] for i in order]


@given(sequences)
def test_groups_are_the_runs_of_equal_length(lists):
    batch = pack(lists)
    seen = []
    for group in batch.groups():
        members = batch.take(range(group.first, group.first + group.number))
        assert set(members.lengths.tolist()) == {group.length}
        flat = batch.ids[group.start : group.start + group.number * group.length]
        assert np.array_equal(flat, members.ids)
        seen += unpack(members)
    assert seen == lists
    lengths = [g.length for g in batch.groups()]
    assert all(a != b for a, b in pairwise(lengths))


@given(sequences)
def test_split_cuts_along_any_axis(lists):
    batch = pack(lists)
    flat = batch.split(np.stack([batch.ids, -batch.ids]), axis=1)
    assert [a[0].tolist() for a in flat] == lists
    assert [(-a[1]).tolist() for a in flat] == lists


@given(sequences)
def test_an_encoder_sees_sorted_sequences_and_everyone_gets_their_own(lists):
    batch = pack(lists)

    def run(ordered: TokenBatch):
        assert ordered.lengths.tolist() == sorted(batch.lengths)
        ids = ordered.ids
        return {
            "representation": np.stack([ids, -ids], 1),
            "hidden_states": np.stack([ids, ids + 1])[:, :, None],
            "pooled": np.array([[s.sum()] for s in ordered]).reshape(-1, 1),
            "attentions": [s[None] for s in ordered],
        }

    found = run_sorted(batch, run)
    assert [a[:, 0].tolist() for a in found["representation"]] == lists
    assert [a[0, :, 0].tolist() for a in found["hidden_states"]] == lists
    assert [a.tolist() for a in found["pooled"]] == [[sum(s)] for s in lists]
    assert [a[0].tolist() for a in found["attentions"]] == lists


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_batches_by_budget_hold_every_sequence_once(lengths, budget):
    batches = by_budget(lengths, budget)
    assert sorted(np.concatenate([[], *batches]).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch)
        assert len(batch) == 1 or sum(lengths[i] for i in batch) <= budget


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_batches_by_budget_are_full_and_longest_first(lengths, budget):
    batches = by_budget(lengths, budget)
    order = [lengths[i] for batch in batches for i in batch]
    assert order == sorted(lengths, reverse=True)
    for batch, after in pairwise(batches):
        assert sum(lengths[i] for i in batch) + lengths[after[0]] > budget


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_batches_by_budget_are_always_the_same(lengths, budget):
    once, again = by_budget(lengths, budget), by_budget(np.array(lengths, np.int32), budget)
    assert [b.tolist() for b in once] == [b.tolist() for b in again]
    order = np.concatenate([[], *once]).tolist()
    keys = [(-lengths[int(i)], i) for i in order]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("ids", "offsets", "what"),
    [
        ([1, 2], [0, 1], "end with 2"),
        ([1, 2], [1, 2], "begin with 0"),
        ([1, 2], [], "begin with 0"),
        ([1, 2], [0, 2, 1, 2], "must not decrease"),
        ([1.5], [0, 1], "whole numbers"),
        ([[1]], [0, 1], "one axis"),
        ([2**31], [0, 1], "do not fit into int32"),
        ([-(2**31) - 1], [0, 1], "do not fit into int32"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(ids, offsets, what):
    with pytest.raises(UsageError, match=what):
        TokenBatch(ids, offsets)


def test_padding_inside_a_row_is_refused():
    with pytest.raises(UsageError, match="padding id 99 stands before the end"):
        TokenBatch.from_padded([[1, PAD, 2]], PAD)


def test_padded_ids_have_two_axes():
    with pytest.raises(UsageError, match="two axes, not 1"):
        TokenBatch.from_padded([1, 2], PAD)


def test_batches_compare_by_content():
    batch = pack([[1, 2], [3]])
    assert batch == pack([[1, 2], [3]])
    assert batch != pack([[1], [2, 3]])
    assert batch != pack([[1, 2], [4]])
    assert batch != "ids"
    with pytest.raises(TypeError, match="unhashable"):
        hash(batch)
