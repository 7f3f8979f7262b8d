"""Canonical weights: drawn at random, joined, and shown."""

from __future__ import annotations

import numpy as np
import pytest
from tests.core.architectures import ARCHITECTURE, SHAPES

from riboswitch import load
from riboswitch.registry import registry
from riboswitch.weights import LazyWeights, joined, owned, random_weights


def test_random_weights_depend_on_seed_and_name_alone():
    once, again = random_weights(ARCHITECTURE, 5), random_weights(ARCHITECTURE, 5)
    for name in reversed(list(once)):  # neither on the order in which they are read
        assert np.array_equal(once[name], again[name])
        assert once[name].dtype == np.float32
    deeper = random_weights(ARCHITECTURE.evolve({"num_layers": 5, "pooler": True}), 5)
    assert all(np.array_equal(once[n], deeper[n]) for n in once)


def test_random_weights_differ_between_names_and_seeds():
    matrices = [n for n, s in SHAPES.items() if len(s) == 2]
    drawn = [random_weights(ARCHITECTURE, seed)[n].ravel()[:8] for n in matrices for seed in (0, 1)]
    assert len({tuple(a) for a in drawn}) == len(drawn)


def test_random_weights_are_these_numbers():
    """They are part of the contract: the same on every machine and in every version."""
    words = random_weights(ARCHITECTURE, 0)["embedding.tokens"]
    assert words[0, :3].tolist() == pytest.approx(
        [-0.0215591323, 0.0348960236, 0.0307572447], abs=1e-9
    )


def test_random_weights_have_the_usual_scales():
    wide = random_weights(ARCHITECTURE.evolve({"hidden_size": 400}), 0)
    assert wide["layers.0.attention.query.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert wide["layers.0.attention.query.weight"].mean() == pytest.approx(0, abs=2e-4)
    for name in SHAPES:
        if ("norm" in name and name.endswith("weight")) or name.endswith("beta"):
            assert np.all(wide[name] == 1)
        elif name.endswith("bias"):
            assert not wide[name].any()
        else:
            assert wide[name].any()


def test_asking_for_a_name_reads_nothing():
    weights = LazyWeights(["a"], lambda name: pytest.fail(f"{name} was read"))
    assert "a" in weights
    assert "b" not in weights
    assert weights.get("b") is None


def test_arrays_are_joined_without_a_copy_only_where_they_follow_one_another(small, tmp_path):
    small("rnafm", "numpy").save(tmp_path / "own", "riboswitch")
    weights = load("rnafm", weights=tmp_path / "own", backend="numpy").weights
    q, k, v = (weights[f"layers.0.attention.{p}.weight"] for p in ("query", "key", "value"))
    read_only = q.view()
    read_only.flags.writeable = False
    for arrays, shared in (
        ([q, k, v], True),
        ([q, k], True),
        ([k, q, v], False),
        ([q, v], False),
        ([read_only, k, v], False),
        ([q, k.astype("f8"), v], False),
        ([q.copy(), k, v], False),
    ):
        found = joined(arrays)
        np.testing.assert_array_equal(found, np.concatenate(arrays))
        assert np.shares_memory(found, arrays[0]) == shared
    assert owned(q, np.float32) is q
    assert not np.shares_memory(owned(read_only, np.float32), q)


@pytest.mark.parametrize(
    "name", ["numpy", pytest.param("torch", marks=pytest.mark.backend("torch"))]
)
def test_what_canonical_shows_cannot_be_written_to(name, small):
    model = small("rnafm", name)
    shown = model.backbone.canonical()
    with pytest.raises(ValueError, match="read-only"):
        shown["final_norm.bias"][0] = 1
    numpy = registry().backend("numpy")
    other = numpy.build(model.architecture, shown, device="cpu", dtype="float32")
    before = np.array(shown["final_norm.bias"])
    other.weights["final_norm.bias"][0] = 99
    np.testing.assert_array_equal(model.backbone.canonical()["final_norm.bias"], before)
