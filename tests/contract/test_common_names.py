"""A stranger's family whose checkpoints have the names of ESM-2, which RNA-FM's nearly have."""

from __future__ import annotations

from typing import ClassVar

import pytest

from riboswitch import Alphabet, Architecture
from riboswitch.interfaces import Checkpoint, Description, Form, Layout, ModelEntry, Rule
from riboswitch.layout_tools import has, modules, num_layers, of_family, shape, with_alphabet
from riboswitch.testing import LayoutContract

ALPHABET = Alphabet(tokens=("<cls>", "<pad>", "<eos>", "<unk>", *"ACGUN", "<mask>"))
NEWT = ModelEntry(
    name="newt",
    family="newt",
    architecture=Architecture(
        vocab_size=len(ALPHABET),
        mask_id=ALPHABET.mask_id,
        num_layers=3,
        hidden_size=48,
        num_heads=4,
        feed_forward_size=192,
        positions="rotary",
        token_dropout=0.12,
    ),
    alphabet=ALPHABET,
    licence="MIT",
    source="https://example.org/newt",
)
LAYER = {
    **{f"attention.{part}": f"self_attn.{part[0]}_proj" for part in ("query", "key", "value")},
    "attention.output": "self_attn.out_proj",
    "attention.norm": "self_attn_layer_norm",
    "feed_forward.up": "fc1",
    "feed_forward.down": "fc2",
    "feed_forward.norm": "final_layer_norm",
}


def describe(checkpoint: Checkpoint) -> Description | None:
    named = {"embed_tokens.weight", "layers.0.fc1.weight"} <= checkpoint.tensors.keys()
    if not named or has(checkpoint, "embed_positions."):
        return None
    vocab_size, hidden_size = shape(checkpoint, "embed_tokens.weight", 2)
    changes = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "num_layers": num_layers(checkpoint.tensors, r"layers\.(\d+)\."),
        "feed_forward_size": shape(checkpoint, "layers.0.fc1.weight", 2)[0],
        "lm_head": has(checkpoint, "lm_head."),
    }
    return Description(family="newt", changes=changes)


def rules(architecture: Architecture, checkpoint: Checkpoint) -> list[Rule]:
    head = {"lm_head.dense": "lm_head.dense", "lm_head.norm": "lm_head.layer_norm"}
    return [
        Rule(canonical="embedding.tokens", file="embed_tokens.weight"),
        *modules({f"layers.{{i}}.{ours}": f"layers.{{i}}.{its}" for ours, its in LAYER.items()}),
        *modules({"final_norm": "emb_layer_norm_after", **head}),
        Rule(canonical="lm_head.decoder.bias", file="lm_head.bias"),
    ]


def target(entry: ModelEntry) -> ModelEntry:
    of_family(entry, "newt")
    return with_alphabet(entry, ALPHABET)


LAYOUT = Layout(
    name="newt",
    plain=str,
    describe=describe,
    rules=rules,
    target=target,
    copies=(("lm_head.weight", "embed_tokens.weight"),),
    form=lambda entry: Form(
        container="torch", copies=("lm_head.weight",) * entry.architecture.lm_head
    ),
)


class TestNewt(LayoutContract):
    layout = "newt"
    exempt: ClassVar = {
        "test_announcing_it_imports_no_framework": "it is installed in this process alone"
    }

    @pytest.fixture(autouse=True)
    def _installed(self, install):
        install(riboswitch_models=lambda: [NEWT], riboswitch_layouts=lambda: [LAYOUT])
