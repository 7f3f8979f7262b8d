"""A layout's table read forwards: from a file's tensors to canonical weights, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
from attrs import evolve

from riboswitch.architecture import Architecture
from riboswitch.errors import CheckpointError, PluginError, RiboswitchError, guarded
from riboswitch.interfaces import Array, Checkpoint, Description, Layout, Rule, Tensor
from riboswitch.registry import registry
from riboswitch.weights import LazyWeights, finite


class Recognised(NamedTuple):
    """A checkpoint whose layout is known."""

    layout: Layout
    checkpoint: Checkpoint
    """With plain names."""
    description: Description


def recognise(
    checkpoint: Checkpoint, layouts: Mapping[str, Layout], family: str | None = None
) -> Recognised:
    """Find the layout of a checkpoint by its content: the first one that describes it.

    Args:
        checkpoint: With the file's own names.
        layouts: In the order in which they are asked.
        family: Whose model it should be: a layout that says so is taken before one that does not.

    Returns:
        The layout, the checkpoint with plain names, and what it says of its model.

    Raises:
        CheckpointError: No layout knows it; or what the first one says that knows it as damaged.
    """
    other: Recognised | None = None
    damage: CheckpointError | None = None
    for layout in layouts.values():
        try:
            found = _described(layout, checkpoint)
        except RiboswitchError as error:
            damage = damage or CheckpointError(f"As the layout {layout.name!r}: {error}")
            continue
        if found and family in (None, found.description.family):
            return found
        other = other or found
    if other:
        return other
    if damage:
        raise damage
    shown = _some(set(list(checkpoint.tensors)[:3])) or "none"
    raise CheckpointError(
        f"{checkpoint.path}: no known layout has these tensors: {shown}…\n"
        f"Known layouts: {', '.join(layouts)}"
    )


def _described(layout: Layout, checkpoint: Checkpoint) -> Recognised | None:
    """What a layout says; one whose recogniser is broken has nothing to say."""
    try:
        with guarded():
            tensors, twins = _plain(checkpoint, layout)
            plain = evolve(checkpoint, tensors=tensors)
            description = layout.describe(plain)
            if description is not None and not isinstance(description, Description):
                raise TypeError(f"describe returned {type(description).__name__}")
    except PluginError as fault:
        registry().blame(layout, str(fault))
        return None
    if description and twins:
        raise CheckpointError(
            f"{checkpoint.path} has {twins[0]!r} and {twins[1]!r}, which are one weight.\n"
            "It holds two models, or parts of them: save one."
        )
    return Recognised(layout, plain, description) if description else None


def checkpoint_weights(
    checkpoint: Checkpoint, layout: Layout, architecture: Architecture
) -> LazyWeights:
    """Map a checkpoint with plain names to canonical weights, checked name by name.

    Raises:
        CheckpointError: A tensor is missing, unexpected or misshapen; it is named.
    """
    rules = _table(layout, architecture, checkpoint)
    shapes = architecture.parameter_shapes()
    if unruled := shapes.keys() - rules.keys():
        unknown = {n for n in rules.keys() - shapes.keys() if get_close_matches(n, unruled, 1, 0.8)}
        hint = f"; its rules name {_some(unknown)}, which the architecture has not" * bool(unknown)
        raise CheckpointError(
            f"The layout {layout.name!r} has no rule for {_some(unruled)}{hint}.\n"
            "It cannot hold this model."
        )
    _check_names(checkpoint, layout, {rules[name].file for name in shapes})
    for name, shape in shapes.items():
        _check_shape(checkpoint, rules[name], shape)
    _check_copies(checkpoint, layout, {rules[name].file for name in shapes})

    def make(name: str) -> Array:
        rule = rules[name]
        checkpoint.release()  # what was read before this
        try:
            with guarded(computing=True):
                array = _apply(rule, checkpoint.tensors[rule.file]).reshape(shapes[name])
        except PluginError as fault:
            raise CheckpointError(
                f"{checkpoint.path}: {rule.file} cannot be read: {fault}\n"
                "The file is damaged, or the plugin that opened it is."
            ) from fault
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
    rules = _table(layout, architecture, checkpoint)
    shapes = architecture.parameter_shapes()
    derived = _pattern(_derived(layout))
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


def _table(layout: Layout, architecture: Architecture, checkpoint: Checkpoint) -> dict[str, Rule]:
    try:
        with guarded():
            return expand(layout.rules(architecture, checkpoint), architecture)
    except PluginError as fault:
        raise CheckpointError(
            f"The layout {layout.name!r} fails: {fault}\n"
            "Update or uninstall the plugin that announces it."
        ) from fault


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
    ignored = _pattern((*layout.ignored, *_derived(layout)))
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


def _derived(layout: Layout) -> tuple[str, ...]:
    """Patterns of names that hold nothing of their own; a copy is one of them."""
    return (*layout.derived, *(rf"^{re.escape(copy)}$" for copy, _ in layout.copies))


def _pattern(parts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(parts) or r"(?!)")


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
    fits = rule.zero_row is None or rule.zero_row < (shape or (1,))[0]
    if not fits or (rule.shape and np.prod(rule.shape) != np.prod(shape)):
        raise CheckpointError(
            f"The rule for {rule.canonical}, which has the shape {shape}, cannot be right.\n"
            "Update or uninstall the plugin that announces its layout."
        )
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
