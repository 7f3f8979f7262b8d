"""Self-attention in a block of packed sequences; no token sees another sequence's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from riboswitch.interfaces import Array


def attend(
    q: jax.Array, k: jax.Array, v: jax.Array, same: jax.Array, keep: bool
) -> tuple[jax.Array, jax.Array | None]:
    """Mix values within each sequence, one head after the other: a CPU's cache holds one.

    Args:
        q: Queries (H, T, head).
        k: Keys, likewise.
        v: Values, likewise.
        same: Which tokens are of one sequence, bool (T, T).
        keep: Whether the probabilities are wanted.

    Returns:
        (H, T, head), and the probabilities (H, T, T) or None.
    """

    def head(
        qkv: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array | None]:
        q, k, v = qkv
        scores = (q * np.sqrt(1 / q.shape[-1]).astype(q.dtype)) @ k.T
        scores = jnp.where(same, scores.astype(wide(q.dtype)), -jnp.inf)
        weights = jnp.exp(scores - scores.max(-1, keepdims=True))
        total = weights.sum(-1, keepdims=True)
        mixed = (weights.astype(v.dtype) @ v / total).astype(v.dtype)
        return mixed, weights / total if keep else None

    mixed, probabilities = jax.lax.map(head, (q, k, v))
    return mixed, probabilities


@lru_cache(8)
def rotary_tables(base: float, size: int, length: int, dtype: Any) -> tuple[Array, Array]:
    """Cosines and sines of the turns at each place, (length, size / 2), made in float64."""
    frequencies = base ** -(np.arange(0, size, 2) / size)
    angles = np.arange(length)[:, None] * frequencies
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Turn the two halves of each head against each other."""
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def wide(dtype: Any) -> Any:
    """In what sums over many numbers are made for an encoder of this dtype."""
    return jnp.promote_types(dtype, jnp.float32)
