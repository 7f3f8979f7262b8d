"""The encoder's parts as pure functions of their parameters; x is a block of tokens, (T, D).

Each part is compiled by itself, and all layers share its program; so do architectures that differ
elsewhere. What decides a program is seen in the part's signature: shapes and presence of
parameters, and what is static under `jax.jit`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from riboswitch.architecture import Activation, Architecture, Norm
from riboswitch_jax.attention import attend, rotate, wide
from riboswitch_jax.blocks import Block

Params: TypeAlias = dict[str, Any]
"""A tree of arrays, by the parts of the canonical names."""
Pair: TypeAlias = tuple[jax.Array, jax.Array]

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "relu": jax.nn.relu,
}
TINY = 1e-6
"""Keeps a sequence of nothing but masks, whose embedding is zero, from a division by zero."""


class Common(NamedTuple):
    """What all layers share.

    Attributes:
        same: Which tokens are of one sequence, bool (T, T).
        turns: Rotary cosines and sines of each token, (T, head / 2), or None.
    """

    same: jax.Array
    turns: Pair | None


def linear(p: Params, x: jax.Array) -> jax.Array:
    """(T, in) to (T, out); the matrix is [out, in]."""
    y: jax.Array = x @ p["weight"].T
    return y + p["bias"] if "bias" in p else y


@jax.jit
def norm(p: Params, eps: float, x: jax.Array) -> jax.Array:
    """LayerNorm over the last axis."""
    w = x.astype(wide(x.dtype))
    centred = w - w.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    unit = (centred * jax.lax.rsqrt(variance + eps)).astype(x.dtype)
    scaled: jax.Array = unit * p["weight"] + p["bias"]
    return scaled


@jax.jit
def embedding(
    p: Params,
    eps: float,
    block: Block,
    offset: int,
    dropout: tuple[int, float] | None,
    tables: Pair | None,
) -> tuple[jax.Array, Common]:
    """Embed tokens, with the positions and types that there are parameters for.

    Args:
        p: All of `embedding`.
        eps: Of its LayerNorm.
        block: T tokens.
        offset: Row of the learned positions that a first token takes.
        dropout: Id of the mask and its expected share, if masks are dropped.
        tables: Rotary cosines and sines of each place.

    Returns:
        (T, D), and what the layers need to know of the tokens.
    """
    same = block.sequence[:, None] == block.sequence[None]
    x = p["tokens"][block.ids]
    if dropout is not None:
        x = _drop_masks(x, jnp.equal(block.ids, dropout[0]), same, dropout[1])
    if "positions" in p:
        x = x + p["positions"][block.positions + offset]
    if "types" in p:
        x = x + p["types"][0]
    if "norm" in p:
        x = norm(p["norm"], eps, x)
    turns = None if tables is None else (tables[0][block.positions], tables[1][block.positions])
    return x, Common(same, turns)


def _drop_masks(x: jax.Array, masked: jax.Array, same: jax.Array, expected: float) -> jax.Array:
    """Zero the masks' embeddings and rescale the rest of each sequence."""
    share = (same & masked).sum(1).astype(wide(x.dtype)) / same.sum(1)
    scale = ((1 - expected) / jnp.maximum(1 - share, TINY)).astype(x.dtype)
    return jnp.where(masked[:, None], 0, x) * scale[:, None]


def layer(
    p: Params, a: Architecture, x: jax.Array, common: Common, keep: bool
) -> tuple[jax.Array, jax.Array | None]:
    """Attention and feed-forward: (T, D) to (T, D), and the probabilities (H, T, T) or None."""
    x, probabilities = attention(
        p["attention"], a.norm_eps, x, common, place=a.norm, num_heads=a.num_heads, keep=keep
    )
    feed = p["feed_forward"]
    x = feed_forward(feed, a.norm_eps, x, post=a.norm == "post", activation=a.activation)
    return x, probabilities


@partial(jax.jit, static_argnames=("place", "num_heads", "keep"))
def attention(
    p: Params, eps: float, x: jax.Array, common: Common, *, place: Norm, num_heads: int, keep: bool
) -> tuple[jax.Array, jax.Array | None]:
    """Self-attention within each sequence, the residual and the norm: (T, D) to (T, D)."""
    normed = x if place == "post" else norm(p["norm"], eps, x)
    stream = normed if place == "stream" else x
    heads = (len(x), num_heads, -1)
    parts = (linear(p[part], normed).reshape(heads) for part in ("query", "key", "value"))
    q, k, v = (part.swapaxes(0, 1) for part in parts)
    if common.turns is not None:
        q, k = rotate(q, *common.turns), rotate(k, *common.turns)
    mixed, probabilities = attend(q, k, v, common.same, keep)
    x = stream + linear(p["output"], mixed.swapaxes(0, 1).reshape(x.shape))
    return norm(p["norm"], eps, x) if place == "post" else x, probabilities


@partial(jax.jit, static_argnames=("post", "activation"))
def feed_forward(
    p: Params, eps: float, x: jax.Array, *, post: bool, activation: Activation
) -> jax.Array:
    """Two linear maps around an activation or a gate, the residual and the norm."""
    normed = x if post else norm(p["norm"], eps, x)
    inner = linear(p["up"], normed)
    if activation == "swiglu":
        inner = inner * jax.nn.sigmoid(p["beta"] * inner) * linear(p["gate"], normed)
    else:
        inner = ACTIVATIONS[activation](inner)
    x = x + linear(p["down"], inner)
    return norm(p["norm"], eps, x) if post else x


@partial(jax.jit, static_argnames="activation")
def lm_head(
    p: Params, tokens: jax.Array, eps: float, x: jax.Array, *, activation: str
) -> jax.Array:
    """The masked-language-model head, (T, D) to (T, V); `tokens` is a tied decoder."""
    inner = norm(p["norm"], eps, ACTIVATIONS[activation](linear(p["dense"], x)))
    decoder = p["decoder"].get("weight", tokens)
    logits: jax.Array = inner @ decoder.T + p["decoder"]["bias"]
    return logits


@jax.jit
def pooler(p: Params, x: jax.Array) -> jax.Array:
    """tanh(dense(x)) of each token, (T, D), of which a first one's is wanted."""
    return jnp.tanh(linear(p, x))
