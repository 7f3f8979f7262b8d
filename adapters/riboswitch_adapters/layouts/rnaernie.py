"""RNAErnie's folder, as the versions of PaddleNLP write it. Paddle's matrices are [in, out]."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.errors import CheckpointError, UsageError
from riboswitch.interfaces import Checkpoint, Description, Form, Layout, ModelEntry, Rule
from riboswitch.layout_tools import (
    has,
    num_layers,
    number,
    of_family,
    released_alphabet,
    shape,
    with_alphabet,
)

_PREFIX = re.compile(r"^ernie\.")
_SPECIAL = re.compile(r"^\[.+\]$")
_WORDS = "embeddings.word_embeddings.weight"


def plain(name: str) -> str:
    """Strip the model's name, which a bare encoder's file lacks."""
    return _PREFIX.sub("", name)


def describe(checkpoint: Checkpoint) -> Description | None:
    """Recognise ERNIE's names; the number of heads is in the config."""
    if not {_WORDS, "encoder.layers.0.linear1.weight"} <= checkpoint.tensors.keys():
        return None
    vocab_size, hidden_size = shape(checkpoint, _WORDS, 2)
    config = ernie_config(checkpoint.config)
    changes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "feed_forward_size": shape(checkpoint, "encoder.layers.0.linear1.weight", 2)[1],
        "num_layers": num_layers(checkpoint.tensors, r"encoder\.layers\.(\d+)\."),
        "max_positions": shape(checkpoint, "embeddings.position_embeddings.weight", 2)[0],
        "token_types": shape(checkpoint, "embeddings.token_type_embeddings.weight", 2)[0],
        "pooler": has(checkpoint, "pooler."),
        "lm_head": has(checkpoint, "cls.predictions."),
    }
    if heads := number(config, "num_attention_heads"):
        changes["num_heads"] = heads["num_attention_heads"]
    if config.get("hidden_act") in ("relu", "gelu"):
        changes["activation"] = changes["lm_activation"] = config["hidden_act"]
    return Description(family="rnaernie", changes=changes, alphabet=_alphabet(checkpoint))


def ernie_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the encoder's settings: flat, or in `init_args` as older versions nest them."""
    nested = config.get("init_args")
    while isinstance(nested, list | tuple) and nested and isinstance(nested[0], Mapping):
        config = nested[0]
        nested = config.get("init_args")
    return config


def rules(architecture: Architecture, checkpoint: Checkpoint) -> list[Rule]:
    """The table; every matrix of a Linear is transposed."""
    del architecture
    layer = {
        **{f"attention.{p}": f"self_attn.{p[0]}_proj" for p in ("query", "key", "value")},
        "attention.output": "self_attn.out_proj",
        "feed_forward.up": "linear1",
        "feed_forward.down": "linear2",
    }
    linears = {f"layers.{{i}}.{a}": f"encoder.layers.{{i}}.{b}" for a, b in layer.items()}
    linears |= {"pooler": "pooler.dense", "lm_head.dense": "cls.predictions.transform"}
    norms = {
        "embedding.norm": "embeddings.layer_norm",
        "layers.{i}.attention.norm": "encoder.layers.{i}.norm1",
        "layers.{i}.feed_forward.norm": "encoder.layers.{i}.norm2",
        "lm_head.norm": "cls.predictions.layer_norm",
    }
    tables = {
        "embedding.tokens": _WORDS,
        "embedding.positions": "embeddings.position_embeddings.weight",
        "embedding.types": "embeddings.token_type_embeddings.weight",
        "lm_head.decoder.bias": _decoder_bias(checkpoint),
    }
    return [
        *(Rule(canonical=a, file=b) for a, b in tables.items()),
        *(
            Rule(canonical=f"{a}.{kind}", file=f"{b}.{kind}", transpose=kind == "weight" and lin)
            for pairs, lin in ((linears, True), (norms, False))
            for a, b in pairs.items()
            for kind in ("weight", "bias")
        ),
    ]


def _decoder_bias(checkpoint: Checkpoint) -> str:
    names = ("cls.predictions.decoder_bias", "cls.predictions.decoder.bias")
    return next((n for n in names if n in checkpoint.tensors), names[0])


def _alphabet(checkpoint: Checkpoint) -> Alphabet | None:
    """Read the vocabulary that lies beside the weights: nucleotides or overlapping k-mers."""
    tokens = checkpoint.vocabulary
    if tokens is None:
        return None
    words = [t for t in tokens if t and set(t) <= set("ACGTU")]
    special = [t for t in tokens if _SPECIAL.match(t)]
    named = {*words, *special}
    try:
        return Alphabet(
            tokens=tokens,
            cls="[CLS]",
            pad="[PAD]",
            eos="[SEP]",
            unk="[UNK]",
            mask="[MASK]",
            k=max(map(len, words), default=1),
            ind="[IND]" if "[IND]" in special else None,
            types=tuple(t for t in tokens if t not in named),
        )
    except UsageError as error:
        raise CheckpointError(f"{checkpoint.path}: its vocabulary cannot be: {error}") from error


def target(entry: ModelEntry) -> ModelEntry:
    """A vocabulary in ERNIE's spelling: its own, or the released one without the prompts.

    Who lacks the prompts has numbers for none of them, and made-up ones would mean nothing.
    """
    of_family(entry, "rnaernie")
    if entry.alphabet.cls == "[CLS]":
        return entry
    full = released_alphabet(entry)
    tokens = (full.pad, full.unk, full.cls, full.eos, full.mask, *full.words)
    return with_alphabet(entry, evolve(full, tokens=tokens, ind=None, types=()))


def form(entry: ModelEntry) -> Form:
    """A folder as PaddleNLP 2 keeps it, with the vocabulary beside it as RNAErnie does."""
    head = entry.architecture.lm_head
    vocabulary = "".join(f"{token}\n" for token in entry.alphabet.tokens)
    return Form(
        container="paddle",
        file="model_state.pdparams",
        rename=lambda name: name if name.startswith("cls.") else f"ernie.{name}",
        texts={
            "model_config.json": json.dumps(_config(entry.architecture), indent=1) + "\n",
            f"vocab_{entry.alphabet.k}MER.txt": vocabulary,
        },
        copies=("cls.predictions.decoder.weight", "cls.predictions.decoder.bias") if head else (),
    )


def _config(a: Architecture) -> dict[str, Any]:
    encoder = {
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": a.activation,
        "hidden_dropout_prob": 0.1,
        "hidden_size": a.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": a.feed_forward_size,
        "max_position_embeddings": a.max_positions,
        "num_attention_heads": a.num_heads,
        "num_hidden_layers": a.num_layers,
        "type_vocab_size": a.token_types,
        "vocab_size": a.vocab_size,
        "pad_token_id": 0,
        "init_class": "ErnieModel",
    }
    return {"init_args": [encoder], "init_class": "ErnieForMaskedLM" if a.lm_head else "ErnieModel"}


LAYOUT = Layout(
    name="rnaernie",
    plain=plain,
    describe=describe,
    rules=rules,
    ignored=(r"^cls\.seq_relationship\.", r"^classifier\."),
    # The decoder is tied to the embedding, and its bias stands there twice in some versions.
    derived=(r"^cls\.predictions\.decoder_weight$", r"^cls\.predictions\.decoder\.(weight|bias)$"),
    copies=(
        ("cls.predictions.decoder_weight", _WORDS),
        ("cls.predictions.decoder.weight", _WORDS),
        ("cls.predictions.decoder.bias", "cls.predictions.decoder_bias"),
    ),
    target=target,
    form=form,
)
