"""Write what `paddle.save` would of a state dict: a pickle of names and NumPy arrays."""

from __future__ import annotations

from pathlib import Path

from riboswitch.interfaces import Draft, Tensor
from riboswitch_adapters.readers.crc import crc32, name_with_crc
from riboswitch_adapters.readers.lazy import CODES
from riboswitch_adapters.writers.encoded import encoded
from riboswitch_adapters.writers.pickle_stream import PickleStream

_NUMPY = "numpy.core.multiarray"  # NumPy 1's name, which NumPy 2 also knows
NAMES = "StructuredToParameterName@@"  # with it Paddle makes tensors of the arrays


def write_paddle(path: Path, draft: Draft) -> None:
    """Write `{name: array}`; bfloat16 as uint16, which is how Paddle keeps it.

    The table of parameter names, which Paddle drops, says the CRC-32 of each array, and the seal.
    """
    names = {}
    with path.open("wb") as file:
        stream = PickleStream(file, 4)
        stream.op(b"}(")
        for name, tensor in draft.tensors.items():
            stream.value(name)
            names[name] = name_with_crc(name, _array(stream, tensor, name), draft.seal)
        stream.value(NAMES)
        stream.value(names)
        stream.op(b"u")
        stream.stop()


def _array(stream: PickleStream, tensor: Tensor, name: str) -> int:
    """Write an array; return its CRC-32."""
    data = encoded(tensor, name)
    stream.name(_NUMPY, "_reconstruct")
    stream.op(b"(")
    stream.name("numpy", "ndarray")
    stream.value((0,))
    stream.value(b"b")
    stream.op(b"tR(")
    stream.value(1)
    stream.value(tensor.shape)
    _dtype(stream, tensor.dtype)
    stream.value(False)
    stream.raw(data)
    stream.op(b"tb")
    return crc32(data)


def _dtype(stream: PickleStream, dtype: str) -> None:
    code = "b1" if dtype == "bool" else CODES[dtype]
    stream.call("numpy", "dtype", code, False, True)
    order = "|" if code[1] == "1" else "<"
    stream.value((3, order, None, None, None, -1, -1, 0))
    stream.op(b"b")
