"""What the README says of models: each registered family, from text to embedding."""

from __future__ import annotations

import numpy as np
import pytest

import riboswitch
from riboswitch.interfaces import Array
from riboswitch.registry import registry
from riboswitch.testing import TOLERANCES

SMALL = {"num_layers": 2, "hidden_size": 64, "num_heads": 4, "feed_forward_size": 96}
FAMILIES = {model.family: name for name, model in registry().models.items()}
TEXTS = ["AUGGCUUAA", "AUGGGGUGCGAUCAUACCAGCACCGAUCUA", "AUGGCACGU" * 40]


def embedded(family: str, backend: str, dtype: str) -> list[Array]:
    """What a shrunken model makes of `TEXTS`, which are whole codons; its weights are random."""
    name = FAMILIES[family]
    model = riboswitch.load(
        name, weights="random", backend=backend, dtype=dtype, architecture=SMALL
    )
    found: list[Array] = model.embed(TEXTS)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_embedded_as_by_numpy(family: str) -> None:
    expected = embedded(family, "numpy", "float64")
    found = embedded(family, "jax", "float32")
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCES["backends", "float32"])
        assert np.abs(b).max() > 0.1
