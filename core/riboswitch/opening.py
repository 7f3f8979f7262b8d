"""Open a checkpoint: whose it is, in which layout, and its canonical weights, unread."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import evolve, frozen

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.errors import CheckpointError, UsageError, warn
from riboswitch.interfaces import Checkpoint, Description, Layout, ModelEntry
from riboswitch.layouts import Recognised, checkpoint_weights, recognise
from riboswitch.registry import registry
from riboswitch.weights import LazyWeights


@frozen(eq=False)
class Opened:
    """A checkpoint that has been recognised.

    Attributes:
        entry: The model, with this checkpoint's architecture, alphabet and licence.
        layout: Whose table maps it.
        checkpoint: With plain names.
        weights: Canonical ones, read when asked for.
    """

    entry: ModelEntry
    layout: Layout
    checkpoint: Checkpoint
    weights: LazyWeights


def identify(path: str | os.PathLike[str]) -> str:
    """Return the name of the model that a checkpoint holds.

    That is the registered one that it names, or the nearest one of its family.
    """
    checkpoint = registry().open_checkpoint(Path(path))
    return nearest(path, recognise(checkpoint, registry().layouts).description).name


def open_model(
    path: str | os.PathLike[str],
    name: str | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> Opened:
    """Open a checkpoint in any layout; of the numbers only copies of a weight are compared.

    Args:
        path: A file or folder.
        name: The model that it must hold; None for the one that it holds.
        architecture: Values that override what it says.

    Raises:
        CheckpointError: It is no checkpoint, is damaged, or does not fit.
        UsageError: There is no such model.
    """
    reg, overrides = registry(), architecture or {}
    named = None if name is None else reg.model(name)
    checkpoint = reg.open_checkpoint(Path(path))
    found = recognise(checkpoint, reg.layouts, named.family if named else None)
    entry = named or nearest(path, found.description)
    return _checkpoint(entry, Path(path), found, overrides)


def nearest(path: str | os.PathLike[str], found: Description) -> ModelEntry:
    """Return the registered model that a checkpoint names, or the nearest one of its family.

    That is one of its size, and the one that has most of what the checkpoint says.

    Raises:
        CheckpointError: No model of the family is registered.
    """
    relatives = [e for e in registry().models.values() if e.family == found.family]
    if not relatives:
        known = dict.fromkeys(entry.family for entry in registry().models.values())
        raise CheckpointError(
            f"{path}: no registered model is of the family {found.family!r}.\n"
            f"There are: {', '.join(known)}"
        )
    named = [entry for entry in relatives if entry.name == found.model]
    near = max(relatives, key=lambda entry: (_same_size(entry, found), _shared(entry, found)))
    return [*named, near][0]


def _checkpoint(
    entry: ModelEntry,
    path: Path,
    recognised: Recognised,
    overrides: Mapping[str, Any],
) -> Opened:
    layout, checkpoint, found = recognised
    if found.family != entry.family:
        raise CheckpointError(
            f"{path} holds a model of the family {found.family!r}, as the layout {layout.name!r} "
            f"reads it; {entry.name!r} is of {entry.family!r}.\n"
            "Load it under the name of its own family."
        )
    try:
        architecture = entry.architecture.evolve({**found.changes, **overrides})
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if architecture.num_layers > len(checkpoint.tensors):
        raise CheckpointError(
            f"{path} speaks of {architecture.num_layers} layers and has "
            f"{len(checkpoint.tensors)} tensors.\nIt is incomplete, or damaged."
        )
    _warn_of_heads(path, found, overrides, architecture.num_heads)
    weights = checkpoint_weights(checkpoint, layout, architecture)
    alphabet = found.alphabet or entry.alphabet
    if problem := misfit(architecture, alphabet):
        raise CheckpointError(f"{path}: {problem}")
    if checkpoint.seal is not None:
        heads = {"num_heads": architecture.num_heads}  # as told, where the file does not tell
        said = entry.architecture.evolve({**heads, **found.changes})
        _check_seal(path, checkpoint.seal, seal(said, alphabet))
    licence = found.licence or entry.licence
    if found.model is not None and found.model not in registry().models:
        entry = evolve(entry, name=found.model)  # one of the user's own
    entry = evolve(entry, architecture=architecture, alphabet=alphabet, licence=licence)
    return Opened(entry, layout, checkpoint, weights)


def _check_seal(path: Path, written: str, said: str) -> None:
    if written != said:
        raise CheckpointError(
            f"{path}: its tensors were written for another architecture or vocabulary than the "
            "files beside them tell.\nOne of them is damaged or another model's: convert it again. "
            'Or architecture={"num_heads": …} is wrong.'
        )


def seal(architecture: Architecture, alphabet: Alphabet) -> str:
    """A hash of all that an architecture and an alphabet say beside the defaults."""
    said = {
        field.name: value
        for field in attrs.fields(type(architecture))
        if (value := getattr(architecture, field.name)) != field.default
    }
    text = json.dumps([said, attrs.asdict(alphabet)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def misfit(architecture: Architecture, alphabet: Alphabet) -> str | None:
    """Say what is wrong when an alphabet and an embedding have not the same size."""
    if len(alphabet) != architecture.vocab_size:
        return (
            f"{architecture.vocab_size} embeddings for an alphabet of {len(alphabet)} tokens.\n"
            "It is another architecture's."
        )
    return None


def _same_size(entry: ModelEntry, found: Description) -> bool:
    sizes = ("hidden_size", "num_layers")
    return all(found.changes.get(s) == getattr(entry.architecture, s) for s in sizes)


def _shared(entry: ModelEntry, found: Description) -> int:
    return sum(getattr(entry.architecture, n, None) == v for n, v in found.changes.items())


def _warn_of_heads(
    path: Path, found: Description, overrides: Mapping[str, Any], heads: int
) -> None:
    """No shape tells the number of heads, and a wrong one gives wrong numbers without an error."""
    if "num_heads" in {**found.changes, **overrides}:
        return
    relatives = [e for e in registry().models.values() if e.family == found.family]
    if not any(_same_size(entry, found) for entry in relatives):
        warn(
            f"{path} does not say its number of attention heads; {heads} is assumed, as in the "
            'released models.\nGive it when it is another: architecture={"num_heads": …}'
        )
