"""NumPy arrays, torch and Paddle tensors into one another, without a copy where memory allows.

Whose a tensor is shows in `sys.modules`, so a framework is imported only when its tensors are
asked for. What is shared, copied and refused is written down in `docs/tensors.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from riboswitch.errors import BackendError, UsageError
from riboswitch.interfaces import Array
from riboswitch.registry import registry
from riboswitch_adapters.tensor_memory import (
    LENDING,
    Framework,
    copied,
    dense,
    device_name,
    dtype_of,
    home_of,
    obstacle,
    shared,
)

if TYPE_CHECKING:
    import paddle
    import torch

    AnyTensor: TypeAlias = Array | torch.Tensor | paddle.Tensor

_EVERYWHERE = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_NOT_IN_PADDLE = ("uint16", "uint32", "uint64")  # it holds them, but can do nothing with them

DTYPES: Mapping[str, Mapping[str, str]] = {
    **{name: {"numpy": name, "torch": name, "paddle": name} for name in _EVERYWHERE},
    "bfloat16": {"numpy": "float32", "torch": "bfloat16", "paddle": "bfloat16"},
    **{name: {"numpy": name, "torch": name} for name in _NOT_IN_PADDLE},
}
"""What a dtype is in each framework. Where it has another name, the values are copied, exactly."""


def to_numpy(x: AnyTensor, *, copy: bool | None = None) -> Array:
    """Make a NumPy array of a tensor of any shape and strides on any device.

    Args:
        x: What to convert. An array comes back as it is; of a tensor with a gradient the array
            has the values.
        copy: None shares the memory where it can be shared, True never does, False must.

    Returns:
        The same shape, in the dtype of `DTYPES`.

    Raises:
        UsageError: NumPy cannot hold `x`, or `copy=False` and the memory cannot be shared.
    """
    array: Array = _converted(x, "numpy", None, copy)
    return array


def to_torch(
    x: AnyTensor, *, device: str | torch.device | None = None, copy: bool | None = None
) -> torch.Tensor:
    """Make a `torch.Tensor` of an array or tensor of any shape and strides.

    Args:
        x: What to convert. A torch tensor comes back as it is; what comes from Paddle leaves
            its gradient behind.
        device: As torch names it. None is where `x` lives.
        copy: As in `to_numpy`.

    Raises:
        UsageError: torch cannot hold `x`, or `copy=False` and the memory cannot be shared.
        BackendError: torch is not installed or has no such device.
    """
    tensor: torch.Tensor = _converted(x, "torch", device, copy)
    return tensor


def to_paddle(
    x: AnyTensor, *, device: str | None = None, copy: bool | None = None
) -> paddle.Tensor:
    """Make a `paddle.Tensor` of an array or tensor of any shape and strides.

    Args:
        x: What to convert. A Paddle tensor comes back as it is; what comes from torch leaves its
            gradient behind.
        device: As Paddle names it, `cpu` or `gpu:0`. None is where `x` lives.
        copy: As in `to_numpy`.

    Raises:
        UsageError: Paddle cannot hold `x`, or `copy=False` and the memory cannot be shared.
        BackendError: Paddle is not installed, is older than 3.0 or has no such device.
    """
    return _converted(x, "paddle", device, copy)


def framework_of(x: object) -> Framework:
    """Name the framework whose tensor `x` is. Nothing is imported.

    Raises:
        UsageError: It is none of NumPy's, torch's or Paddle's.
    """
    if isinstance(x, np.ndarray):
        return "numpy"
    if isinstance(x, _tensor_class("torch")):
        return "torch"
    if isinstance(x, _tensor_class("paddle")):
        return "paddle"
    raise UsageError(
        f"{type(x).__module__}.{type(x).__qualname__} is no tensor of NumPy, torch or Paddle.\n"
        "Make an array of it first: numpy.asarray(x)"
    )


def _tensor_class(name: str) -> type | tuple[()]:
    """`Tensor` of a framework that is in use; of others, what nothing is an instance of."""
    found: type | tuple[()] = getattr(sys.modules.get(name), "Tensor", ())
    return found


def _start(name: Framework) -> None:
    """Import a framework that is not in use yet, in the way of its backend."""
    if sys.modules.get(name) is not None:
        import_module(name)  # another thread may be in the middle of it: this waits
    if name != "numpy" and not _tensor_class(name):
        registry().backend(name)
    if name == "paddle" and not hasattr(_tensor_class(name), "__dlpack__"):
        raise BackendError(
            "This Paddle is older than 3.0 and loses the strides of tensors that it exchanges.\n"
            'Install a newer one: pip install "riboswitch[paddle]"'
        )
    if name == "paddle" and not sys.modules[name].in_dynamic_mode():
        raise UsageError(
            "Paddle is in static mode in this thread; so is every thread but the one that imported "
            "it, if that was not the main one.\nCall paddle.disable_static() in this thread first."
        )


def _converted(x: Any, target: Framework, device: object, copy: bool | None) -> Any:
    owner = framework_of(x)
    _start(owner)
    _start(target)
    asked = None if device is None else _checked(device_name(device), target)
    y = x
    if owner != target:
        y = _handed_over(x, owner, target, asked, copy)
    elif copy:
        y = x.copy() if owner == "numpy" else x.clone()
    moved = y if asked is None else y.to(asked)
    if moved is not y and copy is False:
        raise _unshareable(owner, target, f"it is not on {asked}")
    return moved


def _handed_over(
    x: Any, owner: Framework, target: Framework, asked: str | None, copy: bool | None
) -> Any:
    """`x` in the other framework: on the CPU if that is where it goes, else where it is."""
    with LENDING:  # between looking whether Paddle has it and lending it, nobody else may
        return _in_turn(dense(x, owner), owner, target, asked, copy)


def _in_turn(
    x: Any, owner: Framework, target: Framework, asked: str | None, copy: bool | None
) -> Any:
    dtype, home = dtype_of(x), home_of(x)
    becomes, goes = _counterpart(dtype, owner, target), _destination(home, target, asked)
    why = obstacle(x, owner, target)
    if becomes != dtype:
        why = f"{target} has no {dtype}"
    if goes != home:
        why = f"it is on {home}"
    if why and copy is False:
        raise _unshareable(owner, target, why)
    return shared(copied(x, owner, becomes, goes) if why or copy else x, owner, target)


def _counterpart(dtype: str, owner: Framework, target: Framework) -> str:
    row = DTYPES.get(dtype, {})
    if owner in row and target in row:
        return row[target]
    have = ", ".join(name for name in DTYPES if {owner, target} <= DTYPES[name].keys())
    raise UsageError(
        f"{owner} has this tensor in {dtype}, which {target} cannot take.\n"
        f"Convert it first to one of: {have}"
    )


def _destination(home: str, target: Framework, asked: str | None) -> str:
    """Where the tensor is handed over: on the CPU, or on the device where it is."""
    if target == "numpy" or asked == "cpu":
        return "cpu"
    if asked is None:
        theirs = home.replace("gpu", "cuda") if target == "torch" else home.replace("cuda", "gpu")
        _checked(theirs, target)
    return home


def _checked(device: str, target: Framework) -> str:
    have = ("cpu",) if device == "cpu" else registry().backend(target).devices()
    if device not in have:
        raise BackendError(
            f"{target} has no device {device!r} here.\nPass device= one of: {', '.join(have)}"
        )
    return device


def _unshareable(owner: Framework, target: Framework, why: str) -> UsageError:
    return UsageError(
        f"{target} cannot share the memory of this {owner} tensor: {why}.\n"
        "Leave out copy=False to get a copy."
    )
