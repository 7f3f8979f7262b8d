"""A small architecture, for the tests of weights and layouts."""

from __future__ import annotations

from riboswitch import Architecture

ARCHITECTURE = Architecture(
    vocab_size=9,
    hidden_size=8,
    num_layers=2,
    num_heads=2,
    feed_forward_size=5,
    max_positions=7,
    activation="swiglu",
    token_types=2,
)
SHAPES = ARCHITECTURE.parameter_shapes()
