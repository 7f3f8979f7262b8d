from __future__ import annotations

import re
import warnings
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riboswitch import Alphabet, SequenceError, UsageError
from riboswitch.errors import UnknownLetterWarning
from riboswitch.registry import registry

SPECIAL = ("<cls>", "<pad>", "<eos>", "<unk>")


def kmers(k: int, *, stride: int = 1) -> Alphabet:
    words = ("".join(w) for w in product("ACGU", repeat=k))
    return Alphabet(tokens=(*SPECIAL, *words, "<mask>"), k=k, stride=stride)


NUCLEOTIDES, CODONS, ERNIE = (
    registry().models[n].alphabet for n in ("rnafm", "mrnafm", "rnaernie")
)
RINALMO = registry().models["rinalmo-giga"].alphabet
ALPHABETS = {
    "rnafm": NUCLEOTIDES,
    "rinalmo": RINALMO,
    "rnaernie": ERNIE,
    "2-mers": kmers(2),
    "3-mers": kmers(3),
    "4-mers": kmers(4),
    "codons": CODONS,
}
UNITS = [*"ACGTUacgtuNRYKMSWBDHVI-", "<mask>", "<unk>", "J", "é", "嗨", "<", "?"]


@pytest.fixture(scope="module", params=ALPHABETS)
def alphabet(request) -> Alphabet:
    return ALPHABETS[request.param]


def texts(alphabet: Alphabet, units: list[str]) -> st.SearchStrategy[str]:
    """Texts that can be cut into words; a mask is one letter, or one codon."""
    unit = st.sampled_from(units)
    if alphabet.stride > 1:
        letters = [u for u in units if not u.startswith("<")]
        codon = st.lists(st.sampled_from(letters), min_size=3, max_size=3).map("".join)
        unit = codon | st.sampled_from([u for u in units if len(u) > 2] or letters)
        return st.lists(unit, max_size=8).map("".join).filter(lambda t: _letters(t, 3) % 3 == 0)
    return (
        st.lists(unit, max_size=30)
        .map("".join)
        .filter(lambda t: not 0 < _letters(t, 1) < alphabet.k)
    )


def _letters(text: str, width: int) -> int:
    return len(re.sub("<mask>|<unk>", "x" * width, text))


def encode(alphabet: Alphabet, sequences: list[str], **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownLetterWarning)
        return alphabet.encode(sequences, **options)


@given(st.data())
def test_known_letters_come_back_upper_case_as_rna(alphabet, data):
    text = data.draw(texts(alphabet, [*"ACGTUacgtu"]))
    (back,) = alphabet.decode(alphabet.encode([text]))
    assert back == text.upper().replace("T", "U")


@given(st.data())
def test_whatever_was_encoded_decodes_to_text_of_the_same_tokens(alphabet, data):
    batch = encode(alphabet, data.draw(st.lists(texts(alphabet, UNITS), max_size=4)))
    assert encode(alphabet, alphabet.decode(batch)) == batch


@given(st.data())
def test_a_batch_is_its_sequences_side_by_side(alphabet, data):
    sequences = data.draw(st.lists(texts(alphabet, UNITS), max_size=5))
    batch = encode(alphabet, sequences)
    alone = [encode(alphabet, [s]).ids for s in sequences]
    assert len(batch) == len(alone)
    assert all(np.array_equal(a, b) for a, b in zip(batch, alone, strict=True))


@given(st.data())
def test_every_sequence_stands_between_its_special_tokens(alphabet, data):
    text = data.draw(texts(alphabet, UNITS))
    ids = encode(alphabet, [text]).ids
    letters = _letters(text, alphabet.stride)
    assert ids[0] == alphabet.index[alphabet.cls]
    assert ids[-1] == alphabet.index[alphabet.eos]
    assert len(ids) == alphabet.num_tokens(letters) == alphabet.num_words(letters) + 2
    inside = {alphabet.mask_id, alphabet.unk_id, *(alphabet.index[w] for w in alphabet.words)}
    assert set(ids[1:-1].tolist()) <= inside


@given(st.data())
def test_the_warning_counts_what_became_unknown(alphabet, data):
    sequences = data.draw(st.lists(texts(alphabet, [*"ACGUNJéZ"]), max_size=4))
    known = set(alphabet.words)
    expected, homes = Counter(), 0
    for s in sequences:
        starts = range(0, len(s) - alphabet.k + 1, alphabet.stride)
        words = [s[i : i + alphabet.k].replace("é", "?") for i in starts]
        missing = [w for w in words if not {w, w.replace("U", "T")} & known]
        expected.update(missing)
        homes += bool(missing)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        alphabet.encode(sequences)
    assert len(caught) == bool(expected)
    assert sum((alphabet.unknown_words(s) for s in sequences), Counter()) == expected
    if caught:
        message = str(caught[0].message)
        assert caught[0].category is UnknownLetterWarning
        total = expected.total()
        assert re.match(rf"{total} [a-z-]+ in {homes} sequences? became", message)
        shown = {w: int(n) for w, n in re.findall(r"'(.+?)' (\d+)", message)}
        assert shown.items() <= expected.items()
        assert len(shown) == min(8, len(expected))


def test_marks_that_stand_in_the_text_are_no_unknown_letters(alphabet):
    text = "A<unk>CGU<mask>GG" if alphabet.stride == 1 else "AUG<unk>GCC<mask>"
    alphabet.encode([text])  # a warning would be an error
    assert not alphabet.unknown_words(text)


def test_the_warning_points_at_the_caller():
    with pytest.warns(UnknownLetterWarning) as caught:
        NUCLEOTIDES.encode(["ACGJ"])
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("alphabet", "text", "tokens"),
    [
        (NUCLEOTIDES, "acgtuU", "A C G U U U"),
        (RINALMO, "acgtuU", "A C G T T T"),
        (ERNIE, "acgtu", "A C G T T"),
        (NUCLEOTIDES, "X.-N", "N - - N"),
        (RINALMO, "IRYKMSWBDHVN-", "I R Y K M S W B D H V N -"),
        (NUCLEOTIDES, "A<mask>C<unk>G", "A <mask> C <unk> G"),
        (ERNIE, "A<mask>N", "A [MASK] [UNK]"),
        (CODONS, "AUG<mask>gttNNN<unk>", "AUG <mask> GUU <unk> <unk>"),
        (kmers(2), "AC<mask>GU", "AC <mask> <mask> GU"),
        (kmers(3), "ACGTA", "ACG CGU GUA"),
        (kmers(3), "ANCGU", "<unk> <unk> CGU"),
        (kmers(2), "N<mask>N", "<mask> <mask>"),
        (NUCLEOTIDES, "A é嗨", "A <unk> <unk> <unk>"),
        (NUCLEOTIDES, "\u017f\u0131", "<unk> <unk>"),  # str.upper makes S and I of these
        (NUCLEOTIDES, "ßA", "<unk> A"),  # and two letters of this one
        (NUCLEOTIDES, "A<MASK>", "A <unk> M A S K <unk>"),
        (NUCLEOTIDES, "A\x01\x02\n", "A <unk> <unk> <unk>"),
    ],
)
@pytest.mark.filterwarnings("ignore::riboswitch.errors.UnknownLetterWarning")
def test_letters_become(alphabet, text, tokens):
    ids = alphabet.encode([text]).ids[1:-1]
    assert [alphabet.tokens[i] for i in ids] == tokens.split()


def test_an_empty_text_has_only_special_tokens(alphabet):
    assert alphabet.encode([""]).ids.tolist() == [
        alphabet.index[alphabet.cls],
        alphabet.index[alphabet.eos],
    ]


def test_no_texts_make_an_empty_batch(alphabet):
    assert len(alphabet.encode([])) == 0
    assert alphabet.decode(alphabet.encode([])) == []


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_overlapping_words_never_cross_from_one_text_to_the_next(k):
    a = kmers(k)
    assert encode(a, ["A" * 9, "", "C" * 9, "G" * k]) == a.encode(["A" * 9, "", "C" * 9, "G" * k])
    batch = a.encode(["A" * 9, "", "C" * 9, "G" * k])
    assert batch.lengths.tolist() == [12 - k, 2, 12 - k, 3]
    words = [{a.tokens[i] for i in ids[1:-1]} for ids in batch]
    assert words == [{"A" * k}, set(), {"C" * k}, {"G" * k}]


def test_a_prompt_stands_before_the_end():
    batch = ERNIE.encode(["ACG", "U"], prompt="tRNA")
    shown = [" ".join(ERNIE.tokens[i] for i in ids) for ids in batch]
    assert shown == ["[CLS] A C G [IND] tRNA [SEP]", "[CLS] T [IND] tRNA [SEP]"]
    assert ERNIE.num_tokens(3, prompt=True) == 7
    assert ERNIE.decode(batch) == ["ACG", "U"]


def test_an_unknown_prompt_lists_the_types():
    with pytest.raises(UsageError, match=r"no type 'xRNA'.*\n.*lncRNA, miRNA"):
        ERNIE.encode(["ACG"], prompt="xRNA")


def test_an_alphabet_without_prompts_says_so():
    with pytest.raises(UsageError, match="no type prompts"):
        NUCLEOTIDES.encode(["ACG"], prompt="tRNA")


@pytest.mark.parametrize(
    ("alphabet", "text", "what"),
    [(CODONS, "AUGC", "length 4 is not divisible by 3"), (kmers(3), "AC", "shorter than a word")],
)
def test_a_text_that_cannot_be_cut_is_named(alphabet, text, what):
    with pytest.raises(SequenceError, match=f"sequence 2: .*{what}"):
        alphabet.encode(["AUGAUG", "", text])


def test_one_string_is_no_list_of_texts():
    with pytest.raises(UsageError, match="not one string"):
        NUCLEOTIDES.encode("ACGU")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"tokens": (*SPECIAL, "A", "A", "<mask>")}, "'A' stands twice"),
        ({"tokens": (*SPECIAL, "A")}, "lacks '<mask>'"),
        ({"tokens": (*SPECIAL, "A", "<mask>"), "ind": "<ind>"}, "lacks '<ind>'"),
        ({"tokens": (*SPECIAL, "A", "<mask>"), "types": ("tRNA",)}, "lacks 'tRNA'"),
        ({"tokens": (*SPECIAL, "A", "<mask>"), "k": 0}, "k must be positive"),
        ({"tokens": (*SPECIAL, "AA", "<mask>"), "k": 3, "stride": 2}, "stride 1 or k"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(changes, what):
    with pytest.raises(UsageError, match=what):
        Alphabet(**changes)


def test_special_tokens_of_letters_are_no_words():
    """RNAErnie's types and RNA-FM's nulls must not be read as nucleotides."""
    assert ERNIE.words == ("A", "T", "C", "G")
    assert NUCLEOTIDES.words == tuple("ACGURYKMSWBDHVN-")
    assert len(CODONS.words) == 64
    assert ERNIE.to_rna("T") == "U"
    assert ERNIE.to_rna("tRNA") == "tRNA"
