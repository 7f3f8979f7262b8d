"""The encoder's parts as pure functions of their parameters; x is a block of tokens, (T, D)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from riboswitch.architecture import Architecture
from riboswitch_jax.attention import attend, rotary_tables, rotate, wide
from riboswitch_jax.blocks import Block

Params: TypeAlias = dict[str, Any]
"""A tree of arrays, by the parts of the canonical names."""

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "relu": jax.nn.relu,
}
TINY = 1e-6
"""Keeps a sequence of nothing but masks, whose embedding is zero, from a division by zero."""


def linear(p: Params, x: jax.Array) -> jax.Array:
    """(T, in) to (T, out); the matrix is [out, in]."""
    y: jax.Array = x @ p["weight"].T
    return y + p["bias"] if "bias" in p else y


def norm(p: Params, a: Architecture, x: jax.Array) -> jax.Array:
    """LayerNorm over the last axis."""
    w = x.astype(wide(x.dtype))
    centred = w - w.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    unit = (centred * jax.lax.rsqrt(variance + a.norm_eps)).astype(x.dtype)
    scaled: jax.Array = unit * p["weight"] + p["bias"]
    return scaled


def embedding(p: Params, a: Architecture, block: Block, same: jax.Array) -> jax.Array:
    """Tokens, learned positions and types: (T,) to (T, D)."""
    x = p["tokens"][block.ids]
    if a.token_dropout is not None:
        x = _drop_masks(x, jnp.equal(block.ids, a.mask_id or 0), same, a.token_dropout)
    if a.positions == "learned":
        x = x + p["positions"][block.positions + a.position_offset]
    if a.token_types:
        x = x + p["types"][0]
    return norm(p["norm"], a, x) if a.embedding_norm else x


def _drop_masks(x: jax.Array, masked: jax.Array, same: jax.Array, expected: float) -> jax.Array:
    """Zero the masks' embeddings and rescale the rest of each sequence."""
    share = (same & masked).sum(1).astype(wide(x.dtype)) / same.sum(1)
    scale = ((1 - expected) / jnp.maximum(1 - share, TINY)).astype(x.dtype)
    return jnp.where(masked[:, None], 0, x) * scale[:, None]


def layer(
    p: Params, a: Architecture, x: jax.Array, block: Block, same: jax.Array, keep: bool
) -> tuple[jax.Array, jax.Array | None]:
    """Attention and feed-forward: (T, D) to (T, D), and the probabilities (H, T, T) or None."""
    attention_norm = partial(norm, p["attention"]["norm"], a)
    feed_norm = partial(norm, p["feed_forward"]["norm"], a)
    if a.norm == "post":
        mixed, probabilities = attention(p["attention"], a, x, block, same, keep)
        x = attention_norm(x + mixed)
        return feed_norm(x + feed_forward(p["feed_forward"], a, x)), probabilities
    normed = attention_norm(x)
    mixed, probabilities = attention(p["attention"], a, normed, block, same, keep)
    x = (normed if a.norm == "stream" else x) + mixed
    return x + feed_forward(p["feed_forward"], a, feed_norm(x)), probabilities


def attention(
    p: Params, a: Architecture, x: jax.Array, block: Block, same: jax.Array, keep: bool
) -> tuple[jax.Array, jax.Array | None]:
    """Self-attention within each sequence, (T, D) to (T, D)."""
    heads = (len(x), a.num_heads, a.head_size)
    parts = (linear(p[part], x).reshape(heads) for part in ("query", "key", "value"))
    q, k, v = (part.swapaxes(0, 1) for part in parts)
    if a.positions == "rotary":
        tables = rotary_tables(a, block.positions, x.dtype)
        q, k = rotate(q, *tables), rotate(k, *tables)
    mixed, probabilities = attend(q, k, v, same, keep)
    return linear(p["output"], mixed.swapaxes(0, 1).reshape(x.shape)), probabilities


def feed_forward(p: Params, a: Architecture, x: jax.Array) -> jax.Array:
    """Two linear maps with an activation, or a gate, between them."""
    inner = linear(p["up"], x)
    if a.activation == "swiglu":
        inner = inner * jax.nn.sigmoid(p["beta"] * inner) * linear(p["gate"], x)
    else:
        inner = ACTIVATIONS[a.activation](inner)
    return linear(p["down"], inner)


def lm_head(p: Params, a: Architecture, tokens: jax.Array, x: jax.Array) -> jax.Array:
    """The masked-language-model head, (T, D) to (T, V); `tokens` is a tied decoder."""
    inner = ACTIVATIONS[a.lm_activation](linear(p["dense"], x))
    decoder = tokens if a.tied else p["decoder"]["weight"]
    logits: jax.Array = norm(p["norm"], a, inner) @ decoder.T + p["decoder"]["bias"]
    return logits
