"""RNA-FM's own program, `rna-fm`: it computes with our files what we do, and we with its own."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import riboswitch
from riboswitch.conversion.convert import convert

torch = pytest.importorskip("torch", reason="what the peer is written in")
pytestmark = [
    pytest.mark.peers_torch,
    pytest.mark.peer("fm"),
    pytest.mark.filterwarnings("ignore:Regression weights not found:UserWarning"),
    pytest.mark.filterwarnings("ignore::riboswitch.RiboswitchWarning"),  # of other vocabularies
]

RELEASED = {"rnafm": "RNA-FM_pretrained.pth", "mrnafm": "mRNA-FM_pretrained.pth"}
LOADERS = {"rnafm": "rna_fm_t12", "mrnafm": "mrna_fm_t12"}
THEMES = {"rnafm": "rna", "mrnafm": "rna-3mer"}
FILE = "RNA-FM.pth"  # without RNA-FM in the name their loader wants a second file beside it
SIZES = {"num_layers": 3, "hidden_size": 24, "num_heads": 3, "feed_forward_size": 50}
OTHERS = {**SIZES, "max_positions": 99, "token_dropout": 0.12}


def opened(name: str, path: Path) -> tuple[Any, Any]:
    """Load a file as they do: model and alphabet.

    Torch since 2.6 makes of a file only what it was told is safe, and the arguments in theirs,
    the released ones too, are a namespace.
    """
    import fm

    with torch.serialization.safe_globals([Namespace]):
        model, alphabet = getattr(fm.pretrained, LOADERS[name])(str(path))
    return model.eval(), alphabet


def state(path: Path) -> dict[str, Any]:
    with torch.serialization.safe_globals([Namespace]):
        found: dict[str, Any] = torch.load(path)["model"]
    return found


def check_agreement(name: str, path: Path, texts: list[str], same) -> None:
    """Load a file on both sides and compare tokens, every layer and the logits."""
    model, alphabet = opened(name, path)
    for dtype in ("float64", "float32"):
        ours = riboswitch.load(name, weights=path, backend="numpy", dtype=dtype)
        assert ours.alphabet.tokens == tuple(alphabet.all_toks)
        tokens = ours.alphabet.encode(texts)
        ids = torch.from_numpy(tokens.padded(alphabet.padding_idx)).long()
        with torch.no_grad():
            theirs = model(ids, repr_layers=range(len(model.layers) + 1))
        found = ours.forward(tokens, ("hidden_states", "logits"))
        same(theirs["logits"], found.logits)
        for layer, states in theirs["representations"].items():
            same(states, [h[layer] for h in found.hidden_states])


@pytest.fixture(params=RELEASED)
def name(request) -> str:
    return str(request.param)


@pytest.fixture
def released(fixtures, name) -> Path:
    return Path(fixtures / name / RELEASED[name])


def saved_by_multimolecule(folder: Path) -> None:
    import multimolecule

    model = multimolecule.RnaFmForPreTraining.from_pretrained(folder)
    model.save_pretrained(folder)


@pytest.mark.parametrize(
    "steps",
    [
        (),
        ("riboswitch",),
        ("multimolecule",),
        pytest.param(("multimolecule", "saved"), marks=pytest.mark.peer("multimolecule")),
    ],
    ids=["released", "riboswitch", "multimolecule", "saved by multimolecule"],
)
def test_it_computes_what_we_do_with_what_we_write(released, name, steps, tmp_path, texts, same):
    source = released
    if steps:
        source = tmp_path / "source"
        convert(released, source, to=steps[0])
    if "saved" in steps:
        saved_by_multimolecule(source)
    convert(source, tmp_path / FILE, to="rnafm")
    check_agreement(name, tmp_path / FILE, texts, same)
    first, second = state(released), state(tmp_path / FILE)
    assert first.keys() == second.keys()
    vocabulary = json.loads((released.parent / "meta.json").read_text())["vocab"]
    kept = [i for i, token in enumerate(vocabulary) if not token.startswith("<null")]
    for key in first:
        rows = kept if len(first[key]) == len(vocabulary) else slice(None)
        assert torch.equal(first[key][rows], second[key][rows])


def test_it_loads_what_a_model_saves(name, tmp_path, texts, same, small):
    model = small(name, "numpy", **OTHERS)
    model.save(tmp_path / FILE, layout="rnafm")
    check_agreement(name, tmp_path / FILE, texts, same)


def test_it_reads_the_same_letters(released, name, tmp_path, texts):
    """Theirs knows upper-case RNA only."""
    convert(released, tmp_path / FILE, to="rnafm")
    converter = opened(name, tmp_path / FILE)[1].get_batch_converter()
    plain = [t for t in texts if "<" not in t] + ["GGGNNNAUG---UAG"]
    _, _, ids = converter([("", text) for text in plain])
    alphabet = riboswitch.load(name, weights=tmp_path / FILE, backend="numpy").alphabet
    assert np.array_equal(alphabet.encode(plain, warn=False).padded(alphabet.pad_id), ids)


def test_we_compute_what_it_does_with_what_it_saves(name, tmp_path, texts, same, enliven):
    import fm

    arguments = {"layers": 3, "embed_dim": 24, "ffn_embed_dim": 50, "attention_heads": 3}
    rest = {"arch": "roberta_large", "max_positions": 99, "token_dropout": True}
    alphabet = fm.Alphabet.from_architecture("roberta_large", THEMES[name])
    norm = {"emb_layer_norm_before": name == "rnafm"}
    model = enliven(fm.BioBertModel(Namespace(**arguments, **rest, **norm), alphabet))
    model.embed_tokens.weight.data[alphabet.mask_idx] = 0  # as their loader does
    file, again = tmp_path / "theirs-RNA-FM.pth", tmp_path / FILE
    names = {n: f"encoder.{'' if n.startswith('lm_head') else 'sentence_encoder.'}{n}"
             for n in model.state_dict()}  # fmt: skip
    args = Namespace(**{f"encoder_{key}": value for key, value in arguments.items()}, **rest)
    torch.save({"args": args, "model": {names[n]: t for n, t in model.state_dict().items()}}, file)
    check_agreement(name, file, texts, same)
    convert(file, again, to="rnafm")
    kept = state(again)
    for key, tensor in model.state_dict().items():
        if not key.startswith("contact_head."):  # of pairs, which no encoder of ours has
            assert torch.equal(kept[names[key]], tensor)
