"""The functions that NumPy lacks, on arrays of float32 or float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BLOCK = 16384
"""Numbers handled at once by chains of cheap operations, so that they stay in the cache."""


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """Normalise the last axis to mean 0 and variance 1, then scale and shift."""
    centred: Array = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...i,...i->...", centred, centred)[..., None] / x.shape[-1]
    centred *= 1 / np.sqrt(variance + x.dtype.type(eps))
    centred *= weight
    centred += bias
    return centred


def softmax_in_place(scores: Array) -> Array:
    """Softmax over the last axis, overwriting its argument.

    No weight is below e to the power of minus 60, which no sum notices: a processor is slow with
    numbers that small, of which a sharp attention is full: docs/benchmarks/denormals.py.
    """
    scores -= scores.max(axis=-1, keepdims=True)
    np.maximum(scores, scores.dtype.type(-60), out=scores)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def relu(x: Array) -> Array:
    """max(x, 0), overwriting its argument."""
    return np.maximum(x, 0, out=x)


def gelu(x: Array) -> Array:
    """X * (1 + erf(x / sqrt 2)) / 2, overwriting its argument."""
    half = x.dtype.type(0.5)
    root = x.dtype.type(math.sqrt(0.5))

    def block(part: Array) -> None:
        gate = erf(part * root)
        gate += 1
        part *= gate
        part *= half

    _by_block(block, x)
    return x


def swiglu(x: Array, gate: Array, beta: Array) -> Array:
    """X * sigmoid(beta * x) * gate, overwriting its first argument.

    Source: RiNALMo's SwiGLU, with its learned scalar beta.
    """

    def block(part: Array, gates: Array) -> None:
        turn = part * -beta
        np.clip(turn, None, 80, out=turn)  # exp stays finite in float32
        np.exp(turn, out=turn)
        turn += 1
        part /= turn
        part *= gates

    _by_block(block, x, gate)
    return x


def erf(x: Array) -> Array:
    """The error function: to 2e-7 in float32, to a few 1e-16 in float64."""
    return _erf64(x) if x.dtype == np.float64 else _erf32(x)


def rotary_tables(length: int, size: int, base: float, dtype: Any) -> tuple[Array, Array]:
    """Cosine and sine of each position's turns, each (length, size / 2)."""
    frequencies = base ** -(np.arange(0, size, 2, dtype=np.float64) / size)
    angles = np.arange(length, dtype=np.float64)[:, None] * frequencies
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turn the two halves of the last axis against each other; tables broadcast."""
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _by_block(function: Callable[..., None], *arrays: Array) -> None:
    flat = [a.reshape(-1) for a in arrays]
    for start in range(0, flat[0].size, BLOCK):
        function(*(f[start : start + BLOCK] for f in flat))


def _erf32(x: Array) -> Array:
    """Abramowitz and Stegun, Handbook of Mathematical Functions, formula 7.1.26."""
    size = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * size)
    tail = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(coefficient)
        tail *= t
    size *= -size
    np.exp(size, out=size)
    size *= tail
    signed: Array = np.copysign(1 - size, x)
    return signed


_STEP, _EDGE, _TERMS = 1 / 32, 6.0, 9


@cache
def _erf_table() -> Array:
    """Taylor coefficients of erf around multiples of `_STEP`, (nodes, terms)."""
    nodes = np.arange(0, _EDGE + 2 * _STEP, _STEP)
    table = np.empty((len(nodes), _TERMS))
    for row, node in zip(table, nodes.tolist(), strict=True):
        slope = 2 / math.sqrt(math.pi) * math.exp(-node * node)
        hermite = [1.0, 2 * node]
        row[0] = math.erf(node)
        for n in range(1, _TERMS):
            row[n] = slope * (-1) ** (n - 1) * hermite[n - 1] / math.factorial(n)
            hermite.append(2 * node * hermite[n] - 2 * n * hermite[n - 1])
    return table


def _erf64(x: Array) -> Array:
    """Expand around the nearest node of a table made with `math.erf`."""
    size = np.minimum(np.abs(x), _EDGE)
    node = np.rint(size / _STEP).astype(np.intp)
    rest = size - node * _STEP
    coefficients = _erf_table()[node]
    total = coefficients[..., -1].copy()
    for n in range(_TERMS - 2, -1, -1):
        total = total * rest + coefficients[..., n]
    return np.copysign(total, x)
