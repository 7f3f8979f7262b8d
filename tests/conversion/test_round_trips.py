"""There and back through every layout is bit for bit the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

import riboswitch
from riboswitch.conversion.convert import convert
from riboswitch.conversion.write import save
from riboswitch.errors import CheckpointError
from riboswitch.registry import registry

FIXTURES = {  # name: its own layout, and what it does not say of itself
    "rnafm": ("rnafm", {}),
    "mrnafm": ("rnafm", {}),
    "rinalmo": ("rinalmo", {}),
    "rnaernie": ("rnaernie", {}),
    "rnaernie_prompt": ("rnaernie", {}),
    "rnafm_ss": ("rnafm", {"num_heads": 4}),
    "rinalmo_ft_ss": ("rinalmo", {}),
    "rinalmo_ft_ncrna": ("rinalmo", {}),
}
DTYPES = ("float32", "bfloat16", "float16", "float64")


def quietly(src: Path, dst: Path, to: str, **options: object):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", riboswitch.RiboswitchWarning)
        return convert(src, dst, to, **options)


@pytest.mark.parametrize("name", FIXTURES)
def test_fixtures_through_our_own_layout(name, sources, layouts, bits, tmp_path) -> None:
    home, architecture = FIXTURES[name]
    source = sources[name]
    there = quietly(source, tmp_path / "own", "riboswitch", architecture=architecture, verify=True)
    again = quietly(tmp_path / "own", tmp_path / "again", home, verify=True)
    own = quietly(tmp_path / "again", tmp_path / "own-2", "riboswitch", architecture=architecture)
    assert there.weights_sha256 == again.weights_sha256 == own.weights_sha256
    assert there.difference.representation == again.difference.representation == 0
    before, after = bits(source), bits(tmp_path / "again")
    plain = registry().layout(home).plain
    kept = {plain(n): t for n, t in before.items()}
    assert {plain(n): t for n, t in after.items()}.items() <= kept.items()
    heads = [n for n in kept if plain(n) not in {plain(m) for m in after}]
    assert bool(heads) == ("_ss" in name or "_ft" in name), heads
    for file in ("model.safetensors", "riboswitch.json"):
        assert (tmp_path / "own" / file).read_bytes() == (tmp_path / "own-2" / file).read_bytes()


@pytest.mark.parametrize("name", ["rnafm", "rinalmo", "rnaernie"])
def test_fixtures_through_multimolecules(name, sources, bits, tmp_path) -> None:
    source = sources[name]
    there = quietly(source, tmp_path / "mm", "multimolecule", verify=True)
    quietly(tmp_path / "mm", tmp_path / "back", name, verify=True)
    before, after = bits(source), bits(tmp_path / "back")
    assert there.difference.representation == there.difference.logits == 0
    if name == "rnaernie":  # comes back without prompts, so with fewer rows
        check_rows_without_prompts(source, tmp_path / "back")
        return
    assert before.keys() == after.keys()
    changed = {n for n in before if before[n] != after[n]}
    # Only the rows of tokens that the other vocabulary lacks.
    tables = ("embed_tokens.weight", "lm_head.weight", "lm_head.bias", "word_embeddings.weight",
              "decoder_bias", "decoder.weight", "decoder.bias")  # fmt: skip
    assert all(n.endswith(tables) for n in changed)
    lost = {t for loss in there.lost for t in loss.partition(": ")[2].split()}
    tokens = registry().model("rinalmo-giga" if name == "rinalmo" else "rnafm").alphabet.tokens
    kept = [i for i, token in enumerate(tokens) if token not in lost]
    for n in changed:
        shape = before[n][1]
        old, new = (np.frombuffer(x[n][2], "f4").reshape(shape) for x in (before, after))
        assert np.array_equal(old[kept], new[kept])
    assert bool(changed) == bool(lost)


def check_rows_without_prompts(source: Path, back: Path) -> None:
    first, second = (
        riboswitch.load("rnaernie", weights=p, backend="numpy") for p in (source, back)
    )
    tokens = second.alphabet.tokens
    assert set(first.alphabet.tokens) - set(tokens) == {"[DEL]", "[IND]", *first.alphabet.types}
    kept = [first.alphabet.index[token] for token in tokens]
    for n, array in second.weights.items():
        expected = first.weights[n]
        by_token = n in ("embedding.tokens", "lm_head.decoder.bias")
        assert np.array_equal(array, expected[kept] if by_token else expected), n
    with pytest.raises(riboswitch.UsageError, match="no type prompts"):
        second.embed(["ACGU"], prompt="tRNA")


def rows(tensor: tuple[str, tuple[int, ...], bytes], count: int) -> list[bytes]:
    size = len(tensor[2]) // count
    return [tensor[2][i * size : (i + 1) * size] for i in range(count)]


@st.composite
def random_models(draw: st.DrawFn) -> tuple[str, dict[str, object]]:
    """A model of any family and sizes."""
    name = draw(st.sampled_from(["rnafm", "mrnafm", "rinalmo-giga", "rnaernie"]))
    heads, size = draw(st.sampled_from([1, 2, 4, 20])), draw(st.sampled_from([2, 4, 6]))
    changes: dict[str, object] = {
        "num_heads": heads,
        "hidden_size": heads * size,
        "num_layers": draw(st.integers(1, 3)),
        "feed_forward_size": draw(st.integers(1, 30)),
    }
    if name != "rinalmo-giga":
        changes["max_positions"] = draw(st.integers(10, 40))
    if name == "rnaernie":
        changes["pooler"] = draw(st.booleans())
    return name, changes


@given(model=random_models(), dtype=st.sampled_from(DTYPES), path=st.data())
@settings(max_examples=80)
def test_random_architectures(model, dtype, path, layouts, entry, draw, bits) -> None:
    name, changes = model
    made = entry(name, **changes)
    first, second = (path.draw(st.sampled_from(layouts[made.family])) for _ in range(2))
    with TemporaryDirectory() as folder:
        here = Path(folder)
        weights = draw(made, dtype)
        save(made, weights, here / "own", "riboswitch")
        heads = {"num_heads": made.architecture.num_heads}
        quietly(here / "own", here / "first", first, verify=True)
        quietly(here / "first", here / "second", second, architecture=heads, verify=True)
        quietly(here / "second", here / "back", "riboswitch", architecture=heads, verify=True)
        before, after = bits(here / "own"), bits(here / "back")
        same = "multimolecule" not in (first, second)
        assert before.keys() == after.keys()
        by_token = ("embedding.tokens", "lm_head.decoder.bias", "lm_head.decoder.weight")
        for tensor in before:
            if tensor == "embedding.tokens" and same and "rnafm" in (first, second):
                mask = made.architecture.mask_id
                old, new = (rows(x[tensor], made.architecture.vocab_size) for x in (before, after))
                assert [i for i in range(len(old)) if old[i] != new[i]] in ([], [mask])
            elif same or tensor not in by_token:
                assert before[tensor] == after[tensor], tensor
        if same and "rnafm" not in (first, second):
            for file in ("model.safetensors", "riboswitch.json"):
                a, b = ((here / x / file).read_bytes() for x in ("own", "back"))
                assert a == b, file


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("lm_head", [True, False])
def test_our_own_layout_holds_any_architecture(tied, lm_head, entry, draw, bits, tmp_path) -> None:
    for i, changes in enumerate(
        [
            {"norm": "post", "final_norm": False},
            {"positions": "rotary", "pooler": True},
            {"activation": "swiglu", "attention_bias": False, "norm_eps": 3e-7},
        ]
    ):
        made = entry("rnafm", tied=tied, lm_head=lm_head, **changes)
        folder = tmp_path / str(i)
        save(made, draw(made, "float32"), folder, "riboswitch")
        model = riboswitch.load("rnafm", weights=folder, backend="numpy")
        assert model.architecture == made.architecture
        assert model.alphabet == made.alphabet
        weights = draw(made, "float32")
        assert all(np.array_equal(model.weights[n], weights[n]) for n in weights)


@pytest.mark.parametrize(
    ("name", "to", "changes", "problem"),
    [
        ("rnafm", "rnafm", {"norm": "post"}, "its norm would become 'pre' instead of 'post'"),
        ("rnafm", "rnafm", {"norm_eps": 1e-4}, "its norm_eps would become 1e-05"),
        ("rinalmo-micro", "rinalmo", {"token_dropout": 0.3}, "its token_dropout would become"),
        ("rnaernie", "rnaernie", {"tied": False}, "no place for lm_head.decoder.weight"),
        ("rnaernie", "rnaernie", {"norm_eps": 1e-5}, "its norm_eps would become 1e-12"),
        ("rnafm", "rinalmo", {}, "of the family 'rnafm', not rinalmo"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(
    name, to, changes, problem, entry, draw, unfinished, tmp_path
) -> None:
    made = entry(name, **changes)
    with pytest.raises(CheckpointError, match=problem):
        save(made, draw(made, "float32"), tmp_path / "new", to)
    assert not (tmp_path / "new").exists()
    assert not unfinished(tmp_path)


def test_an_alphabet_that_would_be_read_as_another_is_refused(entry, draw, tmp_path) -> None:
    made = entry("rnaernie")
    fewer = evolve(made, alphabet=evolve(made.alphabet, types=made.alphabet.types[:3]))
    with pytest.raises(CheckpointError, match="its alphabet would become another one"):
        save(fewer, draw(fewer, "float32"), tmp_path / "new", "rnaernie")


def test_heads_that_stand_nowhere_are_named(entry, draw, tmp_path) -> None:
    made = entry("rinalmo-micro", num_heads=5)
    with pytest.warns(riboswitch.RiboswitchWarning, match="num_heads = 5, to be given again"):
        save(made, draw(made, "float32"), tmp_path / "new.pt", "rinalmo")


def test_parts_that_a_layout_lacks_are_named(entry, draw, tmp_path) -> None:
    made = entry("rnafm", pooler=True)
    with pytest.warns(riboswitch.RiboswitchWarning, match="not in it: the pooler"):
        save(made, draw(made, "float32"), tmp_path / "new.pth", "rnafm")


def test_the_row_of_the_mask_that_rnafm_drops_is_named(entry, draw, tmp_path) -> None:
    made = entry("rnafm")
    with pytest.warns(riboswitch.RiboswitchWarning, match="row 24 of embedding.tokens"):
        save(made, draw(made, "float32"), tmp_path / "new.pth", "rnafm")


def test_the_licence_goes_with_the_weights(entry, draw, sources, tmp_path) -> None:
    made = evolve(entry("rinalmo-micro"), licence="CC BY 4.0, of somebody")
    save(made, draw(made, "float32"), tmp_path / "own", "riboswitch")
    report = quietly(tmp_path / "own", tmp_path / "mm", "multimolecule")
    assert report.licence == "CC BY 4.0, of somebody"
    again = quietly(tmp_path / "mm", tmp_path / "again", "riboswitch")
    assert again.licence == "CC BY 4.0, of somebody"


@pytest.mark.filterwarnings("ignore::riboswitch.errors.RiboswitchWarning")
def test_the_frequencies_of_rinalmo_plain(entry, draw, bits, tmp_path):
    made = entry("rinalmo-giga", num_heads=2, hidden_size=16)
    save(made, draw(made, "float32"), tmp_path / "new.pt", "rinalmo-plain")
    name = "transformer.blocks.1.mh_attn.mh_attn.rotary_emb.inv_freq"
    dtype, shape, raw = bits(tmp_path / "new.pt")[name]
    assert (dtype, shape) == ("float32", (4,))
    np.testing.assert_allclose(np.frombuffer(raw, "f4"), [1, 0.1, 0.01, 0.001], rtol=1e-6)
