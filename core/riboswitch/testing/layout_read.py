"""`ReadOnlyLayoutContract`: what a layout keeps to of which files are only read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from riboswitch.conversion.convert import convert
from riboswitch.conversion.write import save
from riboswitch.errors import CheckpointError
from riboswitch.layouts import recognise
from riboswitch.opening import Opened, open_model
from riboswitch.registry import registry
from riboswitch.testing.examples import Example, files_of, make
from riboswitch.testing.layout_case import LayoutCase, names, quiet, small, weights_of
from riboswitch.weights import finite


class UnwrittenLayoutContract(LayoutCase):
    """What can be tested of a layout that is only read when no file of it is at hand:

        class TestMine(UnwrittenLayoutContract):
            layout = "mine"

    Attributes:
        layout: Its name.
    """  # noqa: D415  # an example follows

    def test_it_is_registered(self) -> None:
        """Under its own name, and only read: one that is written has more to keep to."""
        assert self.table.name == self.layout
        assert self.table.form is None, "it is written as well: take LayoutContract"

    def test_writing_it_is_a_clear_error(self, tmp_path: Path) -> None:
        """For every family a `CheckpointError` that says so, and nothing is left."""
        for entry in registry().models.values():
            with pytest.raises(CheckpointError, match=f"{self.layout!r} is only read"), quiet():
                save(small(entry), weights_of(small(entry)), tmp_path / "new", self.layout)
        assert names(tmp_path) == []


class ReadOnlyLayoutContract(UnwrittenLayoutContract):
    """The contract of a checkpoint layout that is only read. Its author brings small files:

        class TestMine(ReadOnlyLayoutContract):
            layout = "mine"
            examples = {"rnafm": Path(__file__).parent / "small.pth"}

    Attributes:
        layout: Its name.
        examples: By the name of a registered model, the path of a file or folder that holds one
            of its family, or a function that makes one at the path that it is given.
        architecture: What no example tells, such as `{"num_heads": 4}`.
    """  # noqa: D415  # an example follows

    examples: ClassVar[Mapping[str, Example]] = {}
    architecture: ClassVar[Mapping[str, Any]] = {}

    def made(self, folder: Path) -> dict[str, Path]:
        """A copy of each example."""
        assert self.examples, "state `examples`: checkpoints in this layout"
        return {name: make(each, folder / f"{name}.it") for name, each in self.examples.items()}

    def open(self, path: Path) -> Opened:
        """Open a file with what it does not tell."""
        with quiet():
            return open_model(path, architecture=self.architecture)

    def test_examples_are_recognised(self, tmp_path: Path) -> None:
        """As this layout's, whoever else is installed, and as a model of the family."""
        for name, path in self.made(tmp_path).items():
            opened = self.open(path)
            assert opened.layout.name == self.layout
            assert opened.entry.family == registry().model(name).family

    def test_no_other_layout_takes_them_for_its_own(self, tmp_path: Path) -> None:
        """Whatever the order in which layouts are asked."""
        others = {n: layout for n, layout in registry().layouts.items() if n != self.layout}
        for example, path in self.made(tmp_path).items():
            checkpoint = registry().open_checkpoint(path)
            for name, other in others.items():
                with pytest.raises(CheckpointError):
                    recognise(checkpoint, {name: other})
                    pytest.fail(f"{name} takes the example {example} for its own")

    def test_all_weights_are_canonical(self, tmp_path: Path) -> None:
        """Names in order, shapes, finite floats; and no two of them are the same numbers."""
        for name, path in self.made(tmp_path).items():
            opened = self.open(path)
            shapes = opened.entry.architecture.parameter_shapes()
            assert list(opened.weights) == list(shapes)
            for key, shape in shapes.items():
                array = opened.weights[key]
                assert array.shape == shape, f"{name}: {key}"
                assert array.dtype.kind == "f", f"{name}: {key} is {array.dtype}"
                assert finite(array), f"{name}: {key}"
            _are_different(opened)

    def test_a_missing_tensor_is_an_error(self, tmp_path: Path) -> None:
        """Never another model in silence."""
        for path in self.made(tmp_path).values():
            self.misses_nothing(self.open(path))

    def test_a_tensor_of_nobody_is_an_error(self, tmp_path: Path) -> None:
        """Numbers that the model has no place for are not left out in silence."""
        for path in self.made(tmp_path).values():
            self.takes_nothing_more(self.open(path))

    def test_they_convert_to_our_own_layout(self, tmp_path: Path) -> None:
        """Bit for bit, and the result computes what the example does."""
        for name, path in self.made(tmp_path).items():
            new, opened = tmp_path / f"{name}.own", self.open(path)
            with quiet():
                convert(path, new, "riboswitch", architecture=self.architecture, verify=True)
            own = open_model(new)
            assert own.entry.architecture == opened.entry.architecture
            assert own.entry.alphabet == opened.entry.alphabet
            for key, array in opened.weights.items():
                assert np.array_equal(own.weights[key], array), f"{name}: {key}"

    def test_a_file_cut_short_is_one_error(self, tmp_path: Path) -> None:
        """A `CheckpointError` that names it, wherever its largest file ends."""
        for name, path in self.made(tmp_path).items():
            file = files_of(path)[0]
            data = file.read_bytes()
            for length in (0, 1, 8, 100, len(data) // 2, len(data) - 1):
                file.write_bytes(data[:length])
                with pytest.raises(CheckpointError, match=path.name), quiet():
                    convert(path, tmp_path / "new", "riboswitch", architecture=self.architecture)
            assert not (tmp_path / "new").exists(), name

    def test_converting_into_it_is_a_clear_error(self, tmp_path: Path) -> None:
        """Also from itself; nothing is left."""
        for path in self.made(tmp_path).values():
            with pytest.raises(CheckpointError, match="is only read"), quiet():
                convert(path, tmp_path / "new", self.layout, architecture=self.architecture)
            assert not (tmp_path / "new").exists()


def _are_different(opened: Opened) -> None:
    """Two matrices of the same numbers are one tensor under two rules."""
    seen: dict[bytes, str] = {}
    for name, array in opened.weights.items():
        if array.ndim < 2 or name == "lm_head.decoder.weight" or not np.any(array):
            continue
        first = seen.setdefault(array.tobytes(), name)
        assert first == name, f"{first} and {name} are the same numbers"
