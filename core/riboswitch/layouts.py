"""A layout's table read forwards: from a file's tensors to canonical weights, checked."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
from attrs import evolve

from riboswitch.architecture import Architecture
from riboswitch.errors import CheckpointError, PluginWarning, RiboswitchError
from riboswitch.interfaces import Array, Checkpoint, Description, Layout, Rule, Tensor
from riboswitch.weights import LazyWeights, finite


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
        if description := _described(layout, plain):
            if twins:
                raise CheckpointError(
                    f"{checkpoint.path} has {twins[0]!r} and {twins[1]!r}, which are one weight.\n"
                    "It holds two models, or parts of them: save one."
                )
            return layout, plain, description
    shown = _some(set(list(checkpoint.tensors)[:3])) or "none"
    raise CheckpointError(
        f"{checkpoint.path}: no known layout has these tensors: {shown}…\n"
        f"Known layouts: {', '.join(layouts)}"
    )


def _described(layout: Layout, checkpoint: Checkpoint) -> Description | None:
    """What a layout says; one whose recogniser is broken has nothing to say."""
    try:
        return layout.describe(checkpoint)
    except RiboswitchError:
        raise
    except Exception as error:
        warnings.warn(
            f"the layout {layout.name!r} is left out: {type(error).__name__}: {error}\n"
            "Update or uninstall the plugin that announces it.",
            PluginWarning,
            stacklevel=2,
        )
        return None


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
    expected = rule.shape or expected
    if found != expected and not (np.prod(found) == np.prod(expected) == 1):
        raise CheckpointError(
            f"{checkpoint.path}: {rule.file} has the shape {found}, where the model has "
            f"{expected}.\nIt is another architecture's; architecture={{…}} can override sizes."
        )


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
    shown = [name if name.isprintable() else ascii(name) for name in sorted(names)[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
