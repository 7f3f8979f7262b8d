"""Canonical weights as a tree of arrays on a device.

The tree has the parts of the canonical names: `layers.3.attention.query.weight` is
`params["layers"][3]["attention"]["query"]["weight"]`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import jax
import jax.numpy as jnp

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Weights
from riboswitch.weights import owned
from riboswitch_jax.layers import Params


def load(a: Architecture, weights: Weights, device: jax.Device, dtype: str) -> Params:
    """Read each weight once and put it on the device; the host keeps none of its own."""
    params: Params = {"layers": [{} for _ in range(a.num_layers)]}
    with precision(dtype):
        for name in a.parameter_shapes():
            array = jax.device_put(owned(weights[name], jnp.dtype(dtype)), device)
            _set(params, name.split("."), array)
    return params


def named(params: Params, name: str) -> jax.Array:
    """The array behind a canonical name."""
    found: Any = params
    for part in name.split("."):
        found = found[int(part) if part.isdigit() else part]
    array: jax.Array = found
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


def _set(node: Any, parts: list[str], array: jax.Array) -> None:
    *owners, last = parts
    for owner in owners:
        node = node[int(owner)] if isinstance(node, list) else node.setdefault(owner, {})
    node[last] = array
