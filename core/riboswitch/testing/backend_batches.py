"""What a sequence gets does not depend on its neighbours, on other calls, or on chance."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier

import numpy as np
import pytest

from riboswitch.batch import TokenBatch
from riboswitch.interfaces import Backbone
from riboswitch.testing.backend_case import BackendCase, Results, same
from riboswitch.testing.shapes import LONGEST, batch_of, outputs_of
from riboswitch.testing.tolerances import TOLERANCES

MIXED = (19, 3, LONGEST, 4, 66, 19, 130, 5, 3, 65)
"""1 to 200 residues between two special tokens, shuffled, some of equal length."""
Call = tuple[TokenBatch, Sequence[str]]
SAME = (7, 33, 7, 18)
NEAR = TOLERANCES["batches", "float32"]
WIDE = {"num_layers": 1, "hidden_size": 256, "num_heads": 4, "feed_forward_size": 512}


class Batches(BackendCase):
    """Batch invariance, determinism, threads."""

    def test_neighbours_do_not_reach_a_sequence(self) -> None:
        """Alone or among others of 1 to 200 residues: the same up to rounding."""
        for name, architecture in self.shapes():
            backbone, outputs = self.build(architecture), outputs_of(architecture)
            batch = batch_of(architecture, MIXED)
            together = self.run(backbone, batch, outputs)
            for i in range(len(batch)):
                alone = self.run(backbone, batch.take([i]), outputs)
                same(_of(together, i), alone, NEAR, f"{name}, {MIXED[i]} tokens, alone")

    def test_order_and_duplicates_do_not_matter(self) -> None:
        """Each sequence gets its own results, wherever it stands and however often."""
        order = [9, 0, 2, 2, 7, 5, 4, 0, 8, 3, 6, 1]
        for name, architecture in self.shapes():
            backbone, outputs = self.build(architecture), outputs_of(architecture)
            batch = batch_of(architecture, MIXED)
            first = self.run(backbone, batch, outputs)
            second = self.run(backbone, batch.take(order), outputs)
            for place, i in enumerate(order):
                same(_of(second, place), _of(first, i), NEAR, f"{name}, in another order")

    def test_masks_of_a_neighbour_do_not_matter(self) -> None:
        """A share of masked tokens is counted for each sequence alone."""
        for name, architecture in self.shapes():
            mask = architecture.mask_id or 0
            batch = TokenBatch.from_sequences([[0, 1, 2, 5], [mask] * 3 + [1], [0, mask, 2, 5]])
            backbone = self.build(architecture)
            together = self.run(backbone, batch, ("representation",))
            for i in range(len(batch)):
                alone = self.run(backbone, batch.take([i]), ("representation",))
                same(_of(together, i), alone, NEAR, f"{name}, beside masks")

    def test_no_sequences_give_no_results(self) -> None:
        """A `Model` takes an empty list."""
        for _, architecture in self.shapes():
            model = self.model(architecture)
            outputs = outputs_of(architecture)
            found = model.forward([], outputs)
            assert [getattr(found, name) for name in outputs] == [[]] * len(outputs)
            assert model.embed([]) == []

    def test_what_goes_in_and_comes_out_is_the_caller_s(self) -> None:
        """The batch stays as it is, and a result when the next one is made or is written to."""
        for name, architecture in self.shapes():
            backbone, outputs = self.build(architecture), outputs_of(architecture)
            batch, given = (batch_of(architecture, (7, 33, 7)) for _ in "12")
            expected = self.run(backbone, batch, outputs)
            assert np.array_equal(batch.ids, given.ids), f"{name}: the batch's ids"
            assert np.array_equal(batch.offsets, given.offsets), f"{name}: the batch's offsets"
            kept = {n: [np.array(a) for a in arrays] for n, arrays in expected.items()}
            self.run(backbone, batch_of(architecture, (7, 33, 7), seed=1), outputs)
            same(expected, kept, 0, f"{name}, after a call with others of these lengths")
            for array in (a for arrays in expected.values() for a in arrays):
                if array.flags.writeable:
                    array[...] = 7
            same(self.run(backbone, batch, outputs), kept, 0, f"{name}, a result written to")

    def test_a_call_repeats_itself_bit_for_bit(self) -> None:
        """No dropout, no chance: twice the same, in each declared dtype, and built anew."""
        for name, architecture in self.shapes():
            batch, outputs = batch_of(architecture, (7, 66, 7)), outputs_of(architecture)
            for dtype in self.dtypes:
                backbone = self.build(architecture, dtype)
                once = self.run(backbone, batch, outputs)
                same(self.run(backbone, batch, outputs), once, 0, f"{name}, again")
                anew = self.run(self.build(architecture, dtype), batch, outputs)
                same(anew, once, 0, f"{name}, built anew")

    def test_calls_may_run_side_by_side(self) -> None:
        """Threads with batches of the same lengths get what each alone gets."""
        for number, (name, architecture) in enumerate(self.shapes()):
            backbone, outputs = self.build(architecture), outputs_of(architecture)
            wanted = [outputs, ("representation",), ("attentions",), outputs]
            calls = [(batch_of(architecture, SAME, seed), w) for seed, w in enumerate(wanted)]
            expected = [self.run(backbone, *call) for call in calls] * 3
            with self.started.single_thread() if number else nullcontext():
                found = _side_by_side(backbone, calls * 3)
            for a, b in zip(found, expected, strict=True):
                same(a, b, NEAR, f"{name}, in threads")

    def test_single_thread_gives_the_same_bits_however_many_run(self) -> None:
        """Inside `single_thread`, calls side by side give the bits of one alone."""
        name, architecture = next(self.shapes())
        backbone, batch = self.build(architecture), batch_of(architecture, (66, 7))
        with self.started.single_thread():
            expected = backbone.forward(batch, ("representation",))
            with ThreadPoolExecutor(4) as pool:
                calls = [pool.submit(backbone.forward, batch, ("representation",)) for _ in "12345"]
        for call in calls:
            same(call.result(), expected, 0, f"{name}, side by side")

    def test_single_thread_nests_and_is_left_in_any_order(self) -> None:
        """Entered by several users at once, and left by an error, it does no harm."""
        name, architecture = next(self.shapes())
        backbone, batch = self.build(architecture), batch_of(architecture, (66, 7))
        before = backbone.forward(batch, ("representation",))
        first, second = self.started.single_thread(), self.started.single_thread()
        first.__enter__()
        second.__enter__()
        inside = backbone.forward(batch, ("representation",))
        first.__exit__(None, None, None)
        same(backbone.forward(batch, ("representation",)), inside, 0, f"{name}, one user left")
        second.__exit__(None, None, None)
        with pytest.raises(KeyError, match="of the caller"), self.started.single_thread():
            raise KeyError("of the caller")
        same(backbone.forward(batch, ("representation",)), before, NEAR, f"{name}, all left")

    def test_the_bits_do_not_depend_on_the_number_of_cores(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`Model.embed_exactly`, which bulk jobs use, on one, two and three cores."""
        _, architecture = next(self.shapes())
        model = self.model(architecture.evolve({**WIDE, "max_positions": 210}))
        rng = np.random.default_rng(0)
        texts = ["".join(rng.choice([*"ACGU"], n)) for n in [*range(1, 200, 9), 200, 100, 100]]
        found = set()
        for count in (1, 2, 3):
            monkeypatch.setattr("riboswitch.model.num_cores", lambda count=count: count)
            found.add(b"".join(a.tobytes() for a in model.embed_exactly(texts)))
        assert len(found) == 1


def _of(results: Results, i: int) -> Results:
    """What the i-th sequence got."""
    return {name: [arrays[i]] for name, arrays in results.items()}


def _side_by_side(backbone: Backbone, calls: Sequence[Call]) -> list[Results]:
    """Begin four calls at once, again and again, and let threads take turns far more often."""
    start, before = Barrier(4), sys.getswitchinterval()

    def call(batch: TokenBatch, outputs: Sequence[str]) -> Results:
        start.wait()
        return backbone.forward(batch, outputs)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            made = [pool.submit(call, *each) for each in calls]
    finally:
        sys.setswitchinterval(before)
    return [each.result() for each in made]
