"""RNAErnie's folder, as the versions of PaddleNLP write it. Paddle's matrices are [in, out]."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.errors import CheckpointError, UsageError
from riboswitch.interfaces import Checkpoint, Description, Layout, Rule
from riboswitch_adapters.layouts.common import has, num_layers, number, shape

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


LAYOUT = Layout(
    name="rnaernie",
    plain=plain,
    describe=describe,
    rules=rules,
    # The decoder is tied to the embedding, and its bias stands there twice in some versions.
    ignored=(
        r"^cls\.predictions\.decoder_weight$",
        r"^cls\.predictions\.decoder\.(weight|bias)$",
        r"^cls\.seq_relationship\.",
    ),
    copies=(
        ("cls.predictions.decoder_weight", _WORDS),
        ("cls.predictions.decoder.weight", _WORDS),
        ("cls.predictions.decoder.bias", "cls.predictions.decoder_bias"),
    ),
)
