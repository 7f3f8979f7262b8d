"""What training begins with."""

from __future__ import annotations

import numpy as np
import pytest

import riboswitch
from riboswitch.errors import UsageError
from riboswitch.registry import registry
from riboswitch.training.checkpoint import save_model
from riboswitch.training.initial import initial_weights
from riboswitch.weights import random_weights

ENTRY = registry().model("ribotiny")
ARCHITECTURE = ENTRY.architecture
TEXT = "GGGCUAUUAGCUCAGUUGGUUAGAGCGCACCCCUGAUAAGGGUGAGGUCGCUGAUUCGAAUUCAGCAUAGCCCA"


def test_normal_is_what_untrained_models_have():
    drawn, plain = initial_weights(ARCHITECTURE, 3, "normal"), random_weights(ARCHITECTURE, 3)
    assert list(drawn) == list(plain)
    assert all(np.array_equal(drawn[name], plain[name]) for name in plain)


@pytest.mark.parametrize("initial", ["scaled", "neighbours"])
def test_how_wide_each_is_drawn(initial):
    weights = initial_weights(ARCHITECTURE, 3, initial)
    assert {weights[name].dtype for name in weights} == {np.dtype("float32")}
    assert weights["embedding.tokens"].std() == pytest.approx(1, rel=0.05)
    for name, inputs in (
        ("layers.2.attention.query.weight", 128),
        ("layers.0.feed_forward.up.weight", 128),
        ("layers.0.feed_forward.down.weight", 512),
        ("lm_head.decoder.weight", 128),
    ):
        assert weights[name].std() == pytest.approx((3 * inputs) ** -0.5, rel=0.05), name
    assert np.all(weights["final_norm.weight"] == 1) and not weights["lm_head.dense.bias"].any()


def test_heads_of_the_lower_half_begin_with_their_neighbours(tmp_path):
    weights = initial_weights(ARCHITECTURE, 3, "neighbours")
    save_model(ENTRY, weights, tmp_path / "model")
    model = riboswitch.load("ribotiny", weights=str(tmp_path / "model"), backend="numpy")
    layers = model.forward([TEXT], outputs=("attentions",)).attentions[0]
    for layer in layers[:2]:
        for weight, places in zip(layer, (-1, 1, -2, 2), strict=True):
            assert np.diag(weight, places).mean() > 0.7
    for layer in layers[2:]:
        for weight in layer:
            assert max(np.diag(weight, places).mean() for places in range(-3, 4)) < 0.2


@pytest.mark.parametrize("change", [{"positions": "learned", "max_positions": 64}, {}])
def test_neighbours_need_rotary_positions_and_biases(change):
    architecture = ARCHITECTURE.evolve(change or {"attention_bias": False})
    with pytest.raises(UsageError, match=r"rotary positions and biases .*\n.*`initial: scaled`"):
        initial_weights(architecture, 3, "neighbours")
