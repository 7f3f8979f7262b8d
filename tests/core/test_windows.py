from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riboswitch.registry import registry
from riboswitch.windows import cut, join

NUCLEOTIDES = registry().models["rnafm"].alphabet
CODONS = registry().models["mrnafm"].alphabet

lengths = st.integers(1, 200)
windows = st.integers(2, 60)


@given(lengths, windows)
def test_each_row_is_kept_once_and_in_order(length, window):
    pieces = list(cut(7, length, window, NUCLEOTIDES))
    kept = [row for p in pieces for row in range(p.keep, p.end)]
    assert kept == list(range(length))
    assert {p.sequence for p in pieces} == {7}


@given(lengths, windows)
def test_pieces_are_whole_windows_that_hold_the_rows_they_keep(length, window):
    pieces = list(cut(0, length, window, NUCLEOTIDES))
    for p in pieces:
        assert 0 <= p.start < p.stop <= length
        assert p.stop - p.start == min(window, length)
        assert p.start == p.row <= p.keep < p.end <= p.stop
    assert (pieces[0].start, pieces[-1].stop) == (0, length)


@given(lengths, windows)
def test_each_row_is_kept_where_it_stands_farthest_from_an_end(length, window):
    pieces = list(cut(0, length, window, NUCLEOTIDES))
    for kept in pieces:
        for row in range(kept.keep, kept.end):
            holders = [p for p in pieces if p.start <= row < p.stop]
            best = max(_from_end(row, p, length) for p in holders)
            assert _from_end(row, kept, length) == best


def _from_end(row: int, piece, length: int) -> float:
    """Residues between a row and the nearest place where the piece was cut."""
    left = row - piece.start if piece.start else np.inf
    right = piece.stop - 1 - row if piece.stop < length else np.inf
    return min(left, right)


@given(st.integers(3, 200), st.integers(2, 40))
def test_neighbouring_pieces_overlap_by_half(length, window):
    pieces = list(cut(0, length, window, NUCLEOTIDES))
    steps = [b.start - a.start for a, b in pairwise(pieces)]
    assert all(0 < step <= max(1, window // 2) for step in steps)
    if length > window:
        assert len(pieces) <= -(-(length - window) // max(1, window // 2)) + 1


@given(st.integers(1, 60), st.integers(2, 20))
def test_codons_are_never_cut(codons, window):
    pieces = list(cut(0, 3 * codons, 3 * window, CODONS))
    assert all(p.start % 3 == p.stop % 3 == 0 for p in pieces)
    assert all(p.row == p.start // 3 for p in pieces)
    assert [r for p in pieces for r in range(p.keep, p.end)] == list(range(codons))


@pytest.mark.parametrize("window", [None, 10, 11])
def test_a_text_that_fits_is_one_piece(window):
    assert list(cut(3, 10, window, NUCLEOTIDES)) == [(3, 0, 10, 0, 0, 10)]


@given(st.lists(lengths, max_size=5), windows)
def test_joined_rows_are_those_of_the_whole_sequences(sizes, window):
    wholes = [np.stack([np.arange(n), np.full(n, i)], 1).astype("f4") for i, n in enumerate(sizes)]
    pieces = [p for i, n in enumerate(sizes) for p in cut(i, n, window, NUCLEOTIDES)]
    found = [wholes[p.sequence][p.start : p.stop] for p in pieces]
    for pool, reduce in ((None, np.asarray), ("mean", _mean), ("max", lambda a: a.max(0))):
        joined = join(pieces, found, pool)
        assert len(joined) == len(wholes)
        for array, whole in zip(joined, wholes, strict=True):
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, reduce(whole), rtol=1e-6)


def _mean(rows):
    return rows.mean(axis=0, dtype=np.float64)


def test_cls_vectors_of_the_pieces_are_averaged():
    pieces = [*cut(0, 4, 4, NUCLEOTIDES), *cut(1, 6, 4, NUCLEOTIDES)]
    vectors = [np.full(2, v, np.float32) for v in (5, 1, 3)]
    assert [v.tolist() for v in join(pieces, vectors, "cls")] == [[5, 5], [2, 2]]


@pytest.mark.parametrize("name", ["rnafm", "mrnafm", "rinalmo-nano", "rnaernie"])
@pytest.mark.parametrize("pool", [None, "mean", "max", "cls"])
def test_a_sequence_within_the_window_is_embedded_as_without_one(small, name, pool):
    model = small(name, "numpy")
    sequences = ["AUGGCACGU", "AUG", "AUGGCACGUAUG"]
    plain = model.embed(sequences, pool=pool)
    windowed = model.embed(sequences, pool=pool, window=12)
    for a, b in zip(plain, windowed, strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "stride"), [("rinalmo-nano", 1), ("mrnafm", 3)])
def test_windowed_rows_are_those_of_the_pieces(small, name, stride):
    model = small(name, "numpy")
    rng = np.random.default_rng(0)
    text = "".join(rng.choice([*"ACGU"], 30 * stride))
    (rows,) = model.embed([text], window=12 * stride)
    assert len(rows) == 30
    (first,) = model.embed([text[: 12 * stride]])
    (last,) = model.embed([text[-12 * stride :]])
    np.testing.assert_allclose(rows[:9], first[:9], rtol=0, atol=5e-6)
    np.testing.assert_allclose(rows[-9:], last[-9:], rtol=0, atol=5e-6)


@pytest.mark.filterwarnings("ignore::riboswitch.errors.UnknownLetterWarning")
@pytest.mark.parametrize("window", [None, 8])
def test_a_mask_in_the_text_is_one_residue(small, window):
    text = "ACGU<mask>ACGUACGUACGU"
    (rows,) = small("rnafm", "numpy").embed([text], window=window)
    assert len(rows) == 17
