"""Types that headers name, in RNAcentral's spelling too, and those that no model knows."""

from __future__ import annotations

import re

import pytest
from tests.training.runs import random_rna

from riboswitch.errors import UsageError
from riboswitch.registry import registry
from riboswitch.training.corpus import NO_TYPE, Source
from riboswitch.training.packing import pack
from riboswitch.training.types import Types

ALPHABET = registry().model("rnaernie").alphabet
WHOLE = re.compile("(.+)")


def packed(folder, *files):
    return pack(Source(files=files, types="of (.+)"), ALPHABET, folder / "corpus")


def test_underscores_do_not_matter(tmp_path, fasta):
    kinds = ["pre_miRNA", "premiRNA", "tRNA", "RNase_P_RNA"]
    corpus = packed(tmp_path, fasta("a.fa", random_rna(4), types=kinds))
    assert corpus.about["types"] == {"premiRNA": 2, "tRNA": 1, "RNasePRNA": 1}


def test_a_name_as_it_is_goes_first_and_two_alike_are_not_guessed_at():
    types = Types(WHOLE, ("a_b", "ab", "c_d"))
    assert [types.find(name, "a.fa") for name in ("a_b", "ab", "cd", "c_d")] == [0, 1, 2, 2]
    assert types.find("a__b", "a.fa") == NO_TYPE
    with pytest.raises(UsageError, match=r"'a__b': 1, first in a\.fa, did you mean 'a_b'\?"):
        types.check()


def test_all_unknown_ones_are_told_at_once(tmp_path, fasta):
    first = fasta("a.fa", random_rna(4), types=["tRNA", "cat", "dog", "cat"])
    second = fasta("b.fa", random_rna(6), types=["tRNAs", "cat", "v", "w", "x", "y"])
    with pytest.raises(UsageError) as caught:
        packed(tmp_path, first, second)
    told, cure = str(caught.value).split("\n")
    assert told.startswith("9 records have a type that is none of the model's: 'cat': 3, first in ")
    assert f"'cat': 3, first in {first};" in told and f"'dog': 1, first in {first};" in told
    assert f"'tRNAs': 1, first in {second}, did you mean 'tRNA'?" in told
    assert told.endswith("; and 2 others.") and "tRNA" in cure
    assert not (tmp_path / "corpus").exists()


def test_an_expression_that_finds_another_name_in_each_header():
    types = Types(WHOLE, ("tRNA",))
    for number in range(2000):
        types.find(f"s{number}", "a.fa")
    with pytest.raises(UsageError, match=r"2000 records .* and at least 995 others"):
        types.check()
