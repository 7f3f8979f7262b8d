"""`load`: a name, a backend and weights become a `Model`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.errors import BackendError, CheckpointError, RiboswitchWarning, UsageError
from riboswitch.interfaces import Backend, Description, ModelEntry, Weights
from riboswitch.model import Model
from riboswitch.registry import registry
from riboswitch.released import released_path
from riboswitch.weights import checkpoint_weights, random_weights, recognise


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
        backend: `numpy`, `torch`, `paddle`, a plugin's name, or `auto`: the best one installed.
        weights: `released`, `random` (from `seed`, the same on every backend), or the path of a
            file or folder in any known layout, recognised by its content.
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
    chosen = registry().backend(backend)
    device = _device(chosen, device)
    dtype = _dtype(chosen, device, dtype)
    entry, arrays = _weights(entry, weights, architecture or {}, seed)
    backbone = chosen.build(entry.architecture, arrays, device=device, dtype=dtype)
    return Model(entry, chosen, backbone, arrays, device, dtype)


def identify(path: str | os.PathLike[str]) -> str:
    """Return the name of the model that a checkpoint holds.

    That is the registered one of its family and size, else the first one of its family.
    """
    checkpoint = registry().open_checkpoint(Path(path))
    _, _, found = recognise(checkpoint, registry().layouts)
    relatives = [e for e in registry().models.values() if e.family == found.family]
    if not relatives:
        raise CheckpointError(f"{path}: no registered model is of the family {found.family!r}.")
    return next((e for e in relatives if _same_size(e, found)), relatives[0]).name


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
    path = released_path(entry) if weights == "released" else Path(weights)
    return _checkpoint(entry, path, overrides)


def _checkpoint(
    entry: ModelEntry, path: Path, overrides: Mapping[str, Any]
) -> tuple[ModelEntry, Weights]:
    reg = registry()
    checkpoint = reg.open_checkpoint(path)
    layout, checkpoint, found = recognise(checkpoint, reg.layouts)
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
    arrays = checkpoint_weights(checkpoint, layout, architecture)
    alphabet = found.alphabet or entry.alphabet
    if problem := _misfit(architecture, alphabet):
        raise CheckpointError(f"{path}: {problem}")
    return evolve(entry, architecture=architecture, alphabet=alphabet), arrays


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
            stacklevel=4,
        )


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
