"""What becomes of each token when the vocabulary changes."""

from __future__ import annotations

import numpy as np
import pytest

from riboswitch import Alphabet, CheckpointError
from riboswitch.conversion.vocabulary import change
from riboswitch.registry import registry
from riboswitch_adapters.layouts.multimolecule import NUCLEOTIDES

TEXTS = ["ACGUacguT", "NRYKMSWBDHVI", "ACG-.X*|?N", "<mask>AC<unk>"]


def alphabet(name: str) -> Alphabet:
    return registry().model(name).alphabet


def test_the_same_vocabulary_is_no_change() -> None:
    assert change(alphabet("rnafm"), alphabet("rnafm")) is None


@pytest.mark.parametrize("old", ["rnafm", "rinalmo-giga", "rnaernie"])
@pytest.mark.parametrize("back", [False, True])
def test_a_text_gets_the_same_numbers(old: str, back: bool) -> None:
    """The new tokens' rows are those of the old tokens that the same text has."""
    first, second = alphabet(old), NUCLEOTIDES
    if back:
        first, second = second, first
    found = change(first, second)
    assert found is not None
    for text in TEXTS if not back else TEXTS[:1]:
        new = second.encode([text], warn=False).ids
        np.testing.assert_array_equal(found.rows[new], first.encode([text], warn=False).ids)


def test_what_is_lost_and_what_is_borrowed() -> None:
    found = change(alphabet("rnaernie"), NUCLEOTIDES)
    assert found is not None
    assert set(found.lost) == {"[DEL]", "[IND]", *alphabet("rnaernie").types}
    assert found.borrowed.keys() == {"<null>", *"NRYSWKMBDHVIX|.*-?"}
    assert set(found.borrowed.values()) == {"[UNK]"}
    found = change(alphabet("rnafm"), NUCLEOTIDES)
    assert found is not None
    assert found.lost == ("<null_2>", "<null_3>", "<null_4>")
    assert {k: v for k, v in found.borrowed.items() if v != "<unk>"} == {"X": "N", ".": "-"}


def test_special_tokens_keep_their_parts() -> None:
    old, new = alphabet("rnaernie"), NUCLEOTIDES
    found = change(old, new)
    assert found is not None
    for role in ("cls", "pad", "eos", "unk", "mask"):
        row = found.rows[new.index[getattr(new, role)]]
        assert old.tokens[row] == getattr(old, role)


def test_words_of_another_length_are_refused() -> None:
    with pytest.raises(CheckpointError, match="words of 3 letters cannot become words of 1"):
        change(alphabet("mrnafm"), alphabet("rnafm"))
