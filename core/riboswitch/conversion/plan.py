"""What a layout makes of a model, and what it has no place for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from attrs import frozen

from riboswitch.conversion.inverse import file_tensors, mixed_dtypes, written_rules
from riboswitch.conversion.vocabulary import Change, change, changed_weights
from riboswitch.errors import CheckpointError, PluginError, guarded
from riboswitch.interfaces import Array, Draft, Form, Layout, ModelEntry, Weights
from riboswitch.opening import seal
from riboswitch.registry import registry
from riboswitch.weights import LazyWeights, finite


@frozen(eq=False)
class WritePlan:
    """A model as a layout will hold it.

    Attributes:
        layout: Which.
        form: How it writes.
        entry: The model, with what the layout changes of it.
        weights: Canonical weights of that model.
        draft: The file of tensors.
        losses: What does not survive, one sentence each.
        lost_tokens: Tokens of the old vocabulary that the new one lacks; named in `losses` too.
        borrowed: New tokens and whose numbers they take.
    """

    layout: Layout
    form: Form
    entry: ModelEntry
    weights: LazyWeights
    draft: Draft
    losses: tuple[str, ...]
    lost_tokens: tuple[str, ...]
    borrowed: dict[str, str]


def make_plan(entry: ModelEntry, weights: LazyWeights, to: str) -> WritePlan:
    """Say how a layout writes a model; of the numbers only the embedding is looked at.

    Raises:
        UsageError: There is no such layout.
        CheckpointError: It is only read, or cannot hold this model.
    """
    layout = registry().layout(to)
    if layout.form is None:
        raise CheckpointError(f"The layout {to!r} is only read, not written.")
    try:
        with guarded():
            held = layout.target(entry)
            new = change(entry.alphabet, held.alphabet)
            form = layout.form(held)
            _check_form(form)
            table = written_rules(layout, held.architecture)
            rows = {rule.canonical: rule.zero_row for rule in table.values()}
            moved = changed_weights(weights, new)
            kept = _kept(held, moved, rows)
            tensors = file_tensors(layout, form, held.architecture, kept)
    except CheckpointError as error:
        raise CheckpointError(f"The layout {to!r} cannot hold {entry.name!r}: {error}") from error
    except PluginError as error:
        raise CheckpointError(
            f"The layout {to!r} fails: {error}\nUpdate or uninstall the plugin that announces it."
        ) from error
    draft = Draft(
        container=form.container,
        tensors=tensors,
        config=form.config,
        seal=seal(held.architecture, held.alphabet),
    )
    losses = (
        *_dropped(held, weights),
        *_tokens(new),
        *_zeroed(moved, kept, rows),
        *mixed_dtypes(layout, held.architecture, kept),
    )
    lost, borrowed = (new.lost, new.borrowed) if new else ((), {})
    return WritePlan(layout, form, held, kept, draft, losses, lost, borrowed)


def _check_form(form: Form) -> None:
    if form.texts and form.file is None:
        raise CheckpointError("its form has texts, but no name for the tensors' file.")
    if form.config is not None and form.container != "torch":
        raise CheckpointError(f"the container {form.container!r} has no place for a config.")


def _kept(
    held: ModelEntry, weights: LazyWeights, zero_rows: Mapping[str, int | None]
) -> LazyWeights:
    """The weights that the new model has, without rows that its loader sets to zero."""
    names = held.architecture.parameter_shapes()

    def make(name: str) -> Array:
        array, row = weights[name], zero_rows.get(name)
        if not finite(array):
            raise CheckpointError(f"{name} has numbers that are not finite: training has failed.")
        if row is not None:
            array = np.array(array)
            array[row] = 0
        return array

    return LazyWeights(names, make, {name: weights.dtypes[name] for name in names})


def _dropped(held: ModelEntry, weights: Weights) -> list[str]:
    parts = sorted({n.split(".")[0] for n in weights.keys() - held.architecture.parameter_shapes()})
    return [f"the {part.replace('_', ' ')}" for part in parts]


def _tokens(new: Change | None) -> list[str]:
    if new is None or not new.lost:
        return []
    plural = "" if len(new.lost) == 1 else "s"
    return [f"{len(new.lost)} token{plural} of the vocabulary: {' '.join(new.lost)}"]


def _zeroed(before: Weights, kept: Weights, zero_rows: Mapping[str, int | None]) -> list[str]:
    return [
        f"row {row} of {name}: who loads this layout sets it to zero"
        for name, row in zero_rows.items()
        if row is not None and name in kept and before[name][row].any()
    ]
