"""SpliceBERT's folder: what transformers saves of a `BertForMaskedLM` and its tokenizer."""

from __future__ import annotations

import json
from typing import Any

from riboswitch import Architecture
from riboswitch.interfaces import Checkpoint, Description, Form, Layout, ModelEntry, Rule
from riboswitch.layout_tools import (
    has,
    modules,
    num_layers,
    of_family,
    shape,
    with_alphabet,
    without_pooler,
)
from riboswitch_splicebert.family import ALPHABET, FAMILY, MODELS

_WORDS = "embeddings.word_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"
_LAYER = "encoder.layer.{i}"
_UP = "encoder.layer.0.intermediate.dense.weight"
_SETTINGS = {
    "num_heads": "num_attention_heads",
    "norm_eps": "layer_norm_eps",
    "activation": "hidden_act",
    "lm_activation": "hidden_act",
}


def plain(name: str) -> str:
    """Strip the model's name, which a bare encoder's file lacks."""
    return name.removeprefix("bert.")


def describe(checkpoint: Checkpoint) -> Description | None:
    """Recognise BERT's names with SpliceBERT's vocabulary; what no shape tells is in the config."""
    config = checkpoint.config
    bert = {_WORDS, _UP, "embeddings.LayerNorm.weight"} <= checkpoint.tensors.keys()
    if not bert or checkpoint.container == "paddle" or config.get("model_type", "bert") != "bert":
        return None
    vocab_size, hidden_size = shape(checkpoint, _WORDS, 2)
    changes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "feed_forward_size": shape(checkpoint, _UP, 2)[0],
        "num_layers": num_layers(checkpoint.tensors, r"encoder\.layer\.(\d+)\."),
        "max_positions": shape(checkpoint, _POSITIONS, 2)[0],
        "token_types": shape(checkpoint, "embeddings.token_type_embeddings.weight", 2)[0],
        "pooler": has(checkpoint, "pooler."),
        "lm_head": has(checkpoint, "cls.predictions."),
        **{ours: config[theirs] for ours, theirs in _SETTINGS.items() if theirs in config},
    }
    if not _spells_as_splicebert(checkpoint, changes):
        return None
    return Description(family=FAMILY, changes=changes)


def _spells_as_splicebert(checkpoint: Checkpoint, changes: dict[str, Any]) -> bool:
    """Any BERT has these names: its vocabulary decides, and where none is there, its size."""
    if checkpoint.vocabulary is not None:
        return checkpoint.vocabulary == ALPHABET.tokens
    released = MODELS[0].architecture
    sizes = ("vocab_size", "hidden_size", "num_layers", "feed_forward_size")
    return all(changes[size] == getattr(released, size) for size in sizes)


def rules(architecture: Architecture, checkpoint: Checkpoint) -> list[Rule]:
    """The table."""
    del architecture, checkpoint
    tables = {"tokens": "word", "positions": "position", "types": "token_type"}
    layer = {
        **{f"attention.{part}": f"attention.self.{part}" for part in ("query", "key", "value")},
        "attention.output": "attention.output.dense",
        "attention.norm": "attention.output.LayerNorm",
        "feed_forward.up": "intermediate.dense",
        "feed_forward.down": "output.dense",
        "feed_forward.norm": "output.LayerNorm",
    }
    head = "cls.predictions.transform"
    return [
        *(
            Rule(canonical=f"embedding.{a}", file=f"embeddings.{b}_embeddings.weight")
            for a, b in tables.items()
        ),
        *modules({"embedding.norm": "embeddings.LayerNorm"}),
        *modules({f"layers.{{i}}.{a}": f"{_LAYER}.{b}" for a, b in layer.items()}),
        *modules({"pooler": "pooler.dense"}),
        *modules({"lm_head.dense": f"{head}.dense", "lm_head.norm": f"{head}.LayerNorm"}),
        Rule(canonical="lm_head.decoder.bias", file="cls.predictions.bias"),
    ]


def target(entry: ModelEntry) -> ModelEntry:
    """One vocabulary; a pooler only where there is no head, as in transformers' classes."""
    of_family(entry, FAMILY)
    held = without_pooler(entry) if entry.architecture.lm_head else entry
    return with_alphabet(held, ALPHABET)


def form(entry: ModelEntry) -> Form:
    """A folder as `save_pretrained` of the model and its tokenizer leaves it."""
    return Form(
        container="safetensors",
        file="model.safetensors",
        rename=lambda name: name if name.startswith("cls.") else f"bert.{name}",
        texts={
            "config.json": _json(_config(entry.architecture)),
            "tokenizer_config.json": _json(
                {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
            ),
            "vocab.txt": "".join(f"{token}\n" for token in entry.alphabet.tokens),
        },
    )


def _config(a: Architecture) -> dict[str, Any]:
    return {
        "architectures": ["BertForMaskedLM" if a.lm_head else "BertModel"],
        "model_type": "bert",
        "vocab_size": a.vocab_size,
        "hidden_size": a.hidden_size,
        "num_hidden_layers": a.num_layers,
        "num_attention_heads": a.num_heads,
        "intermediate_size": a.feed_forward_size,
        "hidden_act": a.activation,
        "layer_norm_eps": a.norm_eps,
        "max_position_embeddings": a.max_positions,
        "position_embedding_type": "absolute",
        "type_vocab_size": a.token_types,
        "pad_token_id": ALPHABET.pad_id,
    }


def _json(table: dict[str, Any]) -> str:
    return json.dumps(table, indent=2) + "\n"


LAYOUT = Layout(
    name="splicebert",
    plain=plain,
    describe=describe,
    rules=rules,
    ignored=(r"^classifier\.", r"^cls\.seq_relationship\."),
    derived=(r"^embeddings\.position_ids$", r"^cls\.predictions\.decoder\.(weight|bias)$"),
    copies=(
        ("cls.predictions.decoder.weight", _WORDS),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ),
    target=target,
    form=form,
)
