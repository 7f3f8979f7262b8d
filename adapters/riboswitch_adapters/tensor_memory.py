"""How each framework's tensors lie in memory: whether another can share it, and what to do if not.

The frameworks concerned are in use already; none is imported here.
"""

from __future__ import annotations

import sys
from threading import Lock
from typing import Any, Literal
from weakref import ref

import numpy as np

from riboswitch.errors import UsageError
from riboswitch.interfaces import Array

Framework = Literal["numpy", "torch", "paddle"]

LENDING = Lock()
_LENT: dict[int, ref[Array]] = {}
"""What Paddle holds of others' memory on the CPU: arrays that live until it gives them back.

Paddle notes by address how to give memory back, and locks the notes meanwhile. The same memory
given twice would never be freed, or, where giving back one frees the other, end in a deadlock.
"""


def dtype_of(x: Any) -> str:
    """Name the dtype of any framework's tensor as NumPy does."""
    name = str(getattr(x.dtype, "name", ""))
    if isinstance(x, np.ndarray) or name == "UINT16":  # which Paddle writes as paddle.bfloat16
        return name.lower()
    return str(x.dtype).rpartition(".")[2]


def home_of(x: Any) -> str:
    """Name the device of any framework's tensor as the framework does."""
    if isinstance(x, np.ndarray):
        return "cpu"
    return device_name(x.place if hasattr(x, "place") else x.device)


def device_name(device: object) -> str:
    """Name a device: `gpu:0` for Paddle's `Place(gpu:0)`."""
    return str(device).removeprefix("Place(").removesuffix(")")


def dense(x: Any, owner: Framework) -> Any:
    """Return the values of `x` in the same memory, without gradient.

    Raises:
        UsageError: They do not lie plainly in memory.
    """
    if not _is_dense(x, owner):
        raise UsageError(
            f"The values of this {type(x).__qualname__} do not lie plainly in memory.\n"
            "Make it dense first, as with x.to_dense(), x.dequantize() or x.filled()."
        )
    return np.asarray(x) if owner == "numpy" else x.detach()


def _is_dense(x: Any, owner: Framework) -> bool:
    """Whether it is neither masked nor a wrapper, sparse, nested, quantized or without values."""
    if owner == "numpy":
        return not isinstance(x, np.ma.MaskedArray)
    if owner == "paddle":
        return bool(x.is_dense()) and not x.is_dist()
    torch = sys.modules["torch"]
    wrapper = type(x).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__
    odd = wrapper or x.is_meta or x.is_quantized or x.is_nested
    return not odd and x.layout is torch.strided


def obstacle(x: Any, owner: Framework, target: Framework) -> str:
    """Say why the target cannot share the memory of a dense tensor as it lies, or nothing."""
    found = ""
    if owner == "torch" and (x.is_conj() or x.is_neg()):  # DLPack would lose the sign
        found = "it is conjugated or negated lazily"
    elif owner == "paddle" and target == "torch" and min(x.strides, default=0) < 0:
        found = "a stride is negative"  # at which torch ends the process
    elif owner == "numpy":
        found = _obstacle_of_array(x)
    if not found and target == "paddle" and home_of(x) == "cpu" and _is_lent(_array(x)):
        found = "Paddle has this memory already, and does not free what it has twice"
    return found


def _obstacle_of_array(x: Array) -> str:
    if not x.flags.writeable:
        return "it is read-only, and would become writable"
    if not (x.dtype.isnative and x.flags.aligned):
        return "its numbers are in another byte order or not aligned"
    if any(stride < 0 or stride % x.itemsize for stride in x.strides):
        return "a stride is negative or no multiple of the numbers' size"
    return ""


def copied(x: Any, owner: Framework, dtype: str, device: str) -> Any:
    """Copy a dense tensor, in C order and without obstacles; the device is its own or the CPU."""
    if owner == "numpy":
        return np.array(x, x.dtype.newbyteorder("="), order="C")
    if owner == "torch":
        torch = sys.modules["torch"]
        return torch.empty(x.shape, dtype=getattr(torch, dtype), device=device).copy_(x)
    y = x.clone() if dtype_of(x) == dtype else x.astype(dtype)
    return y.cpu() if device == "cpu" else y


def shared(x: Any, owner: Framework, target: Framework) -> Any:
    """Make the target's tensor of the memory of another's dense tensor without obstacles."""
    if target == "numpy":
        return _array(x) if owner == "torch" else np.from_dlpack(x)
    module = sys.modules[target]
    if owner == "paddle":
        return module.from_dlpack(x)
    if home_of(x) != "cpu":
        return module.utils.dlpack.from_dlpack(x)
    take = module.from_numpy if target == "torch" else _lend  # older torch lacks dtypes in DLPack
    brain = dtype_of(x) == "bfloat16"
    return take(_array(x)).view(module.bfloat16) if brain else take(_array(x))


def _array(x: Any) -> Array:
    """The memory of an array, or a torch tensor on the CPU, as one that NumPy can export."""
    brain = dtype_of(x) == "bfloat16"
    if isinstance(x, np.ndarray):  # this bfloat16 is ml_dtypes'
        return x.view(np.int16) if brain else x
    # By DLPack, what comes from older versions of torch would be read-only in NumPy.
    array: Array = (x.view(sys.modules["torch"].int16) if brain else x).numpy()
    return array


def _lend(array: Array) -> Any:
    """Give memory to Paddle and keep note of it until it comes back."""
    lent = array.view() if array.size else array.copy()  # a new object, of an address of its own
    for key in [key for key, held in list(_LENT.items()) if held() is None]:
        _LENT.pop(key, None)
    _LENT[id(lent)] = ref(lent)
    return sys.modules["paddle"].utils.dlpack.from_dlpack(lent)


def _is_lent(array: Array) -> bool:
    held = [found for noted in list(_LENT.values()) if (found := noted()) is not None]
    return any(np.may_share_memory(array, other) for other in held)
