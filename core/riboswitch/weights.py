"""Canonical weights: arrays by name, from a seed, and how they are kept, joined and hashed.

`LazyWeights`, `owned`, `joined` and `shown` are meant for every backend, and for layouts: ours
use them as a stranger's may.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from mmap import mmap
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Array, Weights


class LazyWeights(Mapping[str, Array]):
    """Arrays by canonical name, each made when asked for and not kept.

    What `Backbone.canonical` returns, for one.

    Attributes:
        dtypes: Of the numbers where they come from; float32 for those that it does not name.
    """

    def __init__(
        self,
        names: Iterable[str],
        make: Callable[[str], Array],
        dtypes: Mapping[str, str] | None = None,
    ) -> None:
        self._names, self._make = dict.fromkeys(names), make
        self.dtypes = dict.fromkeys(self._names, "float32") | dict(dtypes or {})

    def __getitem__(self, name: str) -> Array:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names  # the inherited one would read the array

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def random_weights(architecture: Architecture, seed: int) -> Weights:
    """Draw float32 weights that depend on the seed and each weight's name and shape alone.

    Matrices are normal with a standard deviation of 0.02; LayerNorms and beta are 1, biases 0.
    """
    shapes = architecture.parameter_shapes()

    def make(name: str) -> Array:
        if ("norm" in name and name.endswith("weight")) or name.endswith("beta"):
            return np.ones(shapes[name], np.float32)
        if name.endswith("bias"):
            return np.zeros(shapes[name], np.float32)
        generator = np.random.Generator(np.random.Philox(key=_key(seed, name)))
        return generator.standard_normal(shapes[name], np.float32) * np.float32(0.02)

    return LazyWeights(shapes, make)


def _key(seed: int, name: str) -> NDArray[np.uint64]:
    return np.array([seed, crc32(name.encode())], np.uint64)


def owned(array: Array, dtype: Any) -> Array:
    """Return an array of that dtype, in C order, that lasts: itself if writeable, else a copy.

    For `Backend.build`: a weight that is a view of a file is copied, and another is not. `dtype`
    is any that NumPy knows, `ml_dtypes.bfloat16` too.
    """
    if array.flags.writeable and array.flags.c_contiguous and array.dtype == dtype:
        return array
    return np.array(array, dtype, order="C")


def shown(array: Array) -> Array:
    """A view that cannot be written to, of memory that stays somebody else's."""
    view = array.view()
    view.flags.writeable = False
    return view


def joined(arrays: Sequence[Array]) -> Array:
    """Join arrays by rows; without a copy where they follow one another in a mapped file.

    For a backend that has query, key and value in one matrix. The result is writeable and lasts;
    `owned` brings it into another dtype.
    """
    first = arrays[0]
    if not _adjacent(arrays):
        return np.concatenate(arrays)
    shape = (sum(len(a) for a in arrays), *first.shape[1:])
    home: Any = _mapping(first)
    offset = first.ctypes.data - np.frombuffer(home, np.uint8).ctypes.data
    return np.ndarray(shape, first.dtype, home, offset)


def finite(array: Array) -> bool:
    """Whether all numbers are. A finite sum has only finite terms, and is quick to come by."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(array, axis=None)
    return bool(np.isfinite(total)) or bool(np.isfinite(array).all())


def weights_hash(weights: Weights) -> str:
    """SHA-256 over names, shapes and float32 numbers: the same for the same model in any layout."""
    digest = hashlib.sha256()
    for name in weights:
        array = np.ascontiguousarray(weights[name], "<f4")
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _adjacent(arrays: Sequence[Array]) -> bool:
    ends = [a.ctypes.data + a.nbytes for a in arrays]
    home = _mapping(arrays[0])
    return (
        home is not None
        and all(
            a.flags.c_contiguous
            and a.flags.writeable
            and a.dtype == arrays[0].dtype
            and a.shape[1:] == arrays[0].shape[1:]
            and _mapping(a) is home
            for a in arrays
        )
        and all(a.ctypes.data == end for a, end in zip(arrays[1:], ends, strict=False))
    )


def _mapping(array: Any) -> mmap | None:
    """The mapped file whose bytes an array shows."""
    while isinstance(array, np.ndarray):
        array = array.base
    home = array.obj if isinstance(array, memoryview) else array
    return home if isinstance(home, mmap) else None
