"""MultiMolecule's Hugging Face folder: one vocabulary of nucleotides, and one of codons.

Such files are AGPL-3.0: they are read, never shipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from typing import Any

from attrs import evolve

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.errors import CheckpointError, UsageError
from riboswitch.interfaces import Checkpoint, Description, Form, Layout, ModelEntry, Rule
from riboswitch.layout_tools import (
    has,
    modules,
    num_layers,
    number,
    of_family,
    shape,
    with_alphabet,
)
from riboswitch_adapters.layouts.multimolecule_texts import texts

FAMILIES = ("rnafm", "rinalmo", "rnaernie")
_PREFIX = re.compile(rf"^({'|'.join(FAMILIES)})\.")
_BARE = re.compile(r"^(embeddings|encoder|pooler)\.")
_LAYER = "model.encoder.layer.{i}"
_WORDS = "model.embeddings.word_embeddings.weight"
LICENCE = "AGPL-3.0, as MultiMolecule's copies are"
_SPECIAL = ("<pad>", "<cls>", "<eos>", "<unk>", "<mask>", "<null>")

NUCLEOTIDES = Alphabet(tokens=(*_SPECIAL, *"ACGUNRYSWKMBDHVIX|.*-?"))
_TRIPLETS = map("".join, product("ACGUN", repeat=3))
CODONS = Alphabet(tokens=(*_SPECIAL, *_TRIPLETS), k=3, stride=3)


def plain(name: str) -> str:
    """Older files have the model's name where newer ones have `model`; bare encoders nothing."""
    return _BARE.sub(r"model.\1", _PREFIX.sub("model.", name))


def describe(checkpoint: Checkpoint) -> Description | None:
    """Recognise the config's `model_type` and the names."""
    config = checkpoint.config
    family = config.get("model_type")
    if family not in FAMILIES or _WORDS not in checkpoint.tensors:
        return None
    vocab_size, hidden_size = shape(checkpoint, _WORDS, 2)
    inner = "linear_gate" if family == "rinalmo" else "dense"
    up = f"model.encoder.layer.0.intermediate.{inner}.weight"
    changes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "feed_forward_size": shape(checkpoint, up, 2)[0],
        "num_layers": num_layers(checkpoint.tensors, r"model\.encoder\.layer\.(\d+)\."),
        "pooler": has(checkpoint, "model.pooler."),
        "lm_head": has(checkpoint, "lm_head."),
        **_tied(checkpoint),
        **_settings(checkpoint),
        **_activations(checkpoint),
    }
    codon = config.get("codon") is True
    alphabet = _alphabet(checkpoint, codon=codon)
    changes["mask_id"] = alphabet.mask_id
    licence = config.get("license")
    return Description(
        family="mrnafm" if codon else str(family),
        changes=changes,
        alphabet=alphabet,
        licence=licence if isinstance(licence, str) and licence.isprintable() else LICENCE,
    )


def _settings(checkpoint: Checkpoint) -> dict[str, Any]:
    config = checkpoint.config
    changes: dict[str, Any] = {}
    if heads := number(config, "num_attention_heads"):
        changes["num_heads"] = heads["num_attention_heads"]
    if has(checkpoint, "model.embeddings.position_embeddings."):
        table = shape(checkpoint, "model.embeddings.position_embeddings.weight", 2)
        changes["max_positions"] = table[0]
    if has(checkpoint, "model.embeddings.token_type_embeddings."):
        table = shape(checkpoint, "model.embeddings.token_type_embeddings.weight", 2)
        changes["token_types"] = table[0]
    if isinstance(config.get("layer_norm_eps"), float):
        changes["norm_eps"] = config["layer_norm_eps"]
    if config.get("model_type") == "rnafm":
        changes["embedding_norm"] = has(checkpoint, "model.embeddings.layer_norm.")
    if isinstance(config.get("token_dropout"), bool):
        changes["token_dropout"] = 0.12 if config["token_dropout"] else None
    return changes


def _tied(checkpoint: Checkpoint) -> dict[str, bool]:
    if not has(checkpoint, "lm_head."):
        return {}
    said = checkpoint.config.get("tie_word_embeddings") is True
    return {"tied": said or "lm_head.decoder.weight" not in checkpoint.tensors}


def _activations(checkpoint: Checkpoint) -> dict[str, str]:
    """What no name and no shape shows, so that only the config tells it."""
    config, given = checkpoint.config, checkpoint.config.get("lm_head")
    head: Mapping[str, Any] = given if isinstance(given, dict) else {}
    rotary = config.get("model_type") == "rinalmo"
    positions = "rotary" if rotary else "absolute"
    _must_be(checkpoint, "position_embedding_type", config, positions)
    _must_be(checkpoint, "transform", head, "nonlinear")
    changes = {"lm_activation": head.get("transform_act")}
    changes |= {} if rotary else {"activation": config.get("hidden_act")}
    return {name: value for name, value in changes.items() if isinstance(value, str)}


def _must_be(checkpoint: Checkpoint, key: str, table: Mapping[str, Any], expected: str) -> None:
    if (found := table.get(key)) not in (None, expected):
        raise CheckpointError(
            f"{checkpoint.path}: its config says {key} = {found!r}, not {expected!r}.\n"
            "It is another architecture's."
        )


def _alphabet(checkpoint: Checkpoint, *, codon: bool) -> Alphabet:
    usual = CODONS if codon else NUCLEOTIDES
    try:
        return evolve(usual, tokens=checkpoint.vocabulary or usual.tokens)
    except UsageError as error:
        raise CheckpointError(f"{checkpoint.path}: its vocabulary cannot be: {error}") from error


def rules(architecture: Architecture, checkpoint: Checkpoint) -> list[Rule]:
    """The table, with the names that differ between the families."""
    rinalmo, post = architecture.activation == "swiglu", architecture.norm == "post"
    attention = ".output" if post else ""
    inner = "linear" if rinalmo else "dense"
    layer = {
        **{f"attention.{p}": f"attention.self.{p}" for p in ("query", "key", "value")},
        "attention.output": "attention.output.dense",
        "attention.norm": f"attention{attention}.layer_norm",
        "feed_forward.up": f"intermediate.{inner}",
        "feed_forward.gate": "intermediate.linear_gate",
        "feed_forward.down": "output.dense",
        "feed_forward.norm": "output.layer_norm" if post else "layer_norm",
    }
    tables = {
        "tokens": "word_embeddings",
        "positions": "position_embeddings",
        "types": "token_type_embeddings",
    }
    beta = Rule(
        canonical="layers.{i}.feed_forward.beta", file=f"{_LAYER}.intermediate.bias", shape=(1,)
    )
    return [
        *(
            Rule(canonical=f"embedding.{a}", file=f"model.embeddings.{b}.weight")
            for a, b in tables.items()
        ),
        *modules({"embedding.norm": "model.embeddings.layer_norm"}),
        *modules({f"layers.{{i}}.{a}": f"{_LAYER}.{b}" for a, b in layer.items()}),
        beta,
        *modules({"final_norm": "model.encoder.layer_norm", "pooler": "model.pooler.dense"}),
        *modules({"lm_head.dense": "lm_head.transform.dense"}),
        *modules({"lm_head.norm": "lm_head.transform.layer_norm"}),
        Rule(canonical="lm_head.decoder.weight", file="lm_head.decoder.weight"),
        Rule(canonical="lm_head.decoder.bias", file=_decoder_bias(checkpoint)),
    ]


def _decoder_bias(checkpoint: Checkpoint) -> str:
    names = ("lm_head.bias", "lm_head.decoder.bias")
    return next((n for n in names if n in checkpoint.tensors), names[0])


def target(entry: ModelEntry) -> ModelEntry:
    """One vocabulary for all families, another for codons, and none for other words."""
    of_family(entry, *FAMILIES, "mrnafm")
    types = entry.architecture.token_types
    if entry.family == "rnaernie" and types != 2:
        raise CheckpointError(f"it has {types} token types, where MultiMolecule's has always 2.")
    return with_alphabet(entry, CODONS if entry.family == "mrnafm" else NUCLEOTIDES)


def form(entry: ModelEntry) -> Form:
    """A folder as `save_pretrained` of the model and its tokenizer leaves it."""
    return Form(container="safetensors", file="model.safetensors", texts=texts(entry))


LAYOUT = Layout(
    name="multimolecule",
    plain=plain,
    describe=describe,
    rules=rules,
    ignored=(r"^(ss|contact|token|sequence|nucleotide)_head\.",),
    derived=(r"^lm_head\.decoder\.(weight|bias)$", r"position_ids$", r"inv_freq$"),
    # `lm_head.decoder.bias` may differ: where nothing is tied, loading leaves zeros in it, and
    # saving writes them. What counts is `lm_head.bias`.
    copies=(("lm_head.decoder.weight", _WORDS),),
    target=target,
    form=form,
)
