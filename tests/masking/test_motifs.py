"""Motifs: files, search, and which occurrences are masked."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from tests.masking.masks import (
    ALPHABETS,
    CODONS,
    KMERS,
    MOTIFS,
    NUCLEOTIDES,
    only,
    random_texts,
    runs,
)

from riboswitch import Alphabet, UsageError
from riboswitch.masking import Motifs, Origin, motifs, noise, recipe
from riboswitch.masking.noise import Purpose

search = pytest.importorskip("ahocorasick", reason="the extra pretrain is not installed")
LONG = random_texts(range(0, 900, 9), seed=3)


def occurrences(text: str, motif: str) -> list[int]:
    return [i for i in range(len(text)) if text.startswith(motif, i)]


def greedily(text: str, used: Motifs, room: int, key: np.ndarray) -> dict[int, int]:
    """The rule of `mask_motifs`, occurrence by occurrence: the origin of each masked letter."""
    order = []
    for number, motif in enumerate((*used.known, *used.ranked)):
        known = number < len(used.known)
        rank = int(noise.draw(noise.keys_for(key, Purpose.MOTIF), np.array([number]))[0]) >> 41
        for start in occurrences(text, motif):
            end = np.array([start + len(motif)])
            tie = int(noise.draw(noise.keys_for(key, Purpose.OCCURRENCE), end)[0]) >> 48
            place = (0, rank) if known else (1, number)
            origin = Origin.KNOWN_MOTIF if known else Origin.STATISTICAL_MOTIF
            order.append((*place, tie, start, len(motif), origin))
    masked: dict[int, int] = {}
    for *_, start, length, origin in sorted(order):
        if room and not masked.keys() & {*range(start, start + length)}:
            length = min(length, room)
            masked |= dict.fromkeys(range(start, start + length), origin)
            room -= length
    return masked


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.6])
@pytest.mark.parametrize(
    "used",
    [
        MOTIFS,
        Motifs(["A", "CC"], ["G"]),
        Motifs(["A" * 5], ["ACGUACGUACGU"]),
        Motifs([], ["UU", "G"]),
    ],
    ids=["few", "short", "rare", "ranked"],
)
def test_the_occurrences_are_those_that_the_rule_names(used, rate):
    batch = NUCLEOTIDES.encode(LONG)
    masked = only("motif", motifs=used, rate=rate).apply(batch, NUCLEOTIDES, seed=6)
    keys = noise.record_keys(6, 0, np.arange(len(batch), dtype=np.uint64))
    for number, (text, why) in enumerate(zip(LONG, batch.split(masked.origins), strict=True)):
        key = keys[number : number + 1]
        numbers = noise.draw(noise.keys_for(key, Purpose.BUDGET), np.array([0]))
        room = int(noise.round_randomly(np.array([len(text) * rate]), numbers)[0])
        expected = greedily(text, used, room, key)
        by_motif = np.isin(why, [Origin.KNOWN_MOTIF, Origin.STATISTICAL_MOTIF])
        assert {int(i) - 1: int(why[i]) for i in np.flatnonzero(by_motif)} == expected
        assert (why != 0).sum() == room  # the rest is single letters


@pytest.mark.parametrize("name", ["nucleotides", "3-mers"])
def test_how_much_is_sorted_at_a_time_does_not_show(name, monkeypatch):
    alphabet, used = ALPHABETS[name], only("motif", motifs=Motifs(random_texts([4, 5, 6] * 90)))
    batch = alphabet.encode(random_texts([300] * 50))
    expected = used.apply(batch, alphabet, seed=0).ids
    assert not np.array_equal(expected, batch.ids)
    for several in ((float("inf"),), (0.1, float("inf")), (0.2, 0.5, 1.0, float("inf"))):
        monkeypatch.setattr("riboswitch.masking.motif._GENEROSITY", several)
        assert np.array_equal(used.apply(batch, alphabet, seed=0).ids, expected)


def test_each_masked_stretch_is_occurrences_but_for_one_cut():
    used = recipe("rnaernie").motifs
    batch = NUCLEOTIDES.encode(LONG)
    masked = only("motif", motifs=used).apply(batch, NUCLEOTIDES, seed=1)
    whole = {*used.known, *used.ranked}
    assert not np.any(masked.origins == Origin.FILL)
    cuts = np.zeros(len(batch), int)
    for number, start, end in runs(batch, masked.labels != -100):
        text = LONG[number][start - 1 : end - 1]
        reach = {0}
        for i in range(len(text)):
            if i in reach:
                reach |= {j for j in range(i + 1, len(text) + 1) if text[i:j] in whole}
        cuts[number] += len(text) not in reach
    assert cuts.max() <= 1
    assert cuts.sum() < len(batch)


def test_known_motifs_come_first_and_statistical_ones_by_rank():
    text = "GGGGG" + "ACACAC" + "CUCUCUACUCUCU" + "GGGGG"
    used = Motifs(["ACACAC"], ["CUCUCU", "GGGGG"])
    batch = NUCLEOTIDES.encode([text] * 50)
    for room, letters in (
        (6, {"ACACAC"}),
        (12, {"ACACAC", "CUCUCU"}),
        (23, {"ACACAC", "CUCUCU", "GGGGG"}),
    ):
        masked = only("motif", motifs=used, rate=room / len(text)).apply(batch, NUCLEOTIDES, seed=2)
        for hit in batch.split(masked.labels != -100):
            seen = "".join(np.array(list(text))[hit[1:-1]])
            assert len(seen) in (room, room + 1)
            assert all(motif in seen for motif in letters)


def test_known_motifs_and_their_occurrences_are_drawn():
    used = Motifs(["AAAA", "CCCC"], ["GGGG"])
    batch = NUCLEOTIDES.encode(["GGGGUAAAAUCCCCUAAAAU"] * 4000)
    masked = only("motif", motifs=used, rate=0.2).apply(batch, NUCLEOTIDES, seed=2)
    starts = np.array([np.flatnonzero(hit)[0] - 1 for hit in batch.split(masked.labels != -100)])
    counts = np.bincount(starts, minlength=16)
    assert set(np.flatnonzero(counts)) == {5, 10, 15}
    assert counts[[5, 10, 15]] / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.04)


def test_what_motifs_do_not_fill_is_filled_and_told():
    used = Motifs(["ACGUACGU"])
    batch = NUCLEOTIDES.encode(["ACGUACGU" + "A" * 92, "C" * 100])
    masked = only("motif", motifs=used).apply(batch, NUCLEOTIDES, seed=0)
    counts = [np.bincount(why, minlength=4)[[1, 3]].tolist() for why in batch.split(masked.origins)]
    assert counts == [[8, 7], [0, 15]]


def test_letters_of_both_kinds_and_cases_are_alike():
    dna = Alphabet(
        tokens=NUCLEOTIDES.tokens[:-4] + tuple("ACGU"), ind="<ind>", types=NUCLEOTIDES.types
    )
    texts = ["GGGGauGCttcc" * 5]
    results = [
        only("motif", motifs=Motifs(known)).apply(alphabet.encode(texts), alphabet, seed=4)
        for known in (["AUGC"], ["atgc"], ["AtGc"])
        for alphabet in (NUCLEOTIDES, dna)
    ]
    assert np.any(results[0].origins == Origin.KNOWN_MOTIF)
    assert all(np.array_equal(r.labels != -100, results[0].labels != -100) for r in results)
    assert Motifs(["AUGC", "atgc"], ["ATGC", "GG"]).known == ("AUGC",)
    assert Motifs(["AUGC"], ["ATGC", "GG"]).ranked == ("GG",)


def test_no_motif_goes_over_the_end_of_a_sequence_or_an_unknown_letter():
    used = Motifs(["AACC"])
    for texts in (["GGAA", "CCGG"] * 9, ["GGAANCCGG", "GGAA<mask>CCGG"] * 5):
        batch = NUCLEOTIDES.encode(texts, warn=False)
        bare = batch.take(range(len(batch)))
        masked = only("motif", motifs=used, rate=0.6).apply(bare, NUCLEOTIDES, seed=0)
        assert not np.any(masked.origins == Origin.KNOWN_MOTIF)


@pytest.mark.parametrize("name", ["3-mers", "codons"])
def test_every_longer_word_that_shows_a_letter_of_an_occurrence_is_masked(name):
    alphabet = {"3-mers": KMERS, "codons": CODONS}[name]
    text = "GGGGGGG" + "AUAUA" + "GGGGGGGGGGGG" + "GGG" * 20
    batch = alphabet.encode([text] * 30)
    masked = only("motif", motifs=Motifs(["AUAUA"]), rate=0.3).apply(batch, alphabet, seed=3)
    shows = range(5, 12) if name == "3-mers" else range(2, 4)
    for why in batch.split(masked.origins):
        assert (np.flatnonzero(why == Origin.KNOWN_MOTIF) - 1).tolist() == [*shows]


def test_the_shipped_motifs():
    counts = {name: len(Motifs.read([name], [])) for name in motifs.SHIPPED}
    assert counts == {"attract": 3232, "spliceaid": 1805, "statistics": 10_000}
    used = recipe("rnaernie").motifs
    assert used.known[0] == "AAGAAGAA"
    ranked = Motifs.read([], ["statistics"]).ranked
    known = set(used.known)
    assert [motif for motif in ranked if motif not in known] == [*used.ranked]
    assert len(used) == len({*used.known, *used.ranked})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ACG\nAXN\n", r"line 2: the motif 'AXN' has 'N', 'X'"),
        ("", "has no motifs"),
        ("# nothing\n\n", "has no motifs"),
        ("ACGé\n", "line 1: the motif"),
    ],
)
def test_a_bad_motif_file_is_named(tmp_path, text, message):
    (tmp_path / "mine.txt").write_text(text, "utf-8")
    with pytest.raises(UsageError, match=f"(?s)mine.txt.*{message}|mine.txt, {message}"):
        Motifs.read(["mine.txt"], [], tmp_path)


def test_a_missing_motif_file_is_named():
    with pytest.raises(UsageError, match=r"attrakt cannot be read(.|\n)*attract, spliceaid"):
        Motifs.read(["attrakt"], [])
    with pytest.raises(UsageError, match="no motifs"):
        Motifs([])
    with pytest.raises(UsageError, match="no letters"):
        Motifs([""])


def test_without_the_library_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ahocorasick", None)
    batch = NUCLEOTIDES.encode(["ACGU" * 20])
    with pytest.raises(UsageError, match=r'pip install "riboswitch\[pretrain\]"'):
        only("motif", motifs=Motifs(["AC"])).apply(batch, NUCLEOTIDES, seed=0)
    only("span", motifs=Motifs(["AC"])).apply(batch, NUCLEOTIDES, seed=0)


def test_first_come_is_first_served():
    from riboswitch.masking.motif import _first_come

    rng = np.random.default_rng(0)
    for _ in range(50):
        starts, sizes = rng.integers(0, 60, 40), rng.integers(1, 9, 40)
        taken, expected = np.zeros(80, bool), []
        for start, size in zip(starts, sizes, strict=True):
            expected.append(not taken[start : start + size].any())
            taken[start : start + size] |= expected[-1]
        assert _first_come(starts, sizes, 80).tolist() == expected
