"""What small architectures and short batches do not show: depth, length, many tokens at once."""

from __future__ import annotations

import numpy as np

from riboswitch.testing.backend_case import BackendCase, judge
from riboswitch.testing.lively import lively_weights
from riboswitch.testing.shapes import LONG, batch_of, outputs_of

SHORT = (7, 1, 19)
MANY = tuple(8 + 6 * (7 * i % 20) for i in range(60))
"""60 sequences of 20 lengths, 8 to 122, shuffled: 3900 tokens."""
ONE = ("representation",)


class Real(BackendCase):
    """As deep as a real model, with its vocabulary and lengths, if not as wide.

    A backend that refuses each such architecture has said so to its users.
    """

    def test_twelve_layers_and_a_vocabulary_of_300(self) -> None:
        """Layers in the order of their numbers, not of their names; ids that no byte holds."""
        if (architecture := self.grown(12)) is None:
            return
        batch, backbone = batch_of(architecture, SHORT), self.build(architecture)
        found = self.run(backbone, batch, outputs_of(architecture))
        self.near(found, judge(architecture, batch), self.precise, "12 layers")
        weights = backbone.canonical()
        assert list(weights) == list(architecture.parameter_shapes())
        for name, array in lively_weights(architecture).items():
            assert np.array_equal(weights[name], array), name

    def test_a_long_sequence_after_a_short_one(self) -> None:
        """What the first call makes for its length must grow."""
        if (architecture := self.grown(2)) is None:
            return
        backbone = self.build(architecture)
        for length in (7, LONG):
            batch = batch_of(architecture, (length,))
            found = self.run(backbone, batch, ONE)
            self.near(found, judge(architecture, batch, ONE), self.precise, f"{length} tokens")

    def test_many_sequences_at_once(self) -> None:
        """60 of them, 3900 tokens: several blocks of whatever a kernel counts in."""
        if (architecture := self.grown(2)) is None:
            return
        batch = batch_of(architecture, MANY)
        for dtype in self.dtypes:
            found = self.build(architecture, dtype).forward(batch, ONE)
            self.near(found, judge(architecture, batch, ONE), dtype, f"{len(MANY)} sequences")
