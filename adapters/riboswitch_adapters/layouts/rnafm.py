"""RNA-FM's and mRNA-FM's `.pth`: fairseq names under any of four prefixes."""

from __future__ import annotations

import re

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Checkpoint, Description, Form, Layout, ModelEntry, Rule
from riboswitch.layout_tools import (
    has,
    modules,
    num_layers,
    number,
    of_family,
    released_alphabet,
    shape,
    with_alphabet,
    without_pooler,
)
from riboswitch.registry import registry

FAMILIES = ("rnafm", "mrnafm")
_PREFIX = re.compile(r"^(encoder\.(?:sentence_encoder\.|encoder\.)?|backbone\.)")
_LAYER = r"layers\.(\d+)\."


def plain(name: str) -> str:
    """Strip the prefix that a training script put in front."""
    return _PREFIX.sub("", name)


def describe(checkpoint: Checkpoint) -> Description | None:
    """Recognise fairseq's names; sizes are in the shapes, heads in the arguments."""
    if (
        checkpoint.container == "paddle"
        or not {
            "embed_tokens.weight",
            "embed_positions.weight",
            "layers.0.self_attn.q_proj.weight",
            "layers.0.fc1.weight",
        }
        <= checkpoint.tensors.keys()
    ):
        return None
    vocab_size, hidden_size = shape(checkpoint, "embed_tokens.weight", 2)
    family = _family(vocab_size)
    if family is None:  # ESM-1b's names are many models'
        return None
    heads = number(checkpoint.config, "encoder_attention_heads")
    changes = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "feed_forward_size": shape(checkpoint, "layers.0.fc1.weight", 2)[0],
        "num_layers": num_layers(checkpoint.tensors, _LAYER),
        "max_positions": shape(checkpoint, "embed_positions.weight", 2)[0],
        "embedding_norm": has(checkpoint, "emb_layer_norm_before."),
        "lm_head": has(checkpoint, "lm_head."),
        "token_dropout": 0.12 if checkpoint.config.get("token_dropout") is True else None,
    }
    if heads:
        changes["num_heads"] = heads["encoder_attention_heads"]
    return Description(family=family, changes=changes)


def _family(vocab_size: int) -> str | None:
    """Whose vocabulary has so many tokens."""
    return next((f for f in FAMILIES if len(registry().model(f).alphabet) == vocab_size), None)


def rules(architecture: Architecture, checkpoint: Checkpoint) -> list[Rule]:
    """The table. The loader of RNA-FM zeroes the embedding of the mask."""
    del checkpoint
    tokens = Rule(
        canonical="embedding.tokens", file="embed_tokens.weight", zero_row=architecture.mask_id
    )
    layer = {
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.output": "self_attn.out_proj",
        "attention.norm": "self_attn_layer_norm",
        "feed_forward.up": "fc1",
        "feed_forward.down": "fc2",
        "feed_forward.norm": "final_layer_norm",
    }
    return [
        tokens,
        Rule(canonical="embedding.positions", file="embed_positions.weight"),
        *modules({"embedding.norm": "emb_layer_norm_before", "final_norm": "emb_layer_norm_after"}),
        *modules({f"layers.{{i}}.{a}": f"layers.{{i}}.{b}" for a, b in layer.items()}),
        *modules({"lm_head.dense": "lm_head.dense", "lm_head.norm": "lm_head.layer_norm"}),
        Rule(canonical="lm_head.decoder.bias", file="lm_head.bias"),
    ]


def target(entry: ModelEntry) -> ModelEntry:
    """RNA-FM has one vocabulary, mRNA-FM another, and no pooler."""
    of_family(entry, *FAMILIES)
    return without_pooler(with_alphabet(entry, released_alphabet(entry)))


def form(entry: ModelEntry) -> Form:
    """What fairseq wrote; the arguments are those that RNA-FM's own loader asks for."""
    a = entry.architecture
    arguments = {
        "arch": "roberta_large",
        "task": "masked_lm",
        "encoder_layers": a.num_layers,
        "encoder_embed_dim": a.hidden_size,
        "encoder_ffn_embed_dim": a.feed_forward_size,
        "encoder_attention_heads": a.num_heads,
        "max_positions": (a.max_positions or 0) - a.position_offset,
        "token_dropout": a.token_dropout is not None,
    }
    copies = ("lm_head.weight",) if a.lm_head else ()
    return Form(container="torch", rename=_rename, config=arguments, copies=copies)


def _rename(name: str) -> str:
    return f"encoder.{name}" if name.startswith("lm_head.") else f"encoder.sentence_encoder.{name}"


LAYOUT = Layout(
    name="rnafm",
    plain=plain,
    describe=describe,
    rules=rules,
    ignored=(r"^contact_head\.", r"^downstream_modules\."),
    derived=(r"^lm_head\.weight$",),
    copies=(("lm_head.weight", "embed_tokens.weight"),),
    target=target,
    form=form,
)
