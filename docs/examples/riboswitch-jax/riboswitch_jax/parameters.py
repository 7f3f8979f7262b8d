"""Canonical weights as a tree of arrays on a device.

The tree has the parts of the canonical names, and all layers stacked, so that `jax.lax.scan`
compiles one of them: `layers.3.attention.query.weight` is
`params["layers"]["attention"]["query"]["weight"][3]`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Array, Weights
from riboswitch.weights import owned
from riboswitch_jax.layers import Params

FIRST = "layers.0."


def load(a: Architecture, weights: Weights, device: jax.Device, dtype: str) -> Params:
    """Read each weight once and put it on the device; the host keeps none."""
    params: Params = {}
    number = jnp.dtype(dtype)
    with precision(dtype):
        for name in a.parameter_shapes():
            if name.startswith(FIRST):
                place = name.removeprefix(FIRST)
                stack = _stacked(a.num_layers, weights, place, number)
                _set(params, f"layers.{place}", jax.device_put(stack, device))
            elif not name.startswith("layers."):
                _set(params, name, jax.device_put(owned(weights[name], number), device))
    return params


def named(params: Params, name: str) -> jax.Array:
    """The array behind a canonical name."""
    parts = name.split(".")
    number = int(parts.pop(1)) if parts[0] == "layers" else ...
    found: Any = params
    for part in parts:
        found = found[part]
    array: jax.Array = found[number]
    return array


def precision(dtype: str) -> AbstractContextManager[object]:
    """Inside, this thread's JAX has float64 if that is asked for, and shortens no product.

    Elsewhere both are settings of the process, which are not a plugin's to change.
    """
    stack = ExitStack()
    if dtype == "float64":
        stack.enter_context(jax.enable_x64(True))
    if dtype != "bfloat16":
        stack.enter_context(jax.default_matmul_precision("highest"))  # else a GPU's TF32
    return stack


def _stacked(num_layers: int, weights: Weights, place: str, dtype: np.dtype[Any]) -> Array:
    """A weight of all layers along a new first axis, read one layer at a time."""
    first = weights[f"{FIRST}{place}"]
    stack = np.empty((num_layers, *first.shape), dtype)
    stack[0] = first
    for i in range(1, num_layers):
        stack[i] = weights[f"layers.{i}.{place}"]
    return stack


def _set(params: Params, name: str, array: jax.Array) -> None:
    *owners, last = name.split(".")
    for owner in owners:
        params = params.setdefault(owner, {})
    params[last] = array
