"""Weights go in once, come back as they were, and belong to the backbone alone."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Array, float_dtype
from riboswitch.loading import load
from riboswitch.testing.backend_case import BackendCase, same
from riboswitch.testing.lively import lively_weights, rounded_weights
from riboswitch.testing.shapes import batch_of, outputs_of
from riboswitch.testing.tolerances import TOLERANCES
from riboswitch.weights import LazyWeights

LENGTHS = (7, 1, 19)
AT_ONCE = 6
"""Weights that may be in memory beside their copies: those that one product joins."""


NEAR = TOLERANCES["batches", "float32"]
FORMS: Mapping[str, Callable[[Array], Array]] = {
    "float64": lambda w: w.astype("f8"),
    "float16": lambda w: w.astype("f2"),
    "columns": lambda w: np.array(w, order="F"),
    "every second number": lambda w: np.repeat(w, 2, -1)[..., ::2] if w.ndim else w,
}


class Spy(Mapping[str, Array]):
    """Weights that count how often each is read and how many are kept."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.weights, self.reads = weights, Counter[str]()
        self.alive = self.most = 0

    def __getitem__(self, name: str) -> Array:
        array = np.array(self.weights[name])
        array.flags.writeable = False
        self.reads[name] += 1
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(array, self._gone)
        return array

    def _gone(self) -> None:
        self.alive -= 1

    def __contains__(self, name: object) -> bool:
        return name in self.weights

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


class Weights(BackendCase):
    """Reading, keeping, giving back and saving."""

    def test_canonical_gives_back_what_was_built_in(self) -> None:
        """Every name in order, every number bit for bit, before and after a call."""
        for name, architecture in self.shapes():
            expected = lively_weights(architecture)
            for dtype in {"float32", "float64"} & {*self.dtypes}:
                backbone = self.build(architecture, dtype)
                self.run(backbone, batch_of(architecture, LENGTHS), outputs_of(architecture))
                found = backbone.canonical()
                assert list(found) == list(architecture.parameter_shapes()), name
                for key, array in expected.items():
                    assert found[key].dtype == float_dtype(dtype), f"{name}: {key}"
                    assert found[key].shape == array.shape, f"{name}: {key}"
                    assert np.array_equal(found[key], array), f"{name}: {key} in {dtype}"

    def test_what_canonical_gives_cannot_change_the_encoder(self) -> None:
        """An array that can be written to is a copy; where memory is shared it is read-only."""
        for name, architecture in self.shapes():
            batch, outputs = batch_of(architecture, LENGTHS), outputs_of(architecture)
            for dtype in {"float32", "float64"} & {*self.dtypes}:
                backbone = self.build(architecture, dtype)
                before = self.run(backbone, batch, outputs)
                for array in backbone.canonical().values():
                    if array.flags.writeable:
                        array[...] = 7
                same(self.run(backbone, batch, outputs), before, 0, f"{name}, canonical written to")

    @pytest.mark.parametrize("error", [CheckpointError, MemoryError, KeyboardInterrupt])
    def test_the_error_of_a_weight_passes_through(self, error: type[BaseException]) -> None:
        """A damaged file, too little memory, a user who has had enough: as they are."""
        _, architecture = next(self.shapes())
        weights, left = lively_weights(architecture), iter(range(5))

        def failing(name: str) -> Array:
            if next(left, None) is None:
                raise error("of the weight")
            return weights[name]

        with pytest.raises(error, match="of the weight"):
            self.build(architecture, weights=LazyWeights(weights, failing))

    def test_each_weight_is_read_once(self) -> None:
        """In `build`, all of them, and never again."""
        for name, architecture in self.shapes():
            spy = Spy(lively_weights(architecture))
            backbone = self.build(architecture, weights=spy)
            self.run(backbone, batch_of(architecture, LENGTHS), outputs_of(architecture))
            assert spy.reads == Counter([*architecture.parameter_shapes()]), name

    def test_weights_are_copied_one_after_the_other(self) -> None:
        """A model's memory is that of one copy: what was read is let go."""
        for name, architecture in self.shapes():
            spy = Spy(lively_weights(architecture.evolve({"num_layers": 4})))
            backbone = self.build(architecture.evolve({"num_layers": 4}), weights=spy)
            assert spy.most <= AT_ONCE, f"{name}: {spy.most} weights were kept at once"
            assert backbone is not None

    def test_what_it_is_given_stays_as_it_is(self) -> None:
        """Arrays that it may keep are not changed by computing."""
        for name, architecture in self.shapes():
            given = {n: np.array(w) for n, w in lively_weights(architecture).items()}
            backbone = self.build(architecture, weights=given)
            self.run(backbone, batch_of(architecture, LENGTHS), outputs_of(architecture))
            for key, array in lively_weights(architecture).items():
                assert np.array_equal(given[key], array), f"{name}: {key}"

    def test_read_only_weights_are_copied(self) -> None:
        """They are views of a file: when it changes, the model does not."""
        for name, architecture in self.shapes():
            file = {n: np.array(w) for n, w in lively_weights(architecture).items()}
            backbone = self.build(architecture, weights={n: _view(w) for n, w in file.items()})
            batch, outputs = batch_of(architecture, LENGTHS), outputs_of(architecture)
            before = self.run(backbone, batch, outputs)
            for array in file.values():
                array[...] = 7
            same(self.run(backbone, batch, outputs), before, 0, f"{name}, its file changed")

    def test_weights_come_in_any_dtype_and_order(self) -> None:
        """Files have float64 and float16, and their arrays may be views of whatever strides."""
        for name, architecture in self.covering():
            plain = rounded_weights(architecture, "float16")  # each dtype holds these numbers
            batch, outputs = batch_of(architecture, LENGTHS), outputs_of(architecture)
            exact = {n: w.astype(self.precise) for n, w in plain.items()}
            expected = self.run(self.build(architecture, weights=exact), batch, outputs)
            for form, change in FORMS.items():
                given = {n: change(w) for n, w in exact.items()}
                backbone = self.build(architecture, weights=given)
                for key, array in backbone.canonical().items():
                    assert np.array_equal(array, exact[key]), f"{name}: {key} given as {form}"
                found = self.run(backbone, batch, outputs)
                same(found, expected, NEAR, f"{name}, weights given as {form}")

    def test_two_models_do_not_share_anything(self) -> None:
        """Another one of the same architecture leaves the first as it was."""
        name, architecture = next(self.shapes())
        batch, outputs = batch_of(architecture, LENGTHS), outputs_of(architecture)
        first = self.build(architecture)
        before = self.run(first, batch, outputs)
        second = self.build(architecture, weights=lively_weights(architecture, seed=1))
        other = self.run(second, batch, outputs)
        same(self.run(first, batch, outputs), before, 0, f"{name}, beside another")
        assert not np.allclose(other["representation"][0], before["representation"][0])

    def test_what_is_saved_loads_elsewhere(self, tmp_path: Path) -> None:
        """`Model.save`, read by NumPy and by itself: the same numbers."""
        for name, architecture in self.shapes():
            model = self.model(architecture)
            model.save(tmp_path / name)
            for backend in ("numpy", self.backend):
                device = self.device if backend == self.backend else "cpu"
                again = load(
                    model.entry.name,
                    weights=tmp_path / name,
                    backend=backend,
                    device=device,
                    dtype=self.precise,
                )
                assert again.architecture == model.architecture
                for key, array in model.weights.items():
                    assert np.array_equal(again.weights[key], array), f"{name}: {key}"
            texts = ["GGGUGCGAUCAUACC", "ACGU<mask>A"]
            pairs = zip(again.embed(texts), model.embed(texts), strict=True)
            assert all(np.array_equal(a, b) for a, b in pairs), name


def _view(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
