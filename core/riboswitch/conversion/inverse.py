"""A layout's table read backwards: the tensors of its file, made of canonical weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from attrs import field, frozen

from riboswitch.architecture import Architecture
from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Array, Checkpoint, Form, Layout, Rule, Tensor, Weights
from riboswitch.layouts import expand
from riboswitch.weights import LazyWeights


@frozen(eq=False)
class Derived:
    """A tensor that is made when it is read."""

    shape: tuple[int, ...]
    dtype: str
    _make: Callable[[], Array] = field(repr=False)

    def read(self) -> Array:
        """The numbers, in the file's order of axes."""
        return self._make()


def file_tensors(
    layout: Layout, form: Form, architecture: Architecture, weights: LazyWeights
) -> dict[str, Tensor]:
    """Tensors of a layout's file by its own names, each read from canonical weights when read.

    Args:
        layout: Whose table.
        form: How that layout writes this model.
        architecture: Of the weights.
        weights: Canonical ones; their dtypes are kept.

    Raises:
        CheckpointError: The layout has no place for a weight.
    """
    found = plain_tensors(layout, architecture, weights, weights.dtypes)
    originals = dict(layout.copies)
    found |= {copy: found[originals[copy]] for copy in form.copies if originals[copy] in found}
    found |= {name: _constant(array) for name, array in form.constants.items()}
    return {form.rename(name): tensor for name, tensor in found.items()}


def plain_tensors(
    layout: Layout, architecture: Architecture, weights: Weights, dtypes: Mapping[str, str]
) -> dict[str, Tensor]:
    """The same by plain names, without copies and constants: what any form of the layout has.

    Raises:
        CheckpointError: The layout has no place for a weight.
    """
    rules = written_rules(layout, architecture)
    shapes = architecture.parameter_shapes()
    if unruled := sorted(shapes.keys() - rules.keys()):
        raise CheckpointError(f"the layout {layout.name!r} has no place for {unruled[0]}.")
    groups = _groups(rules, shapes)
    return {name: _derived(group, shapes, weights, dtypes) for name, group in groups.items()}


def mixed_dtypes(layout: Layout, architecture: Architecture, weights: LazyWeights) -> list[str]:
    """Say which tensors of the file join weights of several dtypes, and so change some of them.

    Raises:
        CheckpointError: They have no dtype in common that holds them all.
    """
    groups = _groups(written_rules(layout, architecture), architecture.parameter_shapes())
    found = []
    for name, group in groups.items():
        dtypes = sorted({weights.dtypes[rule.canonical] for rule in group})
        if len(dtypes) > 1 and not all("float" in dtype for dtype in dtypes):
            raise CheckpointError(f"{name} would join {' and '.join(dtypes)}.")
        if len(dtypes) > 1:
            found.append(f"the dtypes of {name}, which joins {' and '.join(dtypes)}")
    return found


def written_rules(layout: Layout, architecture: Architecture) -> dict[str, Rule]:
    """The rules of a layout for a file that does not exist yet, by canonical name."""
    blank = Checkpoint(path=layout.name, container="", tensors={})
    return expand(layout.rules(architecture, blank), architecture)


def _groups(
    rules: Mapping[str, Rule], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, list[Rule]]:
    """The rules of each of the file's tensors, its parts in order; the file in rules' order."""
    groups: dict[str, list[Rule]] = {}
    for name, rule in rules.items():
        if name in shapes:
            groups.setdefault(rule.file, []).append(rule)
    return {file: sorted(group, key=lambda r: r.part or (0, 1)) for file, group in groups.items()}


def _derived(
    group: list[Rule],
    shapes: Mapping[str, tuple[int, ...]],
    weights: Weights,
    dtypes: Mapping[str, str],
) -> Derived:
    names, first = [rule.canonical for rule in group], group[0]
    shape = shapes[names[0]][::-1] if first.transpose else shapes[names[0]]
    if first.part:
        shape = (shape[0] * first.part[1], *shape[1:])
    final = first.shape or shape

    def make() -> Array:
        arrays = [weights[name].T if first.transpose else weights[name] for name in names]
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return whole.reshape(final)

    return Derived(final, _common([dtypes[name] for name in names]), make)


def _common(dtypes: list[str]) -> str:
    """What holds all of them without rounding."""
    if len(set(dtypes)) == 1:
        return dtypes[0]
    return "float64" if "float64" in dtypes else "float32"


def _constant(array: Array) -> Derived:
    return Derived(array.shape, array.dtype.name, lambda: array)
