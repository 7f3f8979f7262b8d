"""`LayoutContract`: what every checkpoint layout keeps to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import evolve

from riboswitch.conversion.convert import convert
from riboswitch.conversion.plan import WritePlan, make_plan
from riboswitch.conversion.write import save
from riboswitch.errors import CheckpointError, RiboswitchWarning, UsageError
from riboswitch.interfaces import Array, ModelEntry
from riboswitch.layouts import recognise
from riboswitch.opening import Opened, open_model
from riboswitch.registry import registry
from riboswitch.testing.layout_case import SIZES, LayoutCase, names, one_of_each, quiet, small
from riboswitch.testing.lively import rounded_weights
from riboswitch.weights import LazyWeights

DTYPES = ("float32", "bfloat16")
TOKENS = ("embedding.tokens", "lm_head.decoder.weight", "lm_head.decoder.bias")
"""Weights with a row for each token: another vocabulary has other rows."""
CHANGES: tuple[Mapping[str, Any], ...] = (
    {"norm": "post"}, {"norm": "pre"}, {"norm": "stream"}, {"norm_eps": 3e-7},
    {"final_norm": False}, {"embedding_norm": True}, {"positions": "rotary"},
    {"positions": "learned", "max_positions": 33, "position_offset": 1}, {"rotary_base": 77.0},
    {"activation": "relu"}, {"activation": "gelu"}, {"activation": "swiglu"},
    {"attention_bias": False}, {"attention_bias": True}, {"token_dropout": 0.3},
    {"token_dropout": None}, {"token_types": 5}, {"pooler": True}, {"lm_head": False},
    {"lm_activation": "relu"}, {"lm_activation": "gelu"}, {"tied": False}, {"tied": True},
)  # fmt: skip
Bits = dict[str, tuple[str, tuple[int, ...], bytes]]


class LayoutContract(LayoutCase):
    """The contract of a checkpoint layout that is written as well as read:

        class TestMine(LayoutContract):
            layout = "mine"

    Attributes:
        layout: Its name, as in `convert(…, to=name)`.
        models: Names of models that it holds; when there are none, one of each family that
            its `target` takes.
        sizes: Of the small models that are written.
    """  # noqa: D415  # an example follows

    models: ClassVar[tuple[str, ...]] = ()
    sizes: ClassVar[Mapping[str, Any]] = SIZES

    def entries(self) -> list[ModelEntry]:
        """Small models that it holds."""
        known = registry().models
        held = [known[name] for name in self.models] or [*one_of_each(self.table)]
        assert held, f"the layout {self.layout!r} holds no registered model"
        return [small(entry, self.sizes) for entry in held]

    def write(self, entry: ModelEntry, path: Path, dtype: str = "float32") -> WritePlan:
        """Save a small model; what is lost is no matter here."""
        weights = rounded_weights(entry.architecture, dtype)
        with quiet():
            save(entry, weights, path, self.layout)
            return make_plan(entry, weights, self.layout)

    def open(self, entry: ModelEntry, path: Path) -> Opened:
        """Open a file, with what no layout need say."""
        return open_model(path, architecture={"num_heads": entry.architecture.num_heads})

    def test_it_is_registered(self) -> None:
        """Under its own name, and it is written as well as read."""
        assert self.table.name == self.layout
        assert self.table.form is not None, "it is only read: take ReadOnlyLayoutContract"

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_weights_come_back_bit_for_bit(self, tmp_path: Path, dtype: str) -> None:
        """Each as the layout can hold it, in the dtype that it had."""
        for entry in self.entries():
            plan = self.write(entry, tmp_path / entry.name, dtype)
            opened = self.open(entry, tmp_path / entry.name)
            assert opened.layout.name == self.layout
            assert opened.entry.architecture == plan.entry.architecture
            assert opened.entry.alphabet == plan.entry.alphabet
            assert set(opened.weights.dtypes.values()) == {dtype}
            for name, array in plan.weights.items():
                assert np.array_equal(opened.weights[name], array), f"{entry.name}: {name}"

    def test_nothing_is_lost_but_tokens_and_parts(self, tmp_path: Path) -> None:
        """What the layout holds of a model are the model's own numbers."""
        for entry in self.entries():
            plan = self.write(entry, tmp_path / entry.name)
            original = rounded_weights(entry.architecture, "float32")
            assert plan.weights.keys() <= original.keys()
            assert {"embedding.tokens", "layers.1.feed_forward.up.weight"} <= plan.weights.keys()
            for name in plan.weights.keys() - {*TOKENS}:
                assert np.array_equal(plan.weights[name], original[name]), f"{entry.name}: {name}"

    def test_no_other_layout_takes_it_for_its_own(self, tmp_path: Path) -> None:
        """Whatever the order in which layouts are asked."""
        others = {n: layout for n, layout in registry().layouts.items() if n != self.layout}
        for entry in self.entries():
            self.write(entry, tmp_path / entry.name)
            checkpoint = registry().open_checkpoint(tmp_path / entry.name)
            assert recognise(checkpoint, {self.layout: self.table})[0].name == self.layout
            for name, other in others.items():
                with pytest.raises(CheckpointError):
                    recognise(checkpoint, {name: other})
                    pytest.fail(f"{name} takes {entry.name} in {self.layout} for its own")

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_through_our_own_layout_and_back(self, tmp_path: Path, dtype: str) -> None:
        """Converted there and back, every tensor of the file is the same, bit for bit."""
        for entry in self.entries():
            heads = {"num_heads": entry.architecture.num_heads}
            first, own, again = (tmp_path / f"{entry.name}-{n}" for n in ("1", "own", "2"))
            self.write(entry, first, dtype)
            with quiet():
                convert(first, own, "riboswitch", architecture=heads, verify=dtype == "float32")
                convert(own, again, self.layout)
            assert bits(again) == bits(first), entry.name

    def test_a_missing_tensor_is_an_error(self, tmp_path: Path) -> None:
        """Never another model in silence."""
        for entry in self.entries():
            self.write(entry, tmp_path / entry.name)
            self.misses_nothing(self.open(entry, tmp_path / entry.name))

    def test_a_tensor_of_nobody_is_an_error(self, tmp_path: Path) -> None:
        """Numbers that the model has no place for are not left out in silence."""
        for entry in self.entries():
            self.write(entry, tmp_path / entry.name)
            self.takes_nothing_more(self.open(entry, tmp_path / entry.name))

    def test_a_file_cut_short_is_one_error(self, tmp_path: Path) -> None:
        """A `CheckpointError` that names the file, wherever it ends."""
        entry = self.entries()[0]
        plan = self.write(entry, tmp_path / "whole")
        path = tmp_path / "whole"
        file = path / plan.form.file if plan.form.file else path
        data = file.read_bytes()
        for length in (0, 1, 8, 100, len(data) // 2, len(data) - 1):
            file.write_bytes(data[:length])
            with pytest.raises(CheckpointError, match="whole"), quiet():
                convert(path, tmp_path / "new", "riboswitch", architecture={"num_heads": 4})
            assert names(tmp_path) == ["whole"]

    def test_what_differs_is_held_or_refused(self, tmp_path: Path) -> None:
        """An architecture that the layout has no words for is an error, never another one."""
        for entry in self.entries():
            for number, changes in enumerate(CHANGES):
                path = tmp_path / f"{entry.name}-{number}"
                try:
                    changed = entry.architecture.evolve(changes)
                except UsageError:  # it needs more than one change
                    continue
                self._held_or_refused(evolve(entry, architecture=changed), path, changes)

    def _held_or_refused(self, entry: ModelEntry, path: Path, changes: Mapping[str, Any]) -> None:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", RiboswitchWarning)
            try:
                save(entry, rounded_weights(entry.architecture, "float32"), path, self.layout)
            except CheckpointError:
                assert path.name not in names(path.parent)
                return
        found = self.open(entry, path).entry.architecture
        lost = any("not in it: " in str(warning.message) for warning in said)
        kept = all(getattr(found, name) == value for name, value in changes.items())
        assert kept or lost, f"{entry.name}: {changes} is lost without a word"

    def test_another_family_is_refused(self, tmp_path: Path) -> None:
        """With a `CheckpointError`, and nothing is left."""
        for entry in self.entries():
            stranger = evolve(entry, name="stranger", family="of-nobody")
            weights = rounded_weights(stranger.architecture, "float32")
            with pytest.raises(CheckpointError), quiet():
                save(stranger, weights, tmp_path / "new", self.layout)
            assert names(tmp_path) == []

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
    def test_an_interrupted_write_leaves_nothing(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        """The target is there whole or not at all."""
        entry = self.entries()[0]
        weights, left = rounded_weights(entry.architecture, "float32"), iter(range(7))

        def failing(name: str) -> Array:
            if next(left, None) is None:
                raise error
            return weights[name]

        with pytest.raises(error), quiet():
            save(entry, LazyWeights(weights, failing), tmp_path / "new", self.layout)
        assert names(tmp_path) == []

    def test_numbers_that_are_not_finite_are_not_written(self, tmp_path: Path) -> None:
        """The weight is named."""
        entry = self.entries()[0]
        broken = "layers.1.feed_forward.up.bias"
        weights = dict(rounded_weights(entry.architecture, "float32"))
        weights[broken] = np.full_like(weights[broken], np.nan)
        lazy = LazyWeights(weights, weights.__getitem__)
        with pytest.raises(CheckpointError, match=broken), quiet():
            save(entry, lazy, tmp_path / "new", self.layout)
        assert names(tmp_path) == []


def bits(path: Path) -> Bits:
    """All that a checkpoint's tensors are: dtype, shape and bytes by name."""
    tensors = registry().open_checkpoint(path).tensors
    return {n: (t.dtype, t.shape, np.array(t.read()).tobytes()) for n, t in tensors.items()}
