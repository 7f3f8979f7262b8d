"""Weights with which a mistake shows: nothing in them is 0, 1 or too small to matter."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Array
from riboswitch.weights import LazyWeights


def lively_weights(architecture: Architecture, seed: int = 0) -> LazyWeights:
    """Draw float32 weights whose biases, scales and activations all matter.

    Those of an untrained model hide mistakes: its biases are 0 and its LayerNorms 1.

    Args:
        architecture: Whose `parameter_shapes()` they have.
        seed: Another one gives other numbers; the same one always the same.
    """
    shapes = architecture.parameter_shapes()
    return LazyWeights(shapes, lambda name: _draw(name, shapes[name], seed))


def rounded_weights(architecture: Architecture, dtype: str) -> LazyWeights:
    """Draw lively weights that a dtype holds exactly, as a file of that dtype gives them."""
    drawn = lively_weights(architecture)
    dtypes = dict.fromkeys(drawn, dtype)
    return LazyWeights(dtypes, lambda name: _rounded(drawn[name], dtype), dtypes)


def _rounded(array: Array, dtype: str) -> Array:
    """Numbers of the dtype; those of bfloat16 come as float32."""
    if dtype == "bfloat16":
        cut: Array = (np.array(array, "f4").view("u4") & np.uint32(0xFFFF0000)).view("f4")
        return cut
    return np.array(array, dtype)


def _draw(name: str, shape: tuple[int, ...], seed: int) -> Array:
    noise: Any = np.random.default_rng([seed, crc32(name.encode())]).standard_normal(shape)
    if name.endswith("beta") or ("norm" in name and name.endswith("weight")):
        drawn = 1 + 0.2 * noise
    elif name.endswith("weight"):
        drawn = noise / np.sqrt(shape[-1])
    else:
        drawn = noise * (0.2 if name.endswith("bias") else 0.15)
    return np.asarray(drawn, np.float32)
