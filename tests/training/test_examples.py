"""An example is a pure function of seed, epoch and record: of no batch, worker or process."""

from __future__ import annotations

import numpy as np
import pytest
from tests.training.runs import random_rna, write_fasta

from riboswitch.masking import IGNORED, Origin, recipe
from riboswitch.registry import registry
from riboswitch.training.corpus import Source
from riboswitch.training.examples import Examples
from riboswitch.training.packing import pack

KINDS = ["tRNA", "miRNA", "other kinds"] * 20


def examples(folder, *, model="rnaernie", longest=1000, shown=1.0, pool="cls", letters=90):
    alphabet = registry().model(model).alphabet
    step = alphabet.stride
    path = write_fasta(folder / "a.fa", random_rna(60, longest=letters, step=step), KINDS)
    types = "of (tRNA|miRNA)" if alphabet.types else None
    source = Source(files=(str(path),), types=types)
    corpus = pack(source, alphabet, folder / f"corpus-{model}")
    return Examples(
        corpus=corpus,
        alphabet=alphabet,
        recipe=recipe("rnaernie"),
        seed=3,
        longest=longest,
        shown=shown,
        pool=pool,
    )


def by_length(made, records):
    """What was made of each record; lengths tell them apart."""
    return {len(ids): ids.tolist() for ids in made.work.batch}


def test_masks_do_not_depend_on_the_batch(tmp_path):
    source = examples(tmp_path)
    lengths = source.tokens(np.arange(60))
    chosen = np.unique(lengths, return_index=True)[1]
    together = by_length(source.make(chosen, 2), chosen)
    assert len(together) == len(chosen) > 20
    for record in chosen[::5]:
        alone = source.make(np.array([record]), 2)
        assert by_length(alone, [record]).items() <= together.items()
    again = by_length(source.make(chosen[::-1], 2), chosen)
    assert again == together
    assert by_length(source.make(chosen, 3), chosen) != together


def test_labels_are_what_stood_there(tmp_path):
    source = examples(tmp_path, shown=0)
    records = np.arange(60)
    made = source.make(records, 0)
    assert not np.any(made.work.labels == IGNORED)
    words = made.origins != Origin.TYPE
    order = np.argsort(source.tokens(records), kind="stable")
    plain = source.alphabet.encode([source.corpus.text(int(r)) for r in order])
    np.testing.assert_array_equal(plain.ids[made.work.places[words]], made.work.labels[words])
    changed = np.flatnonzero(plain.ids != made.work.batch.ids)
    assert set(changed) <= set(made.work.places[words]) and len(changed) > 100
    assert np.all(np.diff(made.work.batch.lengths) >= 0)


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("shown", [0.0, 0.5, 1.0])
def test_types_are_predicted_whether_they_are_shown_or_not(tmp_path, pool, shown):
    source = examples(tmp_path, shown=shown, pool=pool)
    made = source.make(np.arange(60), 0)
    work, alphabet = made.work, source.alphabet
    kinds = made.origins == Origin.TYPE
    assert kinds.sum() == 40
    wanted = sorted(alphabet.tokens[i] for i in work.labels[kinds])
    assert wanted == ["miRNA"] * 20 + ["tRNA"] * 20
    prompts = np.isin(work.batch.ids, [alphabet.index["tRNA"], alphabet.index["miRNA"]])
    share = {0.0: (0, 0), 0.5: (10, 30), 1.0: (40, 40)}[shown]
    assert share[0] <= prompts.sum() <= share[1]
    assert (len(work.sequences), len(work.places[kinds[: len(work.places)]])) == (
        (40, 0) if pool == "mean" else (0, 40)
    )
    if pool == "cls":
        assert set(work.places[kinds]) <= set(work.batch.offsets[:-1])
    assert not set(work.places[~kinds[: len(work.places)]]) & set(np.flatnonzero(prompts))
    assert set(work.tail[np.isin(work.tail, [3])]) == ({3} if shown else set())
    assert (work.tail == 3).sum() == prompts.sum()


def test_a_recipe_without_types_predicts_none(tmp_path):
    source = examples(tmp_path)
    plain = Examples(
        corpus=source.corpus,
        alphabet=source.alphabet,
        recipe=recipe("bert"),
        seed=3,
        longest=1000,
        shown=1.0,
        pool="cls",
    )
    assert Origin.TYPE not in plain.make(np.arange(60), 0).origins


@pytest.mark.parametrize("model", ["rnaernie", "mrnafm"])
def test_of_a_long_sequence_each_epoch_takes_another_piece(tmp_path, model):
    source = examples(tmp_path, model=model, longest=12, letters=300, shown=0)
    record = np.array([int(np.argmax(source.corpus.lengths(np.arange(60))))])
    whole = source.alphabet.encode([source.corpus.text(int(record[0]))]).ids[1:-1].tolist()
    starts = set()
    for epoch in range(12):
        work = source.make(record, epoch).work
        ids = work.batch.ids.copy()
        ids[work.places] = work.labels[: len(work.places)]
        piece = ids[1:-1].tolist()
        assert len(piece) == 12 // source.alphabet.stride
        found = [i for i in range(len(whole)) if whole[i : i + len(piece)] == piece]
        assert found
        starts.add(found[0])
    assert len(starts) > 6


def test_tokens_are_counted_beforehand(tmp_path):
    for model in ("rnaernie", "mrnafm", "rnafm"):
        source = examples(tmp_path, model=model, longest=30)
        made = source.make(np.arange(60), 0)
        counted = np.sort(source.tokens(np.arange(60)))
        np.testing.assert_array_equal(np.sort(made.work.batch.lengths), counted)


def test_dropout_has_a_seed_of_its_own_for_each_micro_batch(tmp_path):
    source = examples(tmp_path)
    seeds = {source.make(np.array([i]), e).work.seed for i in range(9) for e in range(3)}
    assert len(seeds) == 27 and all(0 <= seed < 2**31 for seed in seeds)


def test_what_is_muted_has_no_weight(tmp_path):
    made = examples(tmp_path).make(np.arange(60), 0)
    assert made.count(types=True) == 40
    weights = made.weighted(2.0, 3.0).weights
    assert set(weights[made.origins == Origin.TYPE]) == {3.0}
    assert set(weights[made.origins != Origin.TYPE]) == {2.0}
    muted = made.muted()
    assert not np.any(muted.weighted(2.0, 3.0).weights)
    assert muted.count(types=True) == muted.count(types=False) == 0
