"""The bytes of a tensor as they lie in a file."""

from __future__ import annotations

import numpy as np

from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Array, Tensor
from riboswitch_adapters.readers.lazy import CODES


def encoded(tensor: Tensor, name: str) -> memoryview:
    """Read a tensor and return its bytes: little-endian, C order, of its own dtype.

    Numbers that do not fit the dtype are rounded to the nearest one; those that were read from
    a file of that dtype fit.

    Raises:
        CheckpointError: It has another shape than it said.
    """
    array = tensor.read()
    if array.shape != tensor.shape:
        raise CheckpointError(f"{name} has the shape {array.shape}, not {tensor.shape}.")
    if tensor.dtype == "bfloat16":
        stored = _brain(array)
    else:
        stored = np.ascontiguousarray(array, np.dtype("<" + CODES[tensor.dtype]))
    return stored.reshape(-1).view(np.uint8).data


def _brain(array: Array) -> Array:
    """The upper halves of float32, rounded to even."""
    bits = np.ascontiguousarray(array, "<f4").view("<u4")
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    upper: Array = (rounded >> np.uint32(16)).astype("<u2")
    return upper
