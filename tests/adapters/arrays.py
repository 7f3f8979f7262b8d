"""Arrays to convert, and what is asked of their tensors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from riboswitch.errors import UsageError
from riboswitch.registry import registry
from riboswitch_adapters.tensors import to_paddle, to_torch

CONVERT = {"torch": to_torch, "paddle": to_paddle}
each = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.backend(n)) for n in CONVERT]
)


def framework(name: str) -> Any:
    """The module, imported without its warnings."""
    registry().backend(name)
    return sys.modules[name]


def shares(array: np.ndarray, tensor: Any) -> bool:
    return array.size > 0 and array.ctypes.data == tensor.data_ptr()


def lacks(error: pytest.ExceptionInfo[UsageError]) -> str:
    """The reason in the message, once the cure on its last line is checked."""
    first, last = str(error.value).splitlines()
    assert last == "Leave out copy=False to get a copy."
    return first.partition(": ")[2]


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Distinct numbers where the dtype has enough of them."""
    array = np.arange(int(np.prod(shape))).reshape(shape)
    array = array % 2 if dtype == "bool" else array % 120
    return (array * (1 - 2j) if dtype.startswith("complex") else array).astype(dtype)


BASE = numbers((4, 6), "float32")


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
