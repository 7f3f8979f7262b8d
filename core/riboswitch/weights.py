"""Canonical weights: from a checkpoint through its layout's table, or from a seed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from mmap import mmap
from typing import Any
from zlib import crc32

import numpy as np
from attrs import evolve

from riboswitch.architecture import Architecture
from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Array, Checkpoint, Description, Layout, Rule, Tensor, Weights


class LazyWeights(Mapping[str, Array]):
    """Arrays by canonical name, each made when asked for and not kept.

    Attributes:
        dtypes: Of the numbers where they come from; float32 for those that it does not name.
    """

    def __init__(
        self,
        names: Iterable[str],
        make: Callable[[str], Array],
        dtypes: Mapping[str, str] | None = None,
    ) -> None:
        self._names, self._make = dict.fromkeys(names), make
        self.dtypes = dict.fromkeys(self._names, "float32") | dict(dtypes or {})

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def random_weights(architecture: Architecture, seed: int) -> Weights:
    """Draw float32 weights that depend on the seed and each weight's name and shape alone.

    Matrices are normal with a standard deviation of 0.02; LayerNorms and beta are 1, biases 0.
    """
    shapes = architecture.parameter_shapes()

    def make(name: str) -> Array:
        if ("norm" in name and name.endswith("weight")) or name.endswith("beta"):
            return np.ones(shapes[name], np.float32)
        if name.endswith("bias"):
            return np.zeros(shapes[name], np.float32)
        generator = np.random.Generator(np.random.Philox(key=[seed, crc32(name.encode())]))
        return generator.standard_normal(shapes[name], np.float32) * np.float32(0.02)

    return LazyWeights(shapes, make)


def owned(array: Array, dtype: Any) -> Array:
    """Return an array of that dtype, in C order, that lasts: itself if writeable, else a copy."""
    if array.flags.writeable and array.flags.c_contiguous and array.dtype == dtype:
        return array
    return np.array(array, dtype, order="C")


def joined(arrays: Sequence[Array]) -> Array:
    """Join arrays by rows; without a copy where they follow one another in a mapped file."""
    first = arrays[0]
    if not _adjacent(arrays):
        return np.concatenate(arrays)
    shape = (sum(len(a) for a in arrays), *first.shape[1:])
    home: Any = _mapping(first)
    offset = first.ctypes.data - np.frombuffer(home, np.uint8).ctypes.data
    return np.ndarray(shape, first.dtype, home, offset)


def _adjacent(arrays: Sequence[Array]) -> bool:
    ends = [a.ctypes.data + a.nbytes for a in arrays]
    home = _mapping(arrays[0])
    return (
        home is not None
        and all(
            a.flags.c_contiguous
            and a.flags.writeable
            and a.dtype == arrays[0].dtype
            and a.shape[1:] == arrays[0].shape[1:]
            and _mapping(a) is home
            for a in arrays
        )
        and all(a.ctypes.data == end for a, end in zip(arrays[1:], ends, strict=False))
    )


def _mapping(array: Any) -> mmap | None:
    """The mapped file whose bytes an array shows."""
    while isinstance(array, np.ndarray):
        array = array.base
    home = array.obj if isinstance(array, memoryview) else array
    return home if isinstance(home, mmap) else None


def recognise(
    checkpoint: Checkpoint, layouts: Mapping[str, Layout]
) -> tuple[Layout, Checkpoint, Description]:
    """Find the layout of a checkpoint by its content.

    Returns:
        The layout, the checkpoint with plain names, and what it says of its model.

    Raises:
        CheckpointError: No layout knows it.
    """
    for layout in layouts.values():
        tensors, twins = _plain(checkpoint, layout)
        plain = evolve(checkpoint, tensors=tensors)
        if description := layout.describe(plain):
            if twins:
                raise CheckpointError(
                    f"{checkpoint.path} has {twins[0]!r} and {twins[1]!r}, which are one weight.\n"
                    "It holds two models, or parts of them: save one."
                )
            return layout, plain, description
    shown = ", ".join(list(checkpoint.tensors)[:3]) or "none"
    raise CheckpointError(
        f"{checkpoint.path}: no known layout has these tensors: {shown}…\n"
        f"Known layouts: {', '.join(layouts)}"
    )


def checkpoint_weights(
    checkpoint: Checkpoint, layout: Layout, architecture: Architecture
) -> LazyWeights:
    """Map a checkpoint with plain names to canonical weights, checked name by name.

    Raises:
        CheckpointError: A tensor is missing, unexpected or misshapen; it is named.
    """
    rules = expand(layout.rules(architecture, checkpoint), architecture)
    shapes = architecture.parameter_shapes()
    if unruled := shapes.keys() - rules.keys():
        raise CheckpointError(f"The layout {layout.name!r} cannot hold {_some(unruled)}.")
    _check_names(checkpoint, layout, {rules[name].file for name in shapes})
    for name, shape in shapes.items():
        _check_shape(checkpoint, rules[name], shape)
    _check_copies(checkpoint, layout, {rules[name].file for name in shapes})

    def make(name: str) -> Array:
        rule = rules[name]
        checkpoint.release()  # what was read before this
        array = _apply(rule, checkpoint.tensors[rule.file]).reshape(shapes[name])
        if not finite(array):
            raise CheckpointError(
                f"{checkpoint.path}: {rule.file} has numbers that are not finite.\n"
                "The training that wrote it had failed, or the file is damaged."
            )
        return array

    dtypes = {name: checkpoint.tensors[rules[name].file].dtype for name in shapes}
    return LazyWeights(shapes, make, dtypes)


def left_behind(checkpoint: Checkpoint, layout: Layout, architecture: Architecture) -> list[str]:
    """Say what a checkpoint with plain names holds beside the canonical weights.

    That is heads, and rows that the model's own loader sets to zero.
    """
    rules = expand(layout.rules(architecture, checkpoint), architecture)
    shapes = architecture.parameter_shapes()
    derived = re.compile("|".join(layout.derived) or r"(?!)")
    extra = checkpoint.tensors.keys() - {rules[name].file for name in shapes}
    found = (
        [f"the tensors {_some(heads)}"]
        if (heads := {n for n in extra if not derived.search(n)})
        else []
    )
    zeroed = [rules[name] for name in shapes if rules[name].zero_row is not None]
    return found + [
        f"row {rule.zero_row} of {rule.file}, which the model's own loader sets to zero"
        for rule in zeroed
        if np.any(checkpoint.tensors[rule.file].read()[rule.zero_row])
    ]


def expand(rules: Iterable[Rule], architecture: Architecture) -> dict[str, Rule]:
    """Write out the rules of every layer, by canonical name."""
    table: dict[str, Rule] = {}
    for rule in rules:
        layers = range(architecture.num_layers) if "{i}" in rule.canonical else range(1)
        for i in layers:
            name = rule.canonical.replace("{i}", str(i))
            table[name] = evolve(rule, canonical=name, file=rule.file.replace("{i}", str(i)))
    return table


def _plain(
    checkpoint: Checkpoint, layout: Layout
) -> tuple[dict[str, Tensor], tuple[str, str] | None]:
    """Tensors by plain name, and two that have come to the same one."""
    origin: dict[str, str] = {}
    twins: tuple[str, str] | None = None
    for name in checkpoint.tensors:
        first = origin.setdefault(layout.plain(name), name)
        twins = twins if first == name else (first, name)
    return {plain: checkpoint.tensors[name] for plain, name in origin.items()}, twins


def _check_names(checkpoint: Checkpoint, layout: Layout, wanted: set[str]) -> None:
    ignored = re.compile("|".join((*layout.ignored, *layout.derived)) or r"(?!)")
    if lacking := wanted - checkpoint.tensors.keys():
        raise CheckpointError(
            f"{checkpoint.path} ({layout.name} layout) lacks {_some(lacking)}.\n"
            "It is incomplete, or another architecture's: nothing is filled in at random."
        )
    extra = {n for n in checkpoint.tensors.keys() - wanted if not ignored.search(n)}
    if extra:
        raise CheckpointError(
            f"{checkpoint.path} ({layout.name} layout) has tensors that the model does not know: "
            f"{_some(extra)}.\nIt is another architecture's."
        )


def _check_copies(checkpoint: Checkpoint, layout: Layout, used: set[str]) -> None:
    """A weight that is left out because it is a copy must be one, or numbers would be lost."""
    for copy, original in layout.copies:
        if copy in used or not {copy, original} <= checkpoint.tensors.keys():
            continue
        found, expected = (checkpoint.tensors[name].read() for name in (copy, original))
        if not np.array_equal(found, expected):
            raise CheckpointError(
                f"{checkpoint.path}: {copy} differs from {original}, to which the model ties it.\n"
                "It is another architecture's."
            )


def _check_shape(checkpoint: Checkpoint, rule: Rule, shape: tuple[int, ...]) -> None:
    found = checkpoint.tensors[rule.file].shape
    expected = shape[::-1] if rule.transpose else shape
    if rule.part:
        expected = (expected[0] * rule.part[1], *expected[1:])
    if found != expected and not (np.prod(found) == np.prod(expected) == 1):
        raise CheckpointError(
            f"{checkpoint.path}: {rule.file} has the shape {found}, where the model has "
            f"{expected}.\nIt is another architecture's; architecture={{…}} can override sizes."
        )


def finite(array: Array) -> bool:
    """Whether all numbers are. A finite sum has only finite terms, and is quick to come by."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(array, axis=None)
    return bool(np.isfinite(total)) or bool(np.isfinite(array).all())


def _apply(rule: Rule, tensor: Tensor) -> Array:
    array = tensor.read()
    if rule.transpose:
        array = array.T
    if rule.part:
        k, n = rule.part
        rows = len(array) // n
        array = array[k * rows : (k + 1) * rows]
    if rule.zero_row is not None:
        array = np.array(array)
        array[rule.zero_row] = 0
    return array


def _some(names: set[str] | frozenset[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def weights_hash(weights: Weights) -> str:
    """SHA-256 over names, shapes and float32 numbers: the same for the same model in any layout."""
    digest = hashlib.sha256()
    for name in weights:
        array = np.ascontiguousarray(weights[name], "<f4")
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
