"""Recipes: by name, from a file, and what they refuse."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from attrs import evolve
from tests.masking.masks import KMERS, NUCLEOTIDES, only, random_texts

import riboswitch
from riboswitch import SequenceError, TokenBatch, UsageError
from riboswitch.masking import Origin, Recipe, recipe

BATCH = NUCLEOTIDES.encode(random_texts([40] * 5))


def written(tmp_path, text: str) -> str:
    pytest.importorskip("yaml", reason="the extra `pretrain`")
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    return str(path)


def test_the_named_ones():
    bert, rnaernie = recipe("bert"), recipe("rnaernie")
    assert (bert.rate, bert.mask, bert.random, bert.keep) == (0.15, 0.8, 0.1, 0.1)
    assert bert.strategies == {"nucleotide": 1} and not bert.predict_type
    assert rnaernie.strategies == {"nucleotide": 1, "span": 1, "motif": 1}
    assert rnaernie.predict_type
    assert rnaernie.spans == {5: 1, 6: 1 / 2, 7: 1 / 3, 8: 1 / 4}


def test_a_file_says_everything(tmp_path):
    (tmp_path / "own.txt").write_text("ACG\n# a remark\nguu  # another\n")
    text = """
    rate: 0.3
    mask: 1
    random: 0
    keep: 0.0
    strategies: {motif: 2, span: 1}
    spans: {3: 1, 4: 0.5}
    motifs: {known: [own.txt], statistical: [statistics]}
    predict_type: true
    """
    found = recipe(written(tmp_path, text))
    assert (found.rate, found.mask, found.random, found.keep) == (0.3, 1, 0, 0)
    assert found.strategies == {"span": 1, "motif": 2}
    assert found.spans == {3: 1, 4: 0.5} and found.predict_type
    assert found.motifs.known == ("ACG", "GUU") and len(found.motifs.ranked) == 10_000


def test_numbers_that_yaml_takes_for_text(tmp_path):
    text = "rate: 1e-1\nstrategies: {span: 1e0}\nspans: {5: 1e-3, 6: 2e-3}"
    found = recipe(written(tmp_path, text))
    assert (found.rate, found.strategies, found.spans) == (0.1, {"span": 1}, {5: 1e-3, 6: 2e-3})


def test_an_empty_file_is_the_default(tmp_path):
    assert recipe(written(tmp_path, "")) == Recipe() == recipe("bert")


def test_the_order_of_weights_does_not_matter():
    one = only("span", strategies={"span": 1, "nucleotide": 2}, spans={5: 1, 7: 2})
    other = only("span", strategies={"nucleotide": 2, "span": 1}, spans={7: 2, 5: 1})
    assert one == other
    batch = NUCLEOTIDES.encode(random_texts([100] * 50))
    masks = [r.apply(batch, NUCLEOTIDES, seed=1).ids for r in (one, other)]
    assert np.array_equal(*masks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rat: 0.2", "unknown key 'rat'. Did you mean 'rate'"),
        ("startegies: {span: 1}", "Did you mean 'strategies'"),
        ("strategies: {spam: 1}", "strategies has the unknown key 'spam'. Did you mean 'span'"),
        ("strategies: {span: -1}", "'span' in strategies is -1"),
        ("strategies: {span: 0}", "all 0"),
        ("strategies: {}", "all 0"),
        ("strategies: [span]", "strategies must be keys with values"),
        ("strategies: {motif: 1}", "no motifs"),
        ("motifs: {know: [attract]}", "Did you mean 'known'"),
        ("motifs: {known: attract}", "must be a list of files"),
        ("motifs: {known: [nowhere.txt]}", "nowhere.txt cannot be read"),
        ("rate: 1.5", "rate is 1.5"),
        ("rate: -0.1", "rate is -0.1"),
        ("rate: 15%", "rate is '15%'"),
        ("rate: .nan", "rate is nan"),
        ("rate: true", "rate is True"),
        ("mask: 0.9", "must add up to 1"),
        ("spans: {0: 1}", "span length is 0"),
        ("spans: {five: 1}", "span length is 'five'"),
        ("spans: {5: .inf}", "weight of 5 in spans is inf"),
        ("spans: [5, 6]", "pairs of a name and a number"),
        ("predict_type: 1", "predict_type is 1"),
        (
            "spans: {100000000000000000000: 1}",
            "a span length is 100000000000000000000, and must be",
        ),
        (f"spans: {{5: 1{'0' * 400}}}", "the weight of 5 in spans is 1000"),
        (f"rate: 1{'0' * 5000}", "cannot be read as YAML"),
        ("rate: ten", "rate is 'ten', and must be a number from 0 to 1"),
        ("- rate", "must be keys with values"),
        ("a: b: c", "cannot be read as YAML"),
        ("rate: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(tmp_path, text, message):
    with pytest.raises(UsageError) as caught:
        recipe(written(tmp_path, text))
    assert "mine.yaml" in str(caught.value) and message in str(caught.value)


def test_an_unknown_name():
    with pytest.raises(UsageError, match=r"Did you mean 'rnaernie'(.|\n)*bert, rnaernie; or"):
        recipe("rna-ernie")


def test_a_file_without_pyyaml_names_the_cure(tmp_path, monkeypatch):
    path = written(tmp_path, "rate: 0.1")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UsageError, match=r'pip install "riboswitch\[pretrain\]"'):
        recipe(path)


@pytest.mark.parametrize("records", [[0, 1], [[0, 1, 2, 3, 4]], 3])
def test_one_record_number_for_each_sequence(records):
    with pytest.raises(UsageError, match="and the batch 5 sequences"):
        recipe("bert").apply(BATCH, NUCLEOTIDES, seed=0, records=records)


@pytest.mark.parametrize("records", [[0, 1, 2, 3, -4], [0.0, 1.0, 2.0, 3.0, 4.0]])
def test_record_numbers_are_whole(records):
    with pytest.raises(UsageError, match="whole numbers from 0"):
        recipe("bert").apply(BATCH, NUCLEOTIDES, seed=0, records=records)


@pytest.mark.parametrize("value", [-1, 2**64, 0.5, True, "1"])
@pytest.mark.parametrize("name", ["seed", "epoch"])
def test_seed_and_epoch_are_whole(name, value):
    with pytest.raises(UsageError, match=f"{name} is "):
        recipe("bert").apply(BATCH, NUCLEOTIDES, **{"seed": 0, name: value})


def test_a_batch_of_another_alphabet():
    with pytest.raises(UsageError, match="not in the alphabet"):
        recipe("bert").apply(TokenBatch([99], [0, 1]), NUCLEOTIDES, seed=0)


def test_texts_are_to_be_encoded_first():
    with pytest.raises(UsageError, match=r"not list(.|\n)*alphabet.encode"):
        recipe("bert").apply(["ACGU"], NUCLEOTIDES, seed=0)


def test_a_sequence_shorter_than_a_word_is_named_when_it_is_encoded():
    with pytest.raises(SequenceError, match="sequence 1: its length 2 is shorter than a word of 3"):
        KMERS.encode(["ACGU", "AC"])
    masked = recipe("bert").apply(KMERS.encode([""]), KMERS, seed=0)
    assert masked.labels.tolist() == [-100, -100]


def test_seeds_epochs_and_records_each_matter():
    def masks(**changes: object) -> bytes:
        numbers = {"seed": 1, "epoch": 2, "records": np.arange(5), **changes}
        return recipe("bert").apply(BATCH, NUCLEOTIDES, **numbers).labels.tobytes()

    same = masks()
    assert masks() == same == masks(seed=np.int64(1), records=range(5))
    changed = {
        masks(seed=2),
        masks(epoch=1),
        masks(records=np.arange(1, 6)),
        masks(seed=2, epoch=1),
    }
    assert len(changed | {same}) == 5


def test_records_are_0_1_unless_given():
    ids = [
        recipe("bert").apply(BATCH, NUCLEOTIDES, seed=1, records=r).ids for r in (None, range(5))
    ]
    assert np.array_equal(*ids)


def test_a_rate_of_none_and_of_all():
    for rate in (0, 1):
        masked = only("nucleotide", rate=rate).apply(BATCH, NUCLEOTIDES, seed=0)
        assert (masked.labels != -100).sum() == rate * 40 * 5


def test_a_weight_of_0_is_none():
    for changes in ({"spans": {5: 1}}, {"spans": {5: 1, 90: 0}}):
        masked = only("span", **changes).apply(BATCH, NUCLEOTIDES, seed=0)
        assert (masked.origins == Origin.SPAN).sum() in (20, 25, 30)


def test_recipes_can_be_changed_and_compared():
    changed = evolve(recipe("rnaernie"), rate=0.3)
    assert changed.rate == 0.3 and changed.motifs == recipe("rnaernie").motifs
    assert changed != recipe("rnaernie")
    assert hash(recipe("bert")) == hash(Recipe())


def test_the_package_knows_masking_and_imports_no_library_for_it():
    code = (
        "import sys, riboswitch\n"
        "assert 'riboswitch.masking' not in sys.modules\n"
        "assert 'masking' in dir(riboswitch)\n"
        "riboswitch.masking.recipe('rnaernie')\n"
        "assert not {'ahocorasick', 'yaml'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert riboswitch.masking.recipe is recipe
