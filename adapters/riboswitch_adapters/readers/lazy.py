"""Tensors that stay in their file until they are read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from riboswitch_adapters.readers.crc import crc32
from riboswitch_adapters.readers.mapped import refusal

# Name -> code of the element as it lies in the file. Paddle writes bfloat16 as uint16.
CODES = {
    "float64": "f8",
    "float32": "f4",
    "float16": "f2",
    "bfloat16": "u2",
    "int64": "i8",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "uint16": "u2",
    "bool": "u1",
}
MAX_DIMENSIONS = 32  # what NumPy 1.26 can hold
MAX_ELEMENTS = 2**48


def itemsize(dtype: str) -> int:
    """Bytes of one element in the file."""
    return int(CODES[dtype][1])


@define(eq=False, repr=False)
class Storage:
    """The bytes that one or more tensors look at.

    Args:
        where: the file and the entry, for messages.
        size: number of bytes.
        data: the bytes; None while a legacy file's storages are not reached yet.
        crc: CRC-32 that the bytes must have, checked when they are first loaded.
    """

    where: str
    size: int
    data: memoryview | bytes | None
    crc: int | None = None

    def load(self) -> memoryview | bytes:
        """The bytes, checked.

        Raises:
            CheckpointError: the CRC-32 does not fit.
        """
        if self.data is None or len(self.data) != self.size:
            raise refusal(f"{self.where}: the tensor's bytes are not in the file")
        if self.crc is not None and crc32(self.data) != self.crc:
            raise refusal(f"{self.where}: the tensor's bytes do not match their CRC-32")
        self.crc = None
        return self.data


@frozen(eq=False)
class LazyTensor:
    """A tensor in a file.

    Args:
        shape: its shape.
        dtype: NumPy's name of its dtype, or "bfloat16".
    """

    shape: tuple[int, ...]
    dtype: str
    _storage: Storage = field(repr=False)
    _offset: int = field(repr=False)
    _strides: tuple[int, ...] = field(repr=False)
    _order: str = field(default="<", repr=False)

    def read(self) -> NDArray[Any]:
        """The tensor as an array; bfloat16 is widened to float32.

        The array is a read-only view of the mapped file, maybe strided, unless the elements
        must be swapped, widened or moved to an aligned address.

        Raises:
            CheckpointError: the bytes do not match their CRC-32.
        """
        data = self._storage.load()
        if math.prod(self.shape) == 0:
            return np.empty(self.shape, "f4" if self.dtype == "bfloat16" else self.dtype)
        return self._finished(self._view(data))

    def expect(self, crc: int) -> None:
        """Say which CRC-32 the bytes must have when they are read."""
        self._storage.crc = crc

    @property
    def home(self) -> memoryview | bytes | None:
        """The bytes that it is a part of."""
        return self._storage.data

    def as_dtype(self, dtype: str) -> LazyTensor:
        """The same bytes under another dtype of the same width."""
        fields = (self._storage, self._offset, self._strides, self._order)
        return LazyTensor(self.shape, dtype, *fields)

    def _view(self, data: memoryview | bytes) -> NDArray[Any]:
        size = itemsize(self.dtype)
        strides = tuple(size * stride for stride in self._strides)
        kind = np.dtype(self._order + CODES[self.dtype])
        return np.ndarray(self.shape, kind, data, self._offset * size, strides)

    def _finished(self, view: NDArray[Any]) -> NDArray[Any]:
        if self.dtype == "bfloat16":
            wide = view.astype(np.uint32)
            return np.left_shift(wide, np.uint32(16), out=wide).view(np.float32)
        if self.dtype == "bool":
            return self._booleans(view)
        if view.dtype.isnative and view.flags.aligned:
            return view
        return view.astype(view.dtype.newbyteorder("="))

    def _booleans(self, view: NDArray[Any]) -> NDArray[Any]:
        # NumPy takes any byte for a boolean and then computes nonsense with it.
        if view.max() > 1:
            raise refusal(f"{self._storage.where}: a boolean tensor holds bytes other than 0 and 1")
        return view.view(np.bool_)


def contiguous(shape: tuple[int, ...], fortran: bool = False) -> tuple[int, ...]:
    """Strides, in elements, of a contiguous tensor."""
    sizes = shape if fortran else shape[::-1]
    strides = [1]
    for size in sizes[:-1]:
        strides.append(strides[-1] * size)
    return tuple(strides[: len(shape)] if fortran else strides[: len(shape)][::-1])


def lazy_tensor(
    storage: Storage,
    dtype: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int = 0,
    order: str = "<",
) -> LazyTensor:
    """A tensor whose every element has been found to lie inside its storage.

    Raises:
        CheckpointError: sizes, strides (in elements) or offset that do not fit the storage.
    """
    _must_be_sizes(shape, strides, offset)
    room = storage.size // itemsize(dtype)
    count = math.prod(shape)
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    # With stride 0 a few bytes would stand for any number of elements.
    if count > room or offset + (last + 1 if count else 0) > room:
        raise refusal(
            f"a tensor of shape {shape}, strides {strides} and offset {offset} does not fit "
            f"its storage of {room} elements"
        )
    return LazyTensor(shape, dtype, storage, offset, strides, order)


def _must_be_sizes(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> None:
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
        raise refusal("a tensor's shape and strides are not two tuples of one length")
    if len(shape) > MAX_DIMENSIONS:
        raise refusal(f"a tensor has {len(shape)} dimensions")
    if not all(type(n) is int and 0 <= n < MAX_ELEMENTS for n in (*shape, *strides, offset)):
        raise refusal("a tensor's shape, strides or offset are not sensible whole numbers")
    # NumPy refuses empty arrays whose other dimensions overflow.
    if math.prod(size for size in shape if size) >= MAX_ELEMENTS:
        raise refusal("a tensor's shape is absurdly large")
