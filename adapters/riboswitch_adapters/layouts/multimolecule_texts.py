"""The texts that stand in MultiMolecule's folder beside the tensors."""

from __future__ import annotations

import json
from typing import Any

from riboswitch.alphabet import Alphabet
from riboswitch.interfaces import ModelEntry


def texts(entry: ModelEntry) -> dict[str, str]:
    """What `save_pretrained` of a model and its tokenizer would write, by file name."""
    return {
        "config.json": _json(_config(entry)),
        "tokenizer_config.json": _json(_tokenizer(entry.alphabet)),
        "vocab.txt": "".join(f"{token}\n" for token in entry.alphabet.tokens),
    }


def _json(table: dict[str, Any]) -> str:
    return json.dumps(table, indent=2, sort_keys=True) + "\n"


def _tokenizer(alphabet: Alphabet) -> dict[str, Any]:
    """Without it codons would be read letter by letter."""
    return {
        "tokenizer_class": "RnaTokenizer",
        "codon": alphabet.k == 3,
        "replace_T_with_U": True,
        "bos_token": alphabet.cls,
        "cls_token": alphabet.cls,
        "eos_token": alphabet.eos,
        "sep_token": alphabet.eos,
        "mask_token": alphabet.mask,
        "pad_token": alphabet.pad,
        "unk_token": alphabet.unk,
    }


def _config(entry: ModelEntry) -> dict[str, Any]:
    a, codon = entry.architecture, entry.family == "mrnafm"
    family = "rnafm" if codon else entry.family
    classes = {"rnafm": "RnaFm", "rinalmo": "RiNALMo", "rnaernie": "RnaErnie"}
    head = {"transform": "nonlinear", "transform_act": a.lm_activation, "bias": True}
    own: dict[str, dict[str, Any]] = {
        "rnafm": {"codon": codon, "embed_norm": a.embedding_norm},
        "rinalmo": {"learnable_beta": True},
        "rnaernie": {"type_vocab_size": 2},
    }
    dropout = {} if family == "rnaernie" else {"token_dropout": a.token_dropout is not None}
    swiglu = a.activation == "swiglu"
    # Theirs is int(2/3 of it): just above what gives ours, lest rounding make it one less.
    inner = (a.feed_forward_size * 3 + 2) // 2 if swiglu else a.feed_forward_size
    return {
        "license": entry.licence,
        "architectures": [f"{classes[family]}{'ForPreTraining' if a.lm_head else 'Model'}"],
        "model_type": family,
        "vocab_size": a.vocab_size,
        "hidden_size": a.hidden_size,
        "num_hidden_layers": a.num_layers,
        "num_attention_heads": a.num_heads,
        "intermediate_size": inner,
        "hidden_act": "gelu" if swiglu else a.activation,
        "layer_norm_eps": a.norm_eps,
        "max_position_embeddings": a.max_positions or 1024,
        "position_embedding_type": "rotary" if a.positions == "rotary" else "absolute",
        "tie_word_embeddings": a.tied,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unk_token_id": 3,
        "mask_token_id": 4,
        "null_token_id": 5,
        "lm_head": {**head, "layer_norm_eps": a.norm_eps},
        **dropout,
        **own[family],
    }
