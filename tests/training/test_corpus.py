"""A corpus is read once, keeps what the model can take, and says what it left out."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from tests.training.runs import random_rna

from riboswitch.errors import ResourceError, SequenceError, StoreError, UsageError
from riboswitch.registry import registry
from riboswitch.training.corpus import Source, open_corpus
from riboswitch.training.packing import pack

NUCLEOTIDES = registry().model("rnaernie").alphabet
CODONS = registry().model("mrnafm").alphabet


def packed(folder, *files, alphabet=NUCLEOTIDES, **options):
    return pack(Source(files=files, **options), alphabet, folder / "corpus")


def test_records_come_back_as_they_were(tmp_path, fasta):
    one, two = random_rna(20), random_rna(5, seed=1)
    corpus = packed(tmp_path, fasta("a.fa", one), fasta("b.fa.gz", two))
    assert [corpus.text(i) for i in range(len(corpus))] == one + two
    assert corpus.text(3, 1, 4) == one[3][1:4]
    np.testing.assert_array_equal(corpus.lengths(np.arange(25)), [len(s) for s in one + two])
    again = open_corpus(tmp_path / "corpus")
    assert again.about == corpus.about and again.text(24) == two[4]
    assert isinstance(corpus.letters, np.memmap)


def test_types_are_found_in_the_header(tmp_path, fasta):
    path = fasta("a.fa", ["ACGU", "GGGG", "CCCC"], types=["tRNA", "unsaid", "miRNA"])
    corpus = packed(tmp_path, path, types="of (tRNA|miRNA)")
    assert [corpus.names[i] if i >= 0 else None for i in corpus.types] == ["tRNA", None, "miRNA"]
    assert corpus.about["types"] == {"tRNA": 1, "miRNA": 1}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("of (.+)", r"1 records have .* none of the model's: 'cat': 1, first in .*a\.fa\.\n.*tRNA"),
        ("of .+", "no group"),
        ("of (", "no regular expression"),
        ("kind=(.+)", "no header has a type"),
    ],
)
def test_types_that_cannot_be(tmp_path, fasta, pattern, message):
    path = fasta("a.fa", ["ACGU", "GGGG"], types=["tRNA", "cat"])
    with pytest.raises(UsageError, match=message):
        packed(tmp_path, path, types=pattern)
    assert not (tmp_path / "corpus").exists()


def test_what_is_excluded_is_left_out_in_either_spelling(tmp_path, fasta):
    path = fasta("a.fa", ["ACGUU", "GGGG", "acguu", "CCCC"])
    corpus = packed(tmp_path, path, exclude=(fasta("b.fa", ["ACGTT"]),), held_out=0)
    assert [corpus.text(i) for i in range(len(corpus))] == ["GGGG", "CCCC"]
    assert corpus.about["left_out"] == {"it equals a sequence of those to exclude": 2}


def test_what_the_model_cannot_take_is_left_out_and_counted(tmp_path, fasta):
    path = fasta("a.fa", ["ACGUUA", "AC", "ACGU", "", "ACG!!!", "GGG"])
    corpus = packed(tmp_path, path, alphabet=CODONS, held_out=0)
    assert [corpus.text(i) for i in range(len(corpus))] == ["ACGUUA", "GGG"]
    assert sorted(corpus.about["left_out"].values()) == [1, 1, 2]
    assert any("words of 3" in reason for reason in corpus.about["left_out"])


@pytest.mark.parametrize("sequences", [["AC"], [""], ["!!!!"]])
def test_a_corpus_of_nothing_says_why(tmp_path, fasta, sequences):
    with pytest.raises(SequenceError, match=r"no sequence to train on.* 1 left out \(1 because"):
        packed(tmp_path, fasta("a.fa", sequences), alphabet=CODONS)
    assert not (tmp_path / "corpus").exists()


def test_an_empty_file_is_named(tmp_path, fasta):
    with pytest.raises(SequenceError, match=r"a\.fa has no records"):
        packed(tmp_path, fasta("a.fa", []))


def test_held_out_sequences_are_a_share_and_equals_stay_together(tmp_path, fasta):
    sequences = random_rna(2000, longest=40)
    path = fasta("a.fa", sequences + [s.replace("U", "T").lower() for s in sequences])
    corpus = packed(tmp_path, path, held_out=0.25)
    assert 0.2 < corpus.held_out.mean() < 0.3
    np.testing.assert_array_equal(corpus.held_out[:2000], corpus.held_out[2000:])


def test_damage_is_noticed(tmp_path, fasta):
    packed(tmp_path, fasta("a.fa", random_rna(9)))
    letters = tmp_path / "corpus" / "letters.bin"
    letters.write_bytes(letters.read_bytes()[:-1])
    with pytest.raises(StoreError, match="cut short"):
        open_corpus(tmp_path / "corpus")
    (tmp_path / "corpus" / "types.npy").write_bytes(b"")
    with pytest.raises(StoreError, match="damaged"):
        open_corpus(tmp_path / "corpus")


def test_a_full_disk_leaves_nothing(tmp_path, fasta, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = fasta("a.fa", random_rna(9))
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ResourceError, match="No space left"):
        packed(tmp_path, path)
    assert not (tmp_path / "corpus").exists()


def test_the_hash_is_of_the_records(tmp_path, fasta):
    path = fasta("a.fa", random_rna(9))
    one = pack(Source(files=(path,)), NUCLEOTIDES, tmp_path / "1")
    two = pack(Source(files=(path, path)), NUCLEOTIDES, tmp_path / "2")
    three = pack(Source(files=(path,)), NUCLEOTIDES, tmp_path / "3")
    assert one.about["sha256"] == three.about["sha256"] != two.about["sha256"]
    assert json.dumps(one.about)
    assert one.about["files"] == three.about["files"] == two.about["files"][:1]


def test_a_corpus_need_not_fit_in_memory(tmp_path):
    path, letters = tmp_path / "large.fa", 16_000_000
    with path.open("w") as file:
        for i in range(letters // 4000):
            file.write(f">s{i}\n{'ACGU' * 1000}\n")
    tracemalloc.start()
    try:
        corpus = packed(tmp_path, str(path), held_out=0)
        texts = {corpus.text(i) for i in range(0, len(corpus), 100)}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(corpus.letters) == letters and texts == {"ACGU" * 1000}
    assert peak < letters / 4


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_cannot_be(share):
    with pytest.raises(UsageError, match="held_out"):
        Source(files=("a.fa",), held_out=share)
