"""The global names that a checkpoint's pickle may hold, each answered by data, none by code.

torch.save writes the torch names, paddle.save and pickled NumPy arrays the others.
`builtins.tuple` is how paddle.save writes a bare tensor, `builtins.bytes` how protocol 2 writes
the bytes of an empty array.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from riboswitch_adapters.readers.lazy import CODES, LazyTensor, contiguous, itemsize, lazy_tensor
from riboswitch_adapters.readers.mapped import refusal
from riboswitch_adapters.readers.pickle_values import (
    Dtype,
    Ledger,
    LongText,
    Name,
    Shell,
    TypedStorage,
)

Arguments = tuple[Any, ...]

STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
}
_NUMPY = {code: name for name, code in CODES.items() if name not in ("bfloat16", "bool")}
_NUMPY["b1"] = "bool"


def _must(condition: bool, what: str) -> None:
    if not condition:
        raise refusal(f"{what} has arguments that its writers never give it")


def _ordered_dict(_: Ledger, args: Arguments) -> object:
    _must(args == (), "collections.OrderedDict")
    return {}


def _tensor(ledger: Ledger, args: Arguments) -> object:
    _must(4 <= len(args) <= 7 and isinstance(args[0], TypedStorage), "_rebuild_tensor")
    typed, offset, shape, strides, *rest = args
    _must(not (len(rest) > 2 and rest[2] is not None), "_rebuild_tensor")
    return ledger.enter(lazy_tensor(typed.storage, typed.dtype, shape, strides, offset))


def _parameter(_: Ledger, args: Arguments) -> object:
    _must(len(args) == 3 and isinstance(args[0], LazyTensor), "_rebuild_parameter")
    return args[0]


def _size(_: Ledger, args: Arguments) -> object:
    _must(len(args) == 1 and type(args[0]) is tuple, "torch.Size")
    _must(all(type(size) is int for size in args[0]), "torch.Size")
    return args[0]


def _dtype(_: Ledger, args: Arguments) -> object:
    _must(len(args) == 3 and isinstance(args[0], str), "numpy.dtype")
    if args[0] not in _NUMPY:
        raise refusal(f"an array has the dtype {args[0][:40]!a}, which no weights have")
    return Dtype(_NUMPY[args[0]])


def _reconstruct(_: Ledger, args: Arguments) -> object:
    _must(len(args) == 3 and isinstance(args[0], Name), "_reconstruct")
    _must(args[0].text == "numpy.ndarray" and args[2] == b"b", "_reconstruct")
    return Shell()


def fill(ledger: Ledger, shell: Shell, state: Any) -> None:
    """BUILD of an array: version, shape, dtype, whether in Fortran's order, bytes."""
    _must(type(state) is tuple and len(state) == 5 and shell.tensor is None, "an array")
    _, shape, dtype, fortran, raw = state
    shell.tensor = _array(ledger, raw, dtype, shape, bool(fortran))


def set_order(dtype: Dtype, state: Any) -> None:
    """BUILD of a dtype: version, byte order and fields that only structured dtypes have."""
    _must(type(state) is tuple and len(state) == 8, "numpy.dtype")
    _must(state[1] in ("<", ">", "|", "=") and state[2:5] == (None, None, None), "numpy.dtype")
    dtype.order = ">" if state[1] == ">" else "<"


def _from_buffer(ledger: Ledger, args: Arguments) -> object:
    _must(len(args) == 4 and args[3] in ("C", "F"), "_frombuffer")
    raw, dtype, shape, order = args
    return _array(ledger, raw, dtype, shape, order == "F")


def _array(ledger: Ledger, raw: object, dtype: Any, shape: Any, fortran: bool) -> LazyTensor:
    _must(isinstance(dtype, Dtype) and type(shape) is tuple, "an array")
    _must(len(shape) <= 64 and all(type(n) is int and 0 <= n < 2**48 for n in shape), "an array")
    storage, strides = ledger.storage(raw), contiguous(shape, fortran)
    count = math.prod(shape) * itemsize(dtype.name)
    if count != storage.size:
        raise refusal(f"an array of shape {shape} has {storage.size} bytes instead of {count}")
    if count == 0:
        strides = (0,) * len(shape)
    return ledger.enter(lazy_tensor(storage, dtype.name, shape, strides, 0, dtype.order))


def _scalar(ledger: Ledger, args: Arguments) -> object:
    _must(len(args) == 2, "scalar")
    return _array(ledger, args[1], args[0], (), False).read().item()


def _encode(_: Ledger, args: Arguments) -> object:
    _must(len(args) == 2 and args[1] == "latin1", "_codecs.encode")
    if isinstance(args[0], LongText):
        return args[0]
    _must(isinstance(args[0], str), "_codecs.encode")
    return str(args[0]).encode("latin-1")


def _no_bytes(_: Ledger, args: Arguments) -> object:
    _must(args == (), "bytes")
    return b""


def _tuple(_: Ledger, args: Arguments) -> object:
    _must(len(args) == 1 and type(args[0]) is tuple, "tuple")
    return args[0]


CALLS: dict[str, Callable[[Ledger, Arguments], object]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "numpy.dtype": _dtype,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,
    "builtins.tuple": _tuple,
}
_RENAMED = {"numpy.core.": "numpy._core.", "__builtin__.": "builtins."}
_KNOWN = {*CALLS, *STORAGES, "argparse.Namespace", "numpy.ndarray"}


def known_name(module: str, name: str) -> Name:
    """The name as data.

    Raises:
        CheckpointError: a name that no checkpoint needs.
    """
    text = f"{module}.{name}"
    for old, new in _RENAMED.items():
        if text.startswith(old):
            text = new + text[len(old) :]
    if text not in _KNOWN:
        raise refusal(f"it asks for {text[:120]!a}, and only tensors, numbers and names are read")
    return Name(text)
