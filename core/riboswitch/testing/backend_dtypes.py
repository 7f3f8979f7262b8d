"""A dtype that is declared is one that is computed in."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from riboswitch.registry import registry
from riboswitch.testing.backend_case import BackendCase, Results
from riboswitch.testing.lively import lively_weights
from riboswitch.testing.shapes import batch_of
from riboswitch.weights import LazyWeights

LENGTHS = (7, 1, 19)
LARGE = np.float32(2.0**20)
"""Embeddings times this are beyond float16, which ends at 65504, and well within bfloat16."""
STATES = ("hidden_states",)


class Dtypes(BackendCase):
    """Rounding and range."""

    def test_each_dtype_has_its_own_numbers(self) -> None:
        """Who asks for less memory gets it: float32 under another name rounds as float32 does."""
        name, architecture = next(self.shapes())
        batch = batch_of(architecture, LENGTHS)
        found = {d: self.run(self.build(architecture, d), batch, STATES) for d in self.dtypes}
        alike = {pair for pair in combinations(found, 2) if _alike(*(found[d] for d in pair))}
        for pair in alike:
            said = {*pair} & self.same_bits.keys()
            assert said, f"{name}: {pair[0]} and {pair[1]} are the same to the last bit"
        needless = self.same_bits.keys() - {dtype for pair in alike for dtype in pair}
        assert not needless, f"same_bits names {needless}, with numbers of their own"

    def test_bfloat16_has_the_range_of_float32(self) -> None:
        """Where it is declared: numbers beyond 65504, at which float16 ends, are as near."""
        if "bfloat16" not in self.dtypes:
            return
        name, architecture = next(self.shapes())
        small = lively_weights(architecture)

        def make(key: str) -> np.ndarray:
            return small[key] * LARGE if key.startswith("embedding.") else small[key]

        weights = LazyWeights(small, make)
        batch = batch_of(architecture, LENGTHS)
        judge = registry().backend("numpy")
        expected = judge.build(architecture, weights, device="cpu", dtype="float64")
        found = self.run(self.build(architecture, "bfloat16", weights), batch, STATES)
        self.near(found, expected.forward(batch, STATES), "bfloat16", f"{name}, large embeddings")


def _alike(found: Results, other: Results) -> bool:
    pairs = [pair for name in found for pair in zip(found[name], other[name], strict=True)]
    return all(np.array_equal(a, b) for a, b in pairs)
