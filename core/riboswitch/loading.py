"""`load`: a name, a backend and weights become a `Model`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.errors import BackendError, CheckpointError, RiboswitchWarning, UsageError
from riboswitch.interfaces import (
    Backend,
    Checkpoint,
    Description,
    Layout,
    ModelEntry,
    Weights,
)
from riboswitch.model import Model
from riboswitch.registry import registry
from riboswitch.released import fetch
from riboswitch.weights import LazyWeights, checkpoint_weights, random_weights, recognise


def models() -> list[str]:
    """Names that `load` takes."""
    return list(registry().models)


def load(
    name: str,
    *,
    backend: str = "auto",
    weights: str | os.PathLike[str] = "released",
    device: str = "auto",
    dtype: str = "auto",
    architecture: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Model:
    """Load a model, in evaluation mode.

    Args:
        name: One of `models()`.
        backend: `numpy`, `torch`, `paddle`, `paddlenlp` (RNAErnie only), a plugin's name, or
            `auto`: the best one installed that can compute the model.
        weights: `released` (fetched and checked when they are not here), `random` (from `seed`,
            the same on every backend), or the path of a file or folder in any known layout,
            recognised by its content.
        device: A device of the backend, or `auto`.
        dtype: `float32`, `bfloat16`, `float16` or `float64` as the backend can, or `auto`.
        architecture: Values that override what the checkpoint says.
        seed: For random weights.

    Raises:
        UsageError: An argument cannot be right.
        BackendError: The backend is unknown, not installed or cannot do it.
        CheckpointError: The file is no checkpoint, is damaged or does not fit.
    """
    entry = registry().model(name)
    if weights == "released":  # what cannot be is said before gigabytes come
        _place(entry, backend, device, dtype)
    entry, arrays = _weights(entry, weights, architecture or {}, seed)
    chosen, device, dtype = _place(entry, backend, device, dtype)
    backbone = chosen.build(entry.architecture, arrays, device=device, dtype=dtype)
    return Model(entry, chosen, backbone, arrays, device, dtype)


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

    That is the registered one of its family and size, else the first one of its family.
    """
    checkpoint = registry().open_checkpoint(Path(path))
    return nearest(path, recognise(checkpoint, registry().layouts)[2]).name


def open_model(
    path: str | os.PathLike[str],
    name: str | None = None,
    architecture: Mapping[str, Any] | None = None,
) -> Opened:
    """Open a checkpoint in any layout, reading no numbers.

    Args:
        path: A file or folder.
        name: The model that it must hold; None for the one that it holds.
        architecture: Values that override what it says.

    Raises:
        CheckpointError: It is no checkpoint, is damaged, or does not fit.
        UsageError: There is no such model.
    """
    reg, overrides = registry(), architecture or {}
    found = recognise(reg.open_checkpoint(Path(path)), reg.layouts)
    entry = nearest(path, found[2]) if name is None else reg.model(name)
    return _checkpoint(entry, Path(path), found, overrides)


def nearest(path: str | os.PathLike[str], found: Description) -> ModelEntry:
    """Return the registered model that a checkpoint names, or of its family and size.

    Else it is the first one of its family.

    Raises:
        CheckpointError: No model of the family is registered.
    """
    relatives = [e for e in registry().models.values() if e.family == found.family]
    if not relatives:
        raise CheckpointError(f"{path}: no registered model is of the family {found.family!r}.")
    named = [entry for entry in relatives if entry.name == found.model]
    sized = [entry for entry in relatives if _same_size(entry, found)]
    return [*named, *sized, *relatives][0]


def _weights(
    entry: ModelEntry,
    weights: str | os.PathLike[str],
    overrides: Mapping[str, Any],
    seed: int,
) -> tuple[ModelEntry, Weights]:
    if weights == "random":
        if not 0 <= seed < 1 << 64:
            raise UsageError(f"A seed lies between 0 and 2**64 - 1; {seed} does not.")
        architecture = entry.architecture.evolve(overrides)
        if problem := _misfit(architecture, entry.alphabet):
            raise UsageError(problem)
        return evolve(entry, architecture=architecture), random_weights(architecture, seed)
    path = fetch(entry) if weights == "released" else Path(weights)
    opened = open_model(path, entry.name, overrides)
    return opened.entry, opened.weights


def _checkpoint(
    entry: ModelEntry,
    path: Path,
    recognised: tuple[Layout, Checkpoint, Description],
    overrides: Mapping[str, Any],
) -> Opened:
    layout, checkpoint, found = recognised
    if found.family != entry.family:
        raise CheckpointError(
            f"{path} holds a model of the family {found.family!r}; {entry.name!r} is of "
            f"{entry.family!r}.\nLoad it under the name of its own family."
        )
    try:
        architecture = entry.architecture.evolve({**found.changes, **overrides})
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from error
    _warn_of_heads(path, found, overrides, architecture.num_heads)
    weights = checkpoint_weights(checkpoint, layout, architecture)
    alphabet = found.alphabet or entry.alphabet
    if problem := _misfit(architecture, alphabet):
        raise CheckpointError(f"{path}: {problem}")
    licence = found.licence or entry.licence
    entry = evolve(entry, architecture=architecture, alphabet=alphabet, licence=licence)
    return Opened(entry, layout, checkpoint, weights)


def _misfit(architecture: Architecture, alphabet: Alphabet) -> str | None:
    if len(alphabet) != architecture.vocab_size:
        return f"{architecture.vocab_size} embeddings for an alphabet of {len(alphabet)} tokens."
    return None


def _same_size(entry: ModelEntry, found: Description) -> bool:
    sizes = ("hidden_size", "num_layers")
    return all(found.changes.get(s) == getattr(entry.architecture, s) for s in sizes)


def _warn_of_heads(
    path: Path, found: Description, overrides: Mapping[str, Any], heads: int
) -> None:
    """No shape tells the number of heads, and a wrong one gives wrong numbers without an error."""
    if "num_heads" in {**found.changes, **overrides}:
        return
    relatives = [e for e in registry().models.values() if e.family == found.family]
    if not any(_same_size(entry, found) for entry in relatives):
        warnings.warn(
            f"{path} does not say its number of attention heads; {heads} is assumed, as in the "
            'released models.\nGive it when it is another: architecture={"num_heads": …}',
            RiboswitchWarning,
            stacklevel=5,
        )


def _place(entry: ModelEntry, backend: str, device: str, dtype: str) -> tuple[Backend, str, str]:
    """The backend that is to compute a model, its device and its dtype."""
    chosen = registry().backend(backend, entry.architecture)
    device = _device(chosen, device)
    return chosen, device, _dtype(chosen, device, dtype)


def _device(backend: Backend, device: str) -> str:
    have = backend.devices()
    if device == "auto":
        return have[0]
    if device not in have:
        raise BackendError(
            f"The backend {backend.name!r} has no device {device!r}.\nIt has: {', '.join(have)}"
        )
    return device


def _dtype(backend: Backend, device: str, dtype: str) -> str:
    have = backend.dtypes(device)
    if dtype == "auto":
        return have[0]
    if dtype not in have:
        raise BackendError(
            f"The backend {backend.name!r} cannot compute in {dtype!r} on {device!r}.\n"
            f"It can: {', '.join(have)}"
        )
    return dtype
