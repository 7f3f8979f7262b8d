"""RiNALMo's `.pt`: with one stacked matrix for flash attention, or with three plain ones."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
from attrs import evolve

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Checkpoint, Description, Form, Layout, ModelEntry, Rule
from riboswitch.layout_tools import (
    has,
    modules,
    num_layers,
    of_family,
    released_alphabet,
    shape,
    with_alphabet,
    without_pooler,
)

_PREFIX = re.compile(r"^(lm|rinalmo)\.")
_BLOCK = "transformer.blocks.{i}"
STACKED = "transformer.blocks.0.mh_attn.Wqkv.weight"


def plain(name: str) -> str:
    """Strip the prefix of a fine-tuned model."""
    return _PREFIX.sub("", name)


def describe(checkpoint: Checkpoint) -> Description | None:
    """Recognise RiNALMo's names. The number of heads is written nowhere: 20 unless told."""
    if (
        not {
            "embedding.weight",
            "transformer.blocks.0.transition.0.linear_gate.weight",
        }
        <= checkpoint.tensors.keys()
    ):
        return None
    vocab_size, hidden_size = shape(checkpoint, "embedding.weight", 2)
    linear = shape(checkpoint, "transformer.blocks.0.transition.0.linear_gate.weight", 2)
    changes = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "feed_forward_size": linear[0],
        "num_layers": num_layers(checkpoint.tensors, r"transformer\.blocks\.(\d+)\."),
        "lm_head": has(checkpoint, "lm_mask_head."),
    }
    return Description(family="rinalmo", changes=changes)


def describe_flash(checkpoint: Checkpoint) -> Description | None:
    """With one stacked matrix."""
    return describe(checkpoint) if STACKED in checkpoint.tensors else None


def describe_plain(checkpoint: Checkpoint) -> Description | None:
    """With three matrices."""
    return None if STACKED in checkpoint.tensors else describe(checkpoint)


def rules(architecture: Architecture, checkpoint: Checkpoint, *, stacked: bool) -> list[Rule]:
    """The table of either layout."""
    del architecture, checkpoint
    layer = {
        "attention.output": "mh_attn.out_proj" if stacked else "mh_attn.mh_attn.out_proj",
        "attention.norm": "attn_layer_norm",
        "feed_forward.norm": "out_layer_norm",
        "feed_forward.up": "transition.0.linear",
        "feed_forward.gate": "transition.0.linear_gate",
        "feed_forward.down": "transition.2",
    }
    head = {
        "lm_head.dense": "lm_mask_head.linear1",
        "lm_head.norm": "lm_mask_head.layer_norm",
        "lm_head.decoder": "lm_mask_head.linear2",
    }
    return [
        Rule(canonical="embedding.tokens", file="embedding.weight"),
        *modules({f"layers.{{i}}.{a}": f"{_BLOCK}.{b}" for a, b in layer.items()}),
        Rule(
            canonical="layers.{i}.feed_forward.beta",
            file=f"{_BLOCK}.transition.0.beta",
            shape=(1,),
        ),
        *(_stacked() if stacked else _separate()),
        *modules({"final_norm": "transformer.final_layer_norm", **head}),
    ]


def _stacked() -> list[Rule]:
    return [
        Rule(
            canonical=f"layers.{{i}}.attention.{part}.weight",
            file=f"{_BLOCK}.mh_attn.Wqkv.weight",
            part=(k, 3),
        )
        for k, part in enumerate(("query", "key", "value"))
    ]


def _separate() -> list[Rule]:
    return [
        Rule(
            canonical=f"layers.{{i}}.attention.{part}.weight",
            file=f"{_BLOCK}.mh_attn.mh_attn.to_{part[0]}.weight",
        )
        for part in ("query", "key", "value")
    ]


def target(entry: ModelEntry) -> ModelEntry:
    """RiNALMo's own vocabulary, and no pooler."""
    of_family(entry, "rinalmo")
    return without_pooler(with_alphabet(entry, released_alphabet(entry)))


def form_flash(entry: ModelEntry) -> Form:
    """A bare state dict."""
    del entry
    return Form(container="torch")


def form_plain(entry: ModelEntry) -> Form:
    """The program without flash attention loads strictly, and its frequencies are a buffer."""
    a = entry.architecture
    exponents = np.arange(0, a.head_size, 2, dtype=np.float32) / np.float32(a.head_size)
    frequencies = (1 / np.float32(a.rotary_base) ** exponents).astype(np.float32)
    name = f"{_BLOCK}.mh_attn.mh_attn.rotary_emb.inv_freq"
    buffers = {name.replace("{i}", str(i)): frequencies for i in range(a.num_layers)}
    return Form(container="torch", constants=buffers)


_FLASH = Layout(
    name="rinalmo",
    plain=plain,
    describe=describe_flash,
    rules=partial(rules, stacked=True),
    ignored=(r"^pred_head\.", r"^threshold$", r"^scaler\."),
    derived=(r"\.rotary_emb\.inv_freq$",),
    target=target,
    form=form_flash,
)
LAYOUTS = (
    _FLASH,
    evolve(
        _FLASH,
        name="rinalmo-plain",
        describe=describe_plain,
        rules=partial(rules, stacked=False),
        form=form_plain,
    ),
)
