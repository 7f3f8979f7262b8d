"""What a model computes: embeddings, outputs and the words behind a mask."""

from __future__ import annotations

import numpy as np
import pytest

from riboswitch import (
    Fill,
    SequenceError,
    TokenBatch,
    UsageError,
)
from riboswitch.limits import max_residues


@pytest.fixture(scope="module")
def rnafm(small):
    return small("rnafm", "numpy")


@pytest.fixture(scope="module")
def mrnafm(small):
    return small("mrnafm", "numpy")


@pytest.fixture(scope="module")
def rnaernie(small):
    return small("rnaernie", "numpy")


def test_embed_gives_float32_rows_of_the_residues_in_order(rnafm):
    sequences = ["ACGUACGU", "A", "GG", "ACGUACGU"]
    arrays = rnafm.embed(sequences)
    assert [a.shape for a in arrays] == [(len(s), 48) for s in sequences]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}
    out = rnafm.forward(sequences).representation
    assert all(np.allclose(a, r[1:-1], atol=5e-6) for a, r in zip(arrays, out, strict=True))


def test_embed_in_float64_still_gives_float32(small):
    model = small("rnafm", "numpy", "float64")
    assert model.embed(["ACGU"])[0].dtype == np.float32
    assert model.forward(["ACGU"]).representation[0].dtype == np.float64
    for pool in ("mean", "max", "cls"):
        for window in (None, 4):
            assert model.embed(["ACGUACGU"], pool=pool, window=window).dtype == np.float32


def test_a_codon_has_one_row(mrnafm):
    assert mrnafm.embed(["AUGGCC"])[0].shape == (2, 48)


def test_pooling_is_over_the_residues(rnafm):
    sequences = ["ACGUAC", "GG"]
    rows = rnafm.embed(sequences)
    cls = [r[0] for r in rnafm.forward(sequences).representation]
    for pool, expected in (
        ("mean", [r.mean(0) for r in rows]),
        ("max", [r.max(0) for r in rows]),
        ("cls", cls),
    ):
        pooled = rnafm.embed(sequences, pool=pool)
        assert (pooled.shape, pooled.dtype) == ((2, 48), np.float32)
        np.testing.assert_allclose(pooled, expected, rtol=0, atol=5e-6)


def test_layers_are_counted_from_the_embedding_and_from_the_end(rnafm):
    (states,) = rnafm.forward(["ACGUAC"], ("hidden_states",)).hidden_states
    assert len(states) == 3
    for layer in range(-3, 3):
        (rows,) = rnafm.embed(["ACGUAC"], layer=layer)
        np.testing.assert_allclose(rows, states[layer][1:-1], rtol=0, atol=5e-6)
    (last,) = rnafm.forward(["ACGUAC"]).representation
    np.testing.assert_allclose(states[-1], last, rtol=0, atol=5e-6)


def test_a_prompt_takes_part_and_has_no_row(rnaernie):
    plain, prompted = (rnaernie.embed(["ACGU"], prompt=p)[0] for p in (None, "tRNA"))
    assert plain.shape == prompted.shape == (4, 48)
    assert np.abs(plain - prompted).max() > 1e-3
    tokens = rnaernie.alphabet.encode(["ACGU"], prompt="tRNA")
    expected = rnaernie.forward(tokens).representation[0][1:5]
    np.testing.assert_allclose(prompted, expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("pool", [None, "mean", "cls"])
def test_nothing_in_nothing_out(rnafm, pool):
    found = rnafm.embed([], pool=pool)
    assert len(found) == 0
    if pool:
        assert (found.shape, found.dtype) == ((0, 48), np.float32)
    out = rnafm.forward([], ("representation", "attentions"))
    assert out.representation == out.attentions == []


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"layer": 3}, r"no layer 3: rnafm has -3 to 2"),
        ({"layer": -4}, "no layer -4"),
        ({"pool": "median"}, r"no pooling 'median'\.\nThere are: mean, max, cls"),
        ({"window": 1}, "window of 1 residues is too short"),
        ({"window": 1023}, "window of 1023 residues is longer than the 1022"),
        ({"prompt": "tRNA"}, "no type prompts"),
    ],
    ids=str,
)
def test_embed_refuses(rnafm, options, what):
    with pytest.raises(UsageError, match=what):
        rnafm.embed(["ACGU"], **options)


@pytest.mark.parametrize(("window", "what"), [(3, "too short"), (7, "divisible by 3")])
def test_a_window_holds_whole_codons(mrnafm, window, what):
    with pytest.raises(UsageError, match=what):
        mrnafm.embed(["AUG"], window=window)


@pytest.mark.parametrize(
    ("name", "longest", "step"), [("rnafm", 1022, 1), ("mrnafm", 3066, 3), ("rnaernie", 511, 1)]
)
def test_a_sequence_that_is_too_long_is_named_with_the_cure(small, name, longest, step):
    model = small(name, "numpy", num_layers=1)
    assert max_residues(model.entry) == longest
    (rows,) = model.embed(["A" * longest])
    assert len(rows) == longest // step
    what = (
        rf"sequence 1: it has {longest + step} residues; {name} takes at most {longest}.*[wW]indow"
    )
    with pytest.raises(SequenceError, match=what):
        model.embed(["AUG", "A" * (longest + step)])
    with pytest.raises(SequenceError, match=r"sequence 1 has \d+ tokens"):
        model.forward(["AUG", "A" * (longest + step)])
    (rows,) = model.embed(["A" * (longest + step)], window=longest)
    assert len(rows) == longest // step + 1


def test_a_prompt_needs_room(rnaernie):
    assert len(rnaernie.embed(["A" * 509], prompt="tRNA")[0]) == 509
    with pytest.raises(SequenceError, match="takes at most 509"):
        rnaernie.embed(["A" * 510], prompt="tRNA")


def test_rotary_models_take_any_length(small):
    model = small("rinalmo-nano", "numpy", num_layers=1)
    assert len(model.embed(["A" * 2000])[0]) == 2000


def test_an_empty_sequence_is_named(rnafm):
    with pytest.raises(SequenceError, match="sequence 1: it is empty"):
        rnafm.embed(["ACGU", ""])


def test_a_sequence_of_broken_codons_is_named(mrnafm):
    with pytest.raises(SequenceError, match="sequence 1: its length 4 is not divisible by 3"):
        mrnafm.embed(["AUG", "AUGC"])


@pytest.mark.parametrize("method", ["embed", "forward"])
def test_one_string_is_no_list_of_sequences(rnafm, method):
    with pytest.raises(UsageError, match="not one string"):
        getattr(rnafm, method)("ACGU")


@pytest.mark.filterwarnings("ignore::riboswitch.errors.UnknownLetterWarning")
@pytest.mark.parametrize("mark", ["<mask>", "<unk>"])
def test_a_mark_in_the_text_is_one_word(mrnafm, mark):
    assert len(mrnafm.embed([f"AUG{mark}GCC"])[0]) == 3


def test_a_mark_does_not_count_as_its_letters(rnafm):
    assert len(rnafm.embed(["A" * 1021 + "<mask>"])[0]) == 1022


def test_forward_takes_texts_or_their_tokens(rnafm):
    sequences = ["ACGU", "GG"]
    texts = rnafm.forward(sequences).representation
    tokens = rnafm.forward(rnafm.alphabet.encode(sequences)).representation
    assert all(np.array_equal(a, b) for a, b in zip(texts, tokens, strict=True))


def test_forward_gives_each_output_its_shape(rnaernie):
    names = ("pooled", "attentions", "hidden_states", "logits", "representation")
    out = rnaernie.forward(["ACGU", "GG"], names)
    for i, t in enumerate((6, 4)):
        shapes = [getattr(out, n)[i].shape for n in names]
        assert shapes == [(48,), (2, 4, t, t), (3, t, 48), (t, 39), (t, 48)]
    assert repr(out) == f"Output({', '.join(names)})"


def test_an_output_that_was_not_asked_for_says_how_to_ask(rnafm):
    out = rnafm.forward(["ACGU"], ("logits",))
    for name in ("representation", "hidden_states", "attentions", "pooled"):
        with pytest.raises(
            UsageError, match=rf"'{name}' was not computed.*\n.*outputs=\('{name}',\)"
        ):
            getattr(out, name)


@pytest.mark.parametrize("output", ["pooled", "embeddings"])
def test_an_output_that_the_model_lacks_is_refused(rnafm, output):
    with pytest.raises(UsageError, match=rf"no output '{output}'\.\nIt has: representation"):
        rnafm.forward(["ACGU"], (output,))


def test_a_model_without_a_head_has_no_logits(small):
    model = small("rnafm", "numpy", lm_head=False)
    with pytest.raises(UsageError, match="no output 'logits'"):
        model.forward(["ACGU"], ("logits",))


@pytest.mark.parametrize("token", [-1, 25])
def test_ids_outside_the_vocabulary_are_refused(rnafm, token):
    with pytest.raises(UsageError, match="between 0 and 24"):
        rnafm.forward(TokenBatch([0, token], [0, 2]))


def test_a_sequence_without_tokens_is_refused(rnafm):
    with pytest.raises(SequenceError, match="no tokens"):
        rnafm.forward(TokenBatch([0, 2], [0, 2, 2]))


@pytest.mark.parametrize("name", ["rnafm", "rinalmo-nano", "rnaernie", "mrnafm"])
def test_fill_mask_ranks_the_words(small, name):
    model = small(name, "numpy")
    text = "auguuu<mask>GCC"
    fills = model.fill_mask(text, top_k=1000)
    alphabet = model.alphabet
    tokens = alphabet.encode([text])
    row = model.forward(tokens, ("logits",)).logits[0][tokens.ids == alphabet.mask_id][0]
    share = np.exp(row.astype(np.float64))
    share /= share.sum()
    expected = {alphabet.to_rna(w): share[alphabet.index[w]] for w in alphabet.words}
    assert {f.token: f.probability for f in fills} == pytest.approx(expected, rel=1e-5)
    assert len(fills) == len(expected)
    ranks = [f.probability for f in fills]
    assert ranks == sorted(ranks, reverse=True)
    assert all(f.sequence == f"auguuu{f.token}GCC" for f in fills)
    assert model.fill_mask(text, top_k=2) == fills[:2]
    assert len(model.fill_mask(text)) == min(5, len(fills))
    assert isinstance(fills[0], Fill)


@pytest.mark.parametrize("text", ["ACGU", "A<mask>C<mask>", ""])
def test_fill_mask_needs_one_mask(rnafm, text):
    with pytest.raises(UsageError, match=r"one <mask>.*\nExample"):
        rnafm.fill_mask(text)


def test_a_model_says_what_it_is(rnafm):
    assert repr(rnafm) == "Model('rnafm', 'numpy', 'cpu', 'float32')"
