"""MultiMolecule's folders. Theirs may not be shipped, so small ones are written here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from riboswitch import Architecture, CheckpointError, UsageError, load

VOCABULARY = [
    *("<pad>", "<cls>", "<eos>", "<unk>", "<mask>", "<null>"),
    *"ACGUNRYSWKMBDHVIX|.*-?",
]
SIZES = {
    "vocab_size": len(VOCABULARY),
    "num_layers": 2,
    "hidden_size": 24,
    "num_heads": 4,
    "feed_forward_size": 20,
    "mask_id": 4,
}
LEARNED = {**SIZES, "embedding_norm": True}
ARCHITECTURES = {
    "rnafm": Architecture(**LEARNED, max_positions=1026, position_offset=2),
    "rinalmo": Architecture(
        **SIZES,
        positions="rotary",
        norm="stream",
        activation="swiglu",
        attention_bias=False,
        token_dropout=0.12,
        tied=False,
    ),
    "rnaernie": Architecture(
        **LEARNED,
        max_positions=513,
        token_types=2,
        norm="post",
        norm_eps=1e-12,
        final_norm=False,
        activation="relu",
        lm_activation="relu",
        pooler=True,
    ),
}
NAMES = {"rnafm": "rnafm", "rinalmo": "rinalmo-micro", "rnaernie": "rnaernie"}

LAYER = "model.encoder.layer.{i}"
COMMON = {
    "embedding.tokens": "model.embeddings.word_embeddings.weight",
    "embedding.positions": "model.embeddings.position_embeddings.weight",
    "embedding.types": "model.embeddings.token_type_embeddings.weight",
    "embedding.norm": "model.embeddings.layer_norm",
    "layers.{i}.attention.query": f"{LAYER}.attention.self.query",
    "layers.{i}.attention.key": f"{LAYER}.attention.self.key",
    "layers.{i}.attention.value": f"{LAYER}.attention.self.value",
    "layers.{i}.attention.output": f"{LAYER}.attention.output.dense",
    "layers.{i}.attention.norm": f"{LAYER}.attention.layer_norm",
    "layers.{i}.feed_forward.up": f"{LAYER}.intermediate.dense",
    "layers.{i}.feed_forward.down": f"{LAYER}.output.dense",
    "layers.{i}.feed_forward.norm": f"{LAYER}.layer_norm",
    "final_norm": "model.encoder.layer_norm",
    "pooler": "model.pooler.dense",
    "lm_head.dense": "lm_head.transform.dense",
    "lm_head.norm": "lm_head.transform.layer_norm",
    "lm_head.decoder.weight": "lm_head.decoder.weight",
    "lm_head.decoder.bias": "lm_head.bias",
}
THEIRS = {
    "rnafm": COMMON,
    "rinalmo": {
        **COMMON,
        "layers.{i}.feed_forward.up": f"{LAYER}.intermediate.linear",
        "layers.{i}.feed_forward.gate": f"{LAYER}.intermediate.linear_gate",
        "layers.{i}.feed_forward.beta": f"{LAYER}.intermediate.bias",
    },
    "rnaernie": {
        **COMMON,
        "layers.{i}.attention.norm": f"{LAYER}.attention.output.layer_norm",
        "layers.{i}.feed_forward.norm": f"{LAYER}.output.layer_norm",
    },
}


def their_name(family: str, name: str) -> str:
    number = name.split(".")[1] if name.startswith("layers.") else ""
    general = name.replace(f".{number}.", ".{i}.", 1) if number else name
    module, _, kind = general.rpartition(".")
    table = THEIRS[family]
    found = table[general] if general in table else f"{table[module]}.{kind}"
    return found.replace("{i}", number)


def tensors(family: str, lively) -> dict[str, np.ndarray]:
    found = {their_name(family, n): w for n, w in lively(ARCHITECTURES[family]).items()}
    return {n: w.reshape(1) if w.shape == () else w for n, w in found.items()}


def write(folder, family: str, found: dict[str, np.ndarray], **changes):
    a = ARCHITECTURES[family]
    config = {
        "model_type": family,
        "num_attention_heads": a.num_heads,
        "layer_norm_eps": a.norm_eps,
        "tie_word_embeddings": a.tied,
        "vocab_size": a.vocab_size,
        **({} if family == "rnaernie" else {"token_dropout": a.token_dropout is not None}),
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    save_file({n: np.ascontiguousarray(w) for n, w in found.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(params=ARCHITECTURES)
def family(request):
    return request.param


def test_a_folder_gives_what_its_weights_give(tmp_path, family, backend, build, lively, tolerance):
    path = write(tmp_path / "weights", family, tensors(family, lively))
    model = load(NAMES[family], weights=path, backend=backend, dtype="float32")
    assert model.architecture == ARCHITECTURES[family]
    assert model.alphabet.tokens == tuple(VOCABULARY)
    batch = model.alphabet.encode(["ACGU<mask>ACGN", "GG"])
    names = ("representation", "logits")
    found = model.forward(batch, names)
    expected = build("numpy", ARCHITECTURES[family], "float64").forward(batch, names)
    for name in names:
        for a, b in zip(getattr(found, name), expected[name], strict=True):
            atol = tolerance["backends", "float32"]
            np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def test_text_becomes_their_tokens(tmp_path, family, lively):
    path = write(tmp_path / "weights", family, tensors(family, lively))
    alphabet = load(NAMES[family], weights=path, backend="numpy").alphabet
    ids = alphabet.encode(["acgTUNx.-<mask>"]).ids
    shown = "<cls> A C G U U N X . - <mask> <eos>"
    assert [VOCABULARY[i] for i in ids] == shown.split()


def test_older_files_have_the_models_name_in_front(tmp_path, family, lively):
    old = {
        n.replace("model.", f"{family}.", 1) if n.startswith("model.") else n: w
        for n, w in tensors(family, lively).items()
    }
    model = load(NAMES[family], weights=write(tmp_path / "old", family, old), backend="numpy")
    for name, array in lively(ARCHITECTURES[family]).items():
        assert np.array_equal(model.weights[name], array)


def test_other_heads_are_left_aside(tmp_path, family, lively):
    more = {**tensors(family, lively), "ss_head.decoder.weight": np.zeros((1, 8), "f4")}
    model = load(NAMES[family], weights=write(tmp_path / "w", family, more), backend="numpy")
    assert model.architecture == ARCHITECTURES[family]


def test_a_missing_tensor_is_named_as_in_the_file(tmp_path, family, lively):
    some = tensors(family, lively)
    name = "model.encoder.layer.1.output.dense.bias"
    del some[name]
    with pytest.raises(CheckpointError, match=name):
        load(NAMES[family], weights=write(tmp_path / "w", family, some), backend="numpy")


def test_a_copy_of_rnaernie_says_that_it_lost_the_prompts(tmp_path, lively):
    path = write(tmp_path / "w", "rnaernie", tensors("rnaernie", lively))
    model = load("rnaernie", weights=path, backend="numpy")
    with pytest.raises(UsageError, match="MultiMolecule's copy has lost them"):
        model.embed(["ACGU"], prompt="tRNA")


def test_a_second_bias_is_left_aside(tmp_path, family, lively):
    """Theirs leaves zeros in it when it loads and saves a model that ties nothing."""
    more = {**tensors(family, lively), "lm_head.decoder.bias": np.zeros(len(VOCABULARY), "f4")}
    model = load(NAMES[family], weights=write(tmp_path / "w", family, more), backend="numpy")
    expected = lively(ARCHITECTURES[family])["lm_head.decoder.bias"]
    assert np.array_equal(model.weights["lm_head.decoder.bias"], expected)


def test_activations_are_those_of_the_config(tmp_path, lively):
    config = {"hidden_act": "relu", "lm_head": {"transform": "nonlinear", "transform_act": "relu"}}
    path = write(tmp_path / "w", "rnafm", tensors("rnafm", lively), **config)
    architecture = load("rnafm", weights=path, backend="numpy").architecture
    assert (architecture.activation, architecture.lm_activation) == ("relu", "relu")


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_act": "silu"},
        {"position_embedding_type": "rotary"},
        {"lm_head": {"transform": "linear"}},
    ],
    ids=str,
)
def test_a_config_that_we_cannot_compute_is_refused(tmp_path, lively, config):
    path = write(tmp_path / "w", "rnafm", tensors("rnafm", lively), **config)
    with pytest.raises(CheckpointError, match=r"silu|rotary|linear"):
        load("rnafm", weights=path, backend="numpy")


def test_a_vocabulary_that_cannot_be_is_refused(tmp_path, lively):
    path = write(tmp_path / "w", "rnafm", tensors("rnafm", lively))
    (path / "vocab.txt").write_text("\n".join(VOCABULARY).replace("<mask>", "<mosk>"))
    with pytest.raises(CheckpointError, match="lacks '<mask>'"):
        load("rnafm", weights=path, backend="numpy")
