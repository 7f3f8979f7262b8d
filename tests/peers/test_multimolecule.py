"""MultiMolecule: it computes with our folders what we do, and we with its own.

Its files are AGPL-3.0: they are made here when the tests run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen

import riboswitch
from riboswitch import CheckpointError, TokenBatch
from riboswitch.conversion.convert import convert

torch = pytest.importorskip("torch", reason="what the peer is written in")
pytestmark = [
    pytest.mark.peers_torch,
    pytest.mark.peer("multimolecule"),
    pytest.mark.filterwarnings("ignore:output_attentions must be True:UserWarning"),
    pytest.mark.filterwarnings("ignore::riboswitch.RiboswitchWarning"),  # of other vocabularies
]

HEADS = {"num_heads": 20}  # RiNALMo's files do not say it
CLASSES = {"rnafm": "RnaFm", "mrnafm": "RnaFm", "rinalmo": "RiNALMo", "rnaernie": "RnaErnie"}
MODELS = {"rnafm": "rnafm", "mrnafm": "mrnafm", "rinalmo": "rinalmo-giga", "rnaernie": "rnaernie"}
RELEASED = {
    "rnafm": "rnafm/RNA-FM_pretrained.pth",
    "mrnafm": "mrnafm/mRNA-FM_pretrained.pth",
    "rinalmo": "rinalmo/rinalmo_tiny_pretrained.pt",
    "rnaernie": "rnaernie",
}
OWN = {
    "rnafm": ("rnafm", "riboswitch"),
    "mrnafm": ("rnafm", "riboswitch"),
    "rinalmo": ("rinalmo", "rinalmo-plain", "riboswitch"),
    "rnaernie": ("rnaernie", "riboswitch"),
}
STRUCTURE = {"ss_head.decoder.weight", "ss_head.decoder.bias"}
LACKING = {
    "rnafm": STRUCTURE,  # a head for pairs, which no encoder of ours has
    "mrnafm": STRUCTURE,
    "rinalmo": {"lm_head.decoder.bias"},  # not in their own file either: `lm_head.bias` counts
    "rnaernie": set(),
}
POOLER = {"pooler.dense.weight", "pooler.dense.bias"}
LETTERS = ["acguTTnngcuN", "GGGNNNAUGRYK", "SWKMBDHVIUAG", "AUGGC-AU.UGA"]
SIZES = {"num_layers": 3, "hidden_size": 24, "num_heads": 3, "feed_forward_size": 37}
OTHERS: dict[str, dict[str, Any]] = {
    "rnafm": {**SIZES, "max_positions": 99, "token_dropout": 0.12, "embedding_norm": False},
    "mrnafm": {**SIZES, "max_positions": 99, "token_dropout": 0.12, "embedding_norm": True},
    "rinalmo": {**SIZES, "hidden_size": 36, "feed_forward_size": 100, "token_dropout": None},
    "rnaernie": {**SIZES, "max_positions": 99, "norm_eps": 1e-4},
}


@frozen
class Theirs:
    """A folder as they load it, and what they say is missing or unexpected in it."""

    model: Any
    missing: set[str]
    unexpected: set[str]

    @classmethod
    def open(cls, folder: Path, name: str) -> Theirs:
        import multimolecule
        import transformers

        home = multimolecule if hasattr(multimolecule, name) else transformers
        model, found = getattr(home, name).from_pretrained(folder, output_loading_info=True)
        assert not found["mismatched_keys"]
        assert not found["error_msgs"]
        return cls(model.eval(), set(found["missing_keys"]), set(found["unexpected_keys"]))

    def compute(self, ids: np.ndarray) -> Any:
        tokens = torch.from_numpy(ids).long()
        with torch.no_grad():
            return self.model(tokens, (tokens != 0).long(), output_hidden_states=True)


def pretraining(family: str) -> str:
    return f"{CLASSES[family]}ForPreTraining"


def logits(output: Any) -> Any:
    return output["logits_lm"] if "logits_lm" in output else output["logits"]


def check_agreement(family: str, theirs: Theirs, path: Path, texts: list[str], same) -> None:
    """Compare every layer and the logits with what we compute from a checkpoint."""
    for dtype in ("float64", "float32"):
        ours = riboswitch.load(MODELS[family], weights=path, backend="numpy", dtype=dtype)
        tokens = ours.alphabet.encode(texts)
        output = theirs.compute(tokens.padded(ours.alphabet.pad_id))
        found = ours.forward(tokens, ("hidden_states", "logits"))
        assert len(output.hidden_states) == ours.architecture.num_layers + 1
        for layer, states in enumerate(output.hidden_states):
            same(states, [h[layer] for h in found.hidden_states])
        same(logits(output), found.logits)


@pytest.fixture(params=CLASSES)
def family(request) -> str:
    return str(request.param)


@pytest.fixture
def released(fixtures, family) -> Path:
    return Path(fixtures / RELEASED[family])


@pytest.fixture
def folder(released, family, tmp_path) -> Path:
    """What we write of the released layout."""
    architecture = HEADS if family == "rinalmo" else None
    convert(released, tmp_path / "ours", to="multimolecule", architecture=architecture)
    return tmp_path / "ours"


@pytest.fixture
def fresh(enliven) -> Callable[..., Theirs]:
    """Make a model of theirs: fresh(family, **config)."""

    def make(family: str, **config: Any) -> Theirs:
        import multimolecule

        sizes = {"num_hidden_layers": 2, "hidden_size": 24, "num_attention_heads": 3}
        sizes |= {"intermediate_size": 40, "vocab_size": 131 if family == "mrnafm" else 28}
        kind = {"codon": True} if family == "mrnafm" else {}
        settings = getattr(multimolecule, f"{CLASSES[family]}Config")(**sizes, **kind, **config)
        model = getattr(multimolecule, pretraining(family))(settings)
        return Theirs(enliven(model), set(), set())

    return make


def test_it_computes_what_we_do_with_what_we_write(family, folder, texts, same):
    theirs = Theirs.open(folder, pretraining(family))
    assert (theirs.missing, theirs.unexpected) == (LACKING[family], set())
    check_agreement(family, theirs, folder, [*texts, *LETTERS], same)


def test_it_computes_what_the_original_programs_did(family, released, folder, same):
    """Which proves the tables: a mistake in one would cancel out between our two sides."""
    home = released if released.is_dir() else released.parent
    expected = np.load(home / "expected.npz")
    options = {"architecture": HEADS} if family == "rinalmo" else {}
    source = riboswitch.load(MODELS[family], weights=released, backend="numpy", **options).alphabet
    target = riboswitch.load(MODELS[family], weights=folder, backend="numpy").alphabet
    theirs = Theirs.open(folder, pretraining(family))
    for prefix in ("", "masked_"):
        tokens = TokenBatch.from_padded(expected[f"{prefix}tokens"], source.pad_id)
        output = theirs.compute(target.encode(source.decode(tokens)).padded(target.pad_id))
        found = zip(expected[f"{prefix}representation"], tokens.lengths, strict=True)
        same(output.hidden_states[-1], [array[:length] for array, length in found])


@pytest.mark.parametrize("name", ["AutoModel", "Model"])
def test_the_bare_encoder_loads(family, folder, name, texts, same):
    theirs = Theirs.open(folder, name if name == "AutoModel" else CLASSES[family] + name)
    assert theirs.missing == (set() if family == "rnaernie" else POOLER)
    assert {key.partition(".")[0] for key in theirs.unexpected} == {"lm_head"}
    ours = riboswitch.load(MODELS[family], weights=folder, backend="numpy", dtype="float64")
    tokens = ours.alphabet.encode(texts)
    output = theirs.compute(tokens.padded(ours.alphabet.pad_id))
    same(output.last_hidden_state, ours.forward(tokens).representation)
    if family == "rnaernie":
        pooled = ours.forward(tokens, ("pooled",)).pooled
        np.testing.assert_allclose(output.pooler_output, np.stack(pooled), rtol=0, atol=2e-5)


def test_an_encoder_without_a_head_loads(family, tmp_path, texts, same, small):
    model = small(MODELS[family], "numpy", **OTHERS[family], lm_head=False)
    model.save(tmp_path / "ours", layout="multimolecule")
    theirs = Theirs.open(tmp_path / "ours", "AutoModel")
    assert type(theirs.model).__name__ == f"{CLASSES[family]}Model"
    assert theirs.missing == (set() if family == "rnaernie" else POOLER)
    assert not theirs.unexpected
    ours = riboswitch.load(MODELS[family], weights=tmp_path / "ours", backend="numpy")
    tokens = ours.alphabet.encode(texts)
    same(theirs.compute(tokens.padded(0)).last_hidden_state, ours.forward(tokens).representation)


@pytest.mark.parametrize("name", ["RnaTokenizer", "AutoTokenizer"])
def test_its_tokenizer_makes_the_same_tokens(family, folder, name, texts):
    import multimolecule
    import transformers

    home = multimolecule if hasattr(multimolecule, name) else transformers
    tokenizer = getattr(home, name).from_pretrained(folder)
    usual = multimolecule.RnaTokenizer(codon=family == "mrnafm")
    alphabet = riboswitch.load(MODELS[family], weights=folder, backend="numpy").alphabet
    assert tokenizer.get_vocab() == usual.get_vocab() == alphabet.index
    plain = [*texts, *LETTERS]
    found = tokenizer(plain, padding=True)["input_ids"]
    assert np.array_equal(alphabet.encode(plain, warn=False).padded(alphabet.pad_id), found)
    text = ["".join(t) for t in itertools.product("ACGUTacgtunN", repeat=3)]
    assert alphabet.encode(["".join(text)]).ids.tolist() == tokenizer("".join(text))["input_ids"]


def test_other_sizes_load(family, tmp_path, texts, same, small):
    small(MODELS[family], "numpy", **OTHERS[family]).save(tmp_path / "ours", layout="multimolecule")
    theirs = Theirs.open(tmp_path / "ours", pretraining(family))
    assert (theirs.missing, theirs.unexpected) == (LACKING[family], set())
    check_agreement(family, theirs, tmp_path / "ours", texts, same)


def test_it_has_no_place_for_other_token_types(tmp_path, small):
    model = small("rnaernie", "numpy", token_types=3)
    with pytest.raises(CheckpointError, match="3 token types"):
        model.save(tmp_path / "ours", layout="multimolecule")


@pytest.mark.parametrize("size", range(60, 66))
def test_every_inner_size_of_rinalmo_loads(tmp_path, size, texts, same, small):
    """Theirs is a rounded part of what the config says."""
    model = small("rinalmo-nano", "numpy", num_layers=1, feed_forward_size=size)
    model.save(tmp_path / "ours", layout="multimolecule")
    theirs = Theirs.open(tmp_path / "ours", "RiNALMoForPreTraining")
    check_agreement("rinalmo", theirs, tmp_path / "ours", texts[:1], same)


def test_the_way_through_every_layout_changes_no_number(family, folder, tmp_path):
    """From our folder to each layout of the family and back, it stays what they load."""
    first = Theirs.open(folder, pretraining(family)).model.state_dict()
    for to in OWN[family]:
        architecture = HEADS if family == "rinalmo" else None
        there, back = tmp_path / to, tmp_path / f"back from {to}"
        convert(folder, there, to=to)
        convert(there, back, to="multimolecule", architecture=architecture)
        second = Theirs.open(back, pretraining(family)).model.state_dict()
        assert first.keys() == second.keys()
        for key in first.keys() - LACKING[family]:
            assert torch.equal(first[key], second[key])


def test_we_compute_what_it_does_with_what_it_saves(family, fresh, tmp_path, texts, same):
    theirs = fresh(family)
    theirs.model.save_pretrained(tmp_path / "theirs")
    check_agreement(family, theirs, tmp_path / "theirs", [*texts, *LETTERS], same)


def test_what_it_loads_and_saves_again_goes_on_to_every_layout(
    family, folder, tmp_path, texts, same
):
    theirs = Theirs.open(folder, pretraining(family))
    theirs.model.save_pretrained(tmp_path / "theirs")
    check_agreement(family, theirs, tmp_path / "theirs", texts, same)
    theirs_reads = riboswitch.load(MODELS[family], weights=folder, backend="numpy").alphabet
    output = theirs.compute(theirs_reads.encode(texts).padded(theirs_reads.pad_id))
    for to in OWN[family]:
        convert(tmp_path / "theirs", tmp_path / to, to=to)
        options = {"architecture": HEADS} if family == "rinalmo" else {}
        ours = riboswitch.load(
            MODELS[family], weights=tmp_path / to, backend="numpy", dtype="float64", **options
        )
        found = ours.forward(ours.alphabet.encode(texts), ("representation", "logits"))
        same(output.hidden_states[-1], found.representation)
        words = {w: ours.alphabet.to_rna(w) for w in ours.alphabet.words}
        common = [w for w, rna in words.items() if rna in theirs_reads.index]
        assert len(common) >= 4
        mine = [ours.alphabet.index[w] for w in common]
        columns = [theirs_reads.index[words[w]] for w in common]
        same(logits(output)[..., columns], [array[:, mine] for array in found.logits])


def test_bfloat16_stays_bfloat16(family, fresh, tmp_path, texts, same):
    first = fresh(family).model.bfloat16()
    first.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "ours", to="multimolecule")
    theirs = Theirs.open(tmp_path / "ours", pretraining(family))
    second = theirs.model.state_dict()
    for key, tensor in first.state_dict().items():
        if key not in LACKING[family]:
            assert second[key].dtype == torch.bfloat16
            assert torch.equal(second[key], tensor)
    theirs.model.float()
    check_agreement(family, theirs, tmp_path / "ours", texts, same)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("rnafm", {"hidden_act": "relu"}),
        ("rnafm", {"lm_head": {"transform_act": "relu"}}),
        ("rnafm", {"embed_norm": False, "token_dropout": True}),
        ("rnafm", {"tie_word_embeddings": False}),
        ("mrnafm", {"embed_norm": False}),
        ("rnaernie", {"hidden_act": "gelu", "lm_head": {"transform_act": "gelu"}}),
        ("rinalmo", {"hidden_act": "relu"}),
        ("rinalmo", {"token_dropout": False, "learnable_beta": False}),
        ("rinalmo", {"tie_word_embeddings": True}),
    ],
    ids=str,
)
def test_settings_that_no_name_and_no_shape_shows(fresh, family, config, tmp_path, texts, same):
    theirs = fresh(family, **config)
    theirs.model.save_pretrained(tmp_path / "theirs")
    check_agreement(family, theirs, tmp_path / "theirs", texts, same)


@pytest.mark.parametrize(
    ("family", "config", "key"),
    [
        ("rnaernie", {"position_embedding_type": "rotary"}, "position_embedding_type"),
        ("rnafm", {"position_embedding_type": "rotary"}, "position_embedding_type"),
        ("rnaernie", {"lm_head": {"transform": "linear"}}, "transform"),
    ],
    ids=str,
)
def test_settings_that_we_do_not_compute_are_refused(fresh, family, config, key, tmp_path):
    fresh(family, **config).model.save_pretrained(tmp_path / "theirs")
    with pytest.raises(CheckpointError, match=f"its config says {key} = "):
        riboswitch.load(MODELS[family], weights=tmp_path / "theirs", backend="numpy")
