"""What the contracts of layouts share: small models, files of other layouts, and comparisons."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import evolve

from riboswitch.conversion.write import save
from riboswitch.errors import CheckpointError, RiboswitchError, RiboswitchWarning
from riboswitch.interfaces import Checkpoint, Layout, ModelEntry
from riboswitch.layouts import checkpoint_weights, recognise
from riboswitch.opening import Opened
from riboswitch.registry import registry
from riboswitch.testing.announced import frameworks_imported
from riboswitch.testing.contract import Contract
from riboswitch.testing.lively import rounded_weights
from riboswitch.testing.openers import Held

SIZES: Mapping[str, Any] = {
    "num_layers": 2,
    "hidden_size": 40,
    "num_heads": 4,
    "feed_forward_size": 50,
}
UNLIKELY = "of_nobody.the_quick_brown_fox_jumps_over_the_lazy_dog_0123456789"
"""A tensor's name. It has every letter, as `ignored=("head")` ignores each of four."""
PARTS = ("lm_head.", "pooler.", "embedding.norm.", "lm_head.decoder.weight")
"""What a model may lack as a whole: one without the last is a tied one."""


class LayoutCase(Contract):
    """Which layout, and what it must leave to others."""

    layout: ClassVar[str]

    def _look_up(self) -> None:
        assert self.table

    @property
    def table(self) -> Layout:
        """As the plugin announces it."""
        return registry().layout(self.layout)

    def test_announcing_it_imports_no_framework(self) -> None:
        """The plugin's module is imported by every command."""
        assert frameworks_imported(self.table) == []

    def test_files_of_other_layouts_are_left_to_others(self, tmp_path: Path) -> None:
        """One of each other layout that can be written, and what has no tensors at all."""
        with pytest.raises(CheckpointError):
            self.recognise(Checkpoint(path="nothing", container="torch", tensors={}))
        for other in registry().layouts.values():
            if other.form is None or other.name == self.layout:
                continue
            for entry in one_of_each(other):
                path = tmp_path / f"{other.name}-{entry.name}"
                with quiet(), suppress(RiboswitchError):  # it may be broken
                    save(small(entry), weights_of(small(entry)), path, other.name)
                if not path.exists():
                    continue
                with pytest.raises(CheckpointError):
                    self.recognise(registry().open_checkpoint(path))
                    pytest.fail(f"{self.layout} takes {entry.name} in {other.name} for its own")

    def recognise(self, checkpoint: Checkpoint) -> None:
        """Ask this layout alone; what its recogniser raises is raised."""
        self.table.describe(checkpoint)
        recognise(checkpoint, {self.layout: self.table})

    def misses_nothing(self, opened: Opened) -> None:
        """Without any one of its tensors it is an error, or a model that lacks a whole part."""
        checkpoint, layout = opened.checkpoint, opened.layout
        whole = [*opened.weights]
        for name in checkpoint.tensors:
            rest = {n: tensor for n, tensor in checkpoint.tensors.items() if n != name}
            try:
                _, plain, found = recognise(evolve(checkpoint, tensors=rest), {layout.name: layout})
                architecture = opened.entry.architecture.evolve(dict(found.changes))
                weights = checkpoint_weights(plain, layout, architecture)
            except RiboswitchError:
                continue
            lacking = tuple(p for p in PARTS if not any(n.startswith(p) for n in weights))
            kept = [n for n in whole if not n.startswith(lacking)]
            same = all(np.array_equal(weights[n], opened.weights[n]) for n in weights)
            assert list(weights) == kept and same, f"without {name} it is another model"

    def takes_nothing_more(self, opened: Opened) -> None:
        """With a tensor that no model has it is an error: `ignored` and `derived` are not all."""
        checkpoint, layout = opened.checkpoint, opened.layout
        stranger = Held((2,), "float32", np.ones(2, "f4"))
        more = evolve(checkpoint, tensors={**checkpoint.tensors, UNLIKELY: stranger})
        with pytest.raises(CheckpointError):
            _, plain, found = recognise(more, {layout.name: layout})
            architecture = opened.entry.architecture.evolve(dict(found.changes))
            checkpoint_weights(plain, layout, architecture)
            pytest.fail(f"{layout.name} leaves out a tensor {UNLIKELY!r} without a word")


def small(entry: ModelEntry, sizes: Mapping[str, Any] = SIZES) -> ModelEntry:
    """A shrunken copy."""
    return evolve(entry, architecture=entry.architecture.evolve(sizes))


def weights_of(entry: ModelEntry, dtype: str = "float32") -> Any:
    """Weights that a dtype holds exactly."""
    return rounded_weights(entry.architecture, dtype)


def names(folder: Path) -> list[str]:
    """All that lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def one_of_each(layout: Layout) -> Iterator[ModelEntry]:
    """One model of each family that a layout's `target` takes."""
    seen: set[str] = set()
    for entry in registry().models.values():
        if entry.family not in seen and _takes(layout, entry):
            seen.add(entry.family)
            yield entry


def _takes(layout: Layout, entry: ModelEntry) -> bool:
    try:
        layout.target(entry)
    except RiboswitchError:
        return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """What is lost is no matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RiboswitchWarning)
        yield
