"""Small architectures that differ from a plain one in one thing each, and batches for them.

And one that is as deep as those of real models, with their vocabularies and lengths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch
from riboswitch.interfaces import OUTPUTS

LONGEST = 202
"""Tokens of the longest sequence: 200 residues between two special tokens."""
LONG = 1500
"""Tokens of one that outgrows a table for the usual ones, and a batch of `Model`'s."""

_PLAIN: Mapping[str, Any] = {
    "vocab_size": 11,
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_size": 20,
    "max_positions": LONGEST,
    "mask_id": 4,
}
_ERNIE = {
    "norm": "post",
    "embedding_norm": True,
    "final_norm": False,
    "norm_eps": 1e-12,
    "activation": "relu",
    "lm_activation": "relu",
    "token_types": 3,
    "pooler": True,
}
_ROTARY = {"positions": "rotary", "max_positions": None}

CHANGES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "norm-post": {"norm": "post", "final_norm": False},
    "norm-stream": {"norm": "stream"},
    "norm-eps": {"norm_eps": 1e-3},
    "norm-eps-large": {"norm_eps": 0.1},
    "final-norm-none": {"final_norm": False},
    "embedding-norm": {"embedding_norm": True},
    "positions-offset": {"position_offset": 2, "max_positions": LONGEST + 2},
    "positions-rotary": _ROTARY,
    "positions-rotary-base": {**_ROTARY, "rotary_base": 50.0},
    "activation-relu": {"activation": "relu"},
    "activation-swiglu": {"activation": "swiglu"},
    "attention-bias-none": {"attention_bias": False},
    "heads-one": {"num_heads": 1},
    "layers-one": {"num_layers": 1},
    "feed-forward-one": {"feed_forward_size": 1},
    "token-dropout": {"token_dropout": 0.12},
    "token-types": {"token_types": 2},
    "pooler": {"pooler": True},
    "head-none": {"lm_head": False},
    "head-relu": {"lm_activation": "relu"},
    "head-untied": {"tied": False},
    "rnafm": {"token_dropout": 0.12, "position_offset": 2, "max_positions": LONGEST + 2},
    "rinalmo": {**_ROTARY, "norm": "stream", "activation": "swiglu", "token_dropout": 0.12,
                "attention_bias": False, "tied": False},
    "rnaernie": _ERNIE,
    "rnaernie-gelu": {**_ERNIE, "activation": "gelu", "lm_activation": "gelu", "token_types": 0},
    "rnaernie-head-none": {**_ERNIE, "lm_head": False},
}  # fmt: skip
"""By name: what differs from the plain one."""


def shape(name: str, sizes: Mapping[str, Any]) -> Architecture:
    """Return one of `CHANGES`, in other sizes where they are given."""
    return Architecture(**{**_PLAIN, **sizes, **CHANGES[name]})


def grown(architecture: Architecture, sizes: Mapping[str, Any], layers: int) -> Architecture:
    """With more tokens than a byte counts, room for `LONG`, so many layers and one head."""
    changes = {"num_heads": 1, "feed_forward_size": 16, **sizes}
    changes |= {"vocab_size": 300, "num_layers": layers}
    if architecture.positions == "learned":
        changes["max_positions"] = LONG + architecture.position_offset
    return architecture.evolve(changes)


def outputs_of(architecture: Architecture) -> tuple[str, ...]:
    """Names of the outputs that an architecture has, in the order of `OUTPUTS`."""
    lacking = {"logits": not architecture.lm_head, "pooled": not architecture.pooler}
    return tuple(name for name in OUTPUTS if not lacking.get(name))


def batch_of(architecture: Architecture, lengths: Sequence[int], seed: int = 0) -> TokenBatch:
    """Draw tokens of all kinds, masks among them, for sequences of these lengths."""
    rng = np.random.default_rng([seed, *lengths])
    return TokenBatch.from_sequences(
        [rng.integers(0, architecture.vocab_size, length) for length in lengths]
    )
