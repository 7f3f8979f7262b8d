"""`load`: a name, a backend and weights become a `Model`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from riboswitch.errors import BackendError, PluginError, RiboswitchError, UsageError, guarded
from riboswitch.interfaces import Backbone, Backend, ModelEntry, Weights
from riboswitch.model import Model
from riboswitch.opening import misfit, open_model
from riboswitch.registry import devices_of, dtypes_of, registry
from riboswitch.released import fetch
from riboswitch.weights import random_weights


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
        name: One of `models()`; or, with the path of your own model's weights, the name that it
            was saved under.
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
    entry, arrays = _own(name, weights, architecture or {}) or (registry().model(name), None)
    if weights == "released":  # what cannot be is said before gigabytes come
        place(entry, backend, device, dtype)
    if arrays is None:
        entry, arrays = _weights(entry, weights, architecture or {}, seed)
    chosen, device, dtype = place(entry, backend, device, dtype)
    try:
        with guarded(computing=True):
            backbone = chosen.build(entry.architecture, arrays, device=device, dtype=dtype)
            if not isinstance(backbone, Backbone):
                raise TypeError(f"build returned {type(backbone).__name__}, which is no Backbone")
    except PluginError as error:
        raise registry().fault(chosen, f"fails to build the model: {error}") from error
    return Model(entry, chosen, backbone, arrays, device, dtype)


def _own(
    name: str, weights: str | os.PathLike[str], overrides: Mapping[str, Any]
) -> tuple[ModelEntry, Weights] | None:
    """A model that nobody registered, where a checkpoint says that it is one of this name."""
    if weights in ("released", "random") or name in registry().models:
        return None
    try:
        opened = open_model(Path(weights), None, overrides)
    except RiboswitchError:  # then the name is what is wrong
        return None
    return (opened.entry, opened.weights) if opened.entry.name == name else None


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
        if problem := misfit(architecture, entry.alphabet):
            raise UsageError(problem)
        return evolve(entry, architecture=architecture), random_weights(architecture, seed)
    path = fetch(entry) if weights == "released" else Path(weights)
    opened = open_model(path, entry.name, overrides)
    return opened.entry, opened.weights


def place(
    entry: ModelEntry, backend: str, device: str, dtype: str, *, trains: bool = False
) -> tuple[Backend, str, str]:
    """The backend that is to compute, or to train, a model, its device and its dtype."""
    chosen = registry().backend(backend, entry.architecture, trains=trains)
    device = _device(chosen, device)
    return chosen, device, _dtype(chosen, device, dtype)


def _device(backend: Backend, device: str) -> str:
    have = devices_of(backend)
    if device == "auto":
        return have[0]
    if device not in have:
        raise BackendError(
            f"The backend {backend.name!r} has no device {device!r}.\nIt has: {', '.join(have)}"
        )
    return device


def _dtype(backend: Backend, device: str, dtype: str) -> str:
    have = dtypes_of(backend, device)
    if dtype == "auto":
        return have[0]
    if dtype not in have:
        raise BackendError(
            f"The backend {backend.name!r} cannot compute in {dtype!r} on {device!r}.\n"
            f"It can: {', '.join(have)}"
        )
    return dtype
