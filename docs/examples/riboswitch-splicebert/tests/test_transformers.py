"""Against transformers, which is the authors' program: its files, its numbers, its tokenizer."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import riboswitch
from riboswitch.testing import TOLERANCES
from riboswitch_splicebert.family import ALPHABET

promised = "transformers" in os.environ.get("RIBOSWITCH_REQUIRE_PEERS", "").split(",")
peer = import_module if promised else pytest.importorskip
torch, transformers = peer("torch"), peer("transformers")

TEXTS = ["GUAAGUNNACUUUUUUAG", "CAGGUAAGU", "ACGU" * 15, "A"]
OUTPUTS = ("representation", "logits", "hidden_states", "attentions")
SAVED, RELEASED = "model.safetensors", "pytorch_model.bin"
OTHERWISE = {"hidden_act": "relu", "layer_norm_eps": 1e-3, "num_attention_heads": 6}


def config(**changes: Any) -> Any:
    small = {
        "vocab_size": len(ALPHABET),
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 80,
        "max_position_embeddings": 66,
        "layer_norm_eps": 1e-12,
    }
    found = transformers.BertConfig(**{**small, **changes})
    found._attn_implementation = "eager"  # the others return no attentions
    return found


def lively(model: Any) -> Any:
    """Give every parameter numbers that matter, in evaluation mode."""
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        scale = 1.0 if "LayerNorm.weight" in name else 0.0
        noise = rng.standard_normal(tuple(parameter.shape)) * 0.2
        parameter.data[...] = torch.tensor(scale + noise)
    return model.eval()


def keep(model: Any, folder: Path, file: str = SAVED) -> Path:
    """Save as transformers 5 does, or as version 4 did: what was released has all copies."""
    model.save_pretrained(folder)
    if file == RELEASED:
        (folder / SAVED).unlink()
        rows = model.config.max_position_embeddings
        ids = {"bert.embeddings.position_ids": torch.arange(rows)[None]}
        torch.save({**ids, **model.state_dict()}, folder / file)
    (folder / "vocab.txt").write_text("\n".join(ALPHABET.tokens) + "\n", "utf-8")
    return folder


def theirs(model: Any, folder: Path, texts: list[str]) -> dict[str, Any]:
    """What transformers computes of texts, as its own tokenizer reads them."""
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=False)
    spaced = [" ".join(t.replace("U", "T")) for t in texts]
    asked = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        found = model(**tokenizer(spaced, padding=True, return_tensors="pt"), **asked)
    return {
        "representation": found.hidden_states[-1],
        "logits": found.logits if "logits" in found else None,
        "pooled": found.pooler_output if "pooler_output" in found else None,
        "hidden_states": torch.stack(found.hidden_states, 1),
        "attentions": torch.stack(found.attentions, 1),
    }


def near(theirs: Any, ours: list[np.ndarray], atol: float, lengths: list[int]) -> None:
    """Compare a padded tensor with one array for each text."""
    for padded, array, length in zip(theirs.numpy(), ours, lengths, strict=True):
        cut = tuple(slice(length) if n == max(lengths) else slice(None) for n in padded.shape)
        np.testing.assert_allclose(array, padded[cut], rtol=0, atol=atol)


@pytest.mark.parametrize(("file", "changes"), [(SAVED, {}), (RELEASED, {}), (SAVED, OTHERWISE)])
@pytest.mark.parametrize(("backend", "dtype"), [("numpy", "float64"), ("torch", "float32")])
def test_what_it_saves_gives_its_numbers(tmp_path, file, changes, backend, dtype):
    reference = lively(transformers.BertForMaskedLM(config(**changes)))
    folder = keep(reference, tmp_path / "theirs", file)
    model = riboswitch.load("splicebert", weights=folder, backend=backend, dtype=dtype)
    found = model.forward(TEXTS, outputs=OUTPUTS)
    reference = reference.double() if dtype == "float64" else reference
    expected = theirs(reference, folder, TEXTS)
    atol = TOLERANCES["backends", "float64"] if dtype == "float64" else 2e-5
    lengths = [len(text) + 2 for text in TEXTS]
    for name in OUTPUTS:
        near(expected[name], getattr(found, name), atol, lengths)


def test_what_we_write_loads_there_and_is_the_same(tmp_path):
    reference = lively(transformers.BertForMaskedLM(config()))
    folder = keep(reference, tmp_path / "theirs", RELEASED)
    riboswitch.load("splicebert", weights=folder).save(tmp_path / "ours", layout="splicebert")
    again = read(transformers.AutoModelForMaskedLM, tmp_path / "ours")
    same_bits(again, reference)
    expected, found = (theirs(m, folder, TEXTS)["logits"] for m in (reference, again))
    assert torch.equal(found, expected)


def test_a_bare_encoder_keeps_its_pooler(tmp_path):
    reference = lively(transformers.BertModel(config()))
    folder = keep(reference, tmp_path / "theirs")
    model = riboswitch.load("splicebert", weights=folder)
    assert model.architecture.pooler
    assert not model.architecture.lm_head
    found = model.forward(TEXTS, outputs=("pooled",)).pooled
    expected = theirs(reference, folder, TEXTS)["pooled"].numpy()
    np.testing.assert_allclose(np.stack(found), expected, rtol=0, atol=2e-5)
    model.save(tmp_path / "ours", layout="splicebert")
    same_bits(read(transformers.AutoModel, tmp_path / "ours"), reference)


def test_its_tokenizer_reads_our_vocabulary(tmp_path):
    architecture = {"hidden_size": 48, "num_layers": 1, "num_heads": 4}
    model = riboswitch.load("splicebert", weights="random", architecture=architecture)
    model.save(tmp_path / "ours", layout="splicebert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    for text in [*TEXTS, "AC<mask>GU", "N<unk>A"]:
        letters = text.replace("U", "T").replace("<mask>", "m").replace("<unk>", "u")
        spaced = " ".join({"m": "[MASK]", "u": "[UNK]"}.get(c, c) for c in letters)
        (ids,) = ALPHABET.encode([text])
        assert tokenizer(spaced)["input_ids"] == ids.tolist()


def test_heads_for_other_tasks_are_left(tmp_path):
    reference = lively(transformers.BertForTokenClassification(config(num_labels=3)))
    model = riboswitch.load("splicebert", weights=keep(reference, tmp_path / "theirs"))
    assert not model.architecture.lm_head


def test_an_untied_decoder_is_refused(tmp_path):
    reference = lively(transformers.BertForMaskedLM(config(tie_word_embeddings=False)))
    folder = keep(reference, tmp_path / "theirs")
    with pytest.raises(riboswitch.CheckpointError, match=r"decoder\.weight differs"):
        riboswitch.load("splicebert", weights=folder)


@pytest.mark.parametrize("activation", ["gelu_new", "silu"])
def test_another_activation_is_refused(tmp_path, activation):
    reference = lively(transformers.BertForMaskedLM(config(hidden_act=activation)))
    folder = keep(reference, tmp_path / "theirs")
    with pytest.raises(riboswitch.CheckpointError, match="activation"):
        riboswitch.load("splicebert", weights=folder)


def read(kind: Any, folder: Path) -> Any:
    """Load with transformers; no tensor may be missing or left over."""
    model, said = kind.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager"
    )
    assert not any(said[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def same_bits(found: Any, expected: Any) -> None:
    """All parameters of two modules."""
    state, wanted = found.state_dict(), expected.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
