"""Weights that training begins with, drawn as a model's plan says."""

from __future__ import annotations

import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.errors import UsageError
from riboswitch.interfaces import Array, Weights
from riboswitch.weights import LazyWeights, random_weights

_NORMAL = 0.02  # the standard deviation of `random_weights`
_NEIGHBOURS = (-1, 1, -2, 2)
_FOCUS = 5.0  # e to the power of minus 3 is what a head's neighbour has of its place's weight


def initial_weights(architecture: Architecture, seed: int, initial: str) -> Weights:
    """Draw float32 weights that depend on the seed and each weight's name and shape alone.

    Args:
        architecture: Says names and shapes.
        seed: From 0.
        initial: Biases are 0, LayerNorms 1, and matrices normal, with a standard deviation of:

            - `normal`: 0.02, as in BERT (Devlin et al. 2019);
            - `scaled`: 1 / sqrt(3 inputs), as PyTorch's own linear layers have, and 1 in
              embeddings: 0.02 leaves narrow layers silent for thousands of steps;
            - `neighbours`: the same, and the heads in the lower half of the layers begin by
              looking at the letters one and two places before and after, as a convolution does
              (d'Ascoli et al. 2021, ConViT). It takes rotary positions and biases in attention: a
              query's bias, turned by its position, meets a key's that is turned some places on.

    Raises:
        UsageError: The architecture has no such positions or biases.
    """
    drawn = random_weights(architecture, seed)
    if initial == "normal":
        return drawn
    local: dict[str, Array] = {}
    if initial == "neighbours":
        if architecture.positions != "rotary" or not architecture.attention_bias:
            raise UsageError(
                "initial weights of neighbours take rotary positions and biases in attention.\n"
                "Give `initial: scaled`."
            )
        local = _biases(architecture)

    def make(name: str) -> Array:
        if name in local:
            return local[name]
        array = drawn[name]
        if array.ndim < 2 or name.replace("weight", "bias") in local:
            return array
        std = 1.0 if name.startswith("embedding.") else (3 * array.shape[1]) ** -0.5
        return array * np.float32(std / _NORMAL)

    return LazyWeights(drawn, make)


def _biases(architecture: Architecture) -> dict[str, Array]:
    """Biases of queries and keys whose product is greatest some places away, by name."""
    half = architecture.head_size // 2
    angles = architecture.rotary_base ** -(np.arange(half) / half)
    query, key = [], []
    for head in range(architecture.num_heads):
        turn = _NEIGHBOURS[head % len(_NEIGHBOURS)] * angles
        query.append(np.concatenate([np.ones(half), np.zeros(half)]))
        key.append(np.concatenate([np.cos(turn), -np.sin(turn)]))
    found = {}
    for layer in range(architecture.num_layers // 2):
        for part, rows in (("query", query), ("key", key)):
            bias = (_FOCUS * np.concatenate(rows)).astype(np.float32)
            found[f"layers.{layer}.attention.{part}.bias"] = bias
    return found
