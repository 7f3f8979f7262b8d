"""Tensors from torch to Paddle and back, in one process, and numbers that ml_dtypes knows."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riboswitch.errors import UsageError
from riboswitch.registry import missing, registry
from riboswitch_adapters.tensors import DTYPES, to_numpy, to_paddle, to_torch

pytestmark = pytest.mark.together

both = pytest.mark.backend("torch", "paddle")
CONVERT = {"torch": to_torch, "paddle": to_paddle}
PAIRS = [("torch", "paddle"), ("paddle", "torch")]
VIEWS = {
    "plain": lambda t: t,
    "transposed": lambda t: t.T,
    "steps": lambda t: t[1::2, ::3],
    "columns": lambda t: t[:, 1:3],
    "0-d": lambda t: t[1, 2],
    "one row": lambda t: t[2:3],
}


def framework(name: str) -> Any:
    registry().backend(name)
    return sys.modules[name]


def made(name: str, shape: tuple[int, ...] = (4, 6), dtype: str = "float32") -> Any:
    """A tensor by the framework's own means, not by ours."""
    array = np.arange(int(np.prod(shape))).reshape(shape)
    module = framework(name)
    take = module.tensor if name == "torch" else module.to_tensor
    return take(array.tolist(), dtype=getattr(module, dtype)).reshape(shape)


@both
@pytest.mark.parametrize(("owner", "target"), PAIRS)
@pytest.mark.parametrize("view", VIEWS)
def test_strided_tensors_are_shared(owner, target, view):
    x = VIEWS[view](made(owner))
    y = CONVERT[target](x, copy=False)
    assert y.data_ptr() == x.data_ptr()
    assert tuple(y.shape) == tuple(x.shape)
    assert y.tolist() == x.tolist()
    for one, other, value in ((x, y, 77.0), (y, x, -5.0)):
        one.fill_(value)
        assert set(np.array(other.tolist()).flat) == {value}
    CONVERT[target](x, copy=True).fill_(3)
    assert set(np.array(x.tolist()).flat) == {-5.0}


@both
@pytest.mark.parametrize(("owner", "target"), PAIRS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_dtype_becomes_what_the_table_says(owner, target, dtype):
    if "paddle" not in DTYPES[dtype]:
        if owner == "torch":
            with pytest.raises(UsageError, match=f"(?s)torch.*{dtype}.*paddle.*bool, uint8"):
                to_paddle(made("torch", dtype=dtype))
        return
    x = made(owner, (2, 2), dtype)
    y = CONVERT[target](x, copy=False)
    assert str(y.dtype) == f"{target}.{dtype}"
    assert y.data_ptr() == x.data_ptr()
    np.testing.assert_array_equal(to_numpy(y), np.arange(4).reshape(2, 2).astype(to_numpy(y).dtype))


@both
@pytest.mark.parametrize(("owner", "target"), PAIRS)
@given(shape=st.lists(st.integers(0, 3), max_size=4), data=st.data())
def test_what_goes_there_and_back_is_the_same(owner, target, shape, data):
    x = made(owner, tuple(shape))
    axes = data.draw(st.permutations(range(len(shape))))
    x = (x.permute(axes) if owner == "torch" else x.transpose(axes)) if shape else x
    y = CONVERT[target](x)
    back = CONVERT[owner](y)
    assert tuple(y.shape) == tuple(back.shape) == tuple(x.shape)
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    np.testing.assert_array_equal(back.numpy(), x.numpy())
    if 0 not in shape:
        assert x.data_ptr() == y.data_ptr() == back.data_ptr()


@both
def test_what_goes_round_all_three_is_one_memory():
    array = np.arange(12.0).reshape(3, 4)
    end = to_numpy(to_paddle(to_torch(array, copy=False), copy=False), copy=False)
    end = to_numpy(to_torch(end, copy=False), copy=False)
    assert end.ctypes.data == array.ctypes.data
    end[1, 2] = -1
    assert array[1, 2] == -1


@both
@pytest.mark.parametrize(("owner", "target"), PAIRS)
def test_the_memory_lives_as_long_as_the_last_who_shares_it(owner, target):
    x = made(owner, (300, 300))
    expected = x.tolist()
    y = CONVERT[target](x, copy=False)
    del x
    gc.collect()
    others = [made(owner, (300, 300)) * 0 for _ in range(5)]
    assert len(others) == 5
    assert y.tolist() == expected


@both
def test_memory_that_has_been_in_paddle_before_is_freed_in_any_order():
    """In a process of its own: what goes wrong here waits for ever."""
    code = """
import itertools
import numpy as np
from riboswitch_adapters.tensors import to_numpy, to_paddle, to_torch
steps = {"n": to_numpy, "p": to_paddle, "t": to_torch, "s": lambda x: x[1:]}
for chain in itertools.product("npts", repeat=5):
    x = np.ones((9, 2))
    for step in chain:
        x = steps[step](x)
    del x
print("well")
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "well\n", done.stderr


@both
@pytest.mark.parametrize(("owner", "target"), PAIRS)
def test_gradients_stay_behind(owner, target):
    x = made(owner)
    if owner == "torch":
        x.requires_grad_()
    else:
        x.stop_gradient = False
    y = CONVERT[target](x, copy=False)
    assert y.data_ptr() == x.data_ptr()
    assert y.stop_gradient if target == "paddle" else not y.requires_grad


@both
def test_a_paddle_tensor_that_runs_backwards_is_copied_for_torch():
    x = made("paddle")[::-1]
    assert min(x.strides) < 0
    assert to_torch(x).tolist() == x.tolist()
    with pytest.raises(UsageError, match="a stride is negative"):
        to_torch(x, copy=False)


@both
def test_what_torch_negates_lazily_keeps_its_sign_in_paddle():
    torch = framework("torch")
    conjugated = torch.tensor([1 + 2j, 3 - 4j]).conj()
    assert to_paddle(conjugated.imag).tolist() == [-2, 4]
    assert to_paddle(conjugated).tolist() == [1 - 2j, 3 + 4j]
    with pytest.raises(UsageError, match="lazily"):
        to_paddle(conjugated.imag, copy=False)


@both
@pytest.mark.parametrize("order", [("torch", "paddle"), ("paddle", "torch")])
def test_either_may_be_imported_first(order):
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
import {order[0]}
import {order[1]}
import numpy as np
from riboswitch_adapters.tensors import to_numpy, to_paddle, to_torch
array = np.arange(6.0).reshape(2, 3)
end = to_numpy(to_{order[1]}(to_{order[0]}(array)))
assert end.ctypes.data == array.ctypes.data and end.tolist() == array.tolist()
print("well")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "well\n", done.stderr


@pytest.mark.parametrize("name", CONVERT)
def test_bfloat16_of_ml_dtypes_is_shared(name):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy has no bfloat16 of its own")
    if missing(registry().backends[name]):
        pytest.skip(f"{name} is not installed")
    whole = np.arange(24).reshape(4, 6).astype(ml_dtypes.bfloat16)
    for array in (whole, whole.T, whole[1::2, ::3], whole[1, 2, ...], whole[:0]):
        tensor = CONVERT[name](array, copy=False)
        assert str(tensor.dtype) == f"{name}.bfloat16"
        np.testing.assert_array_equal(to_numpy(tensor), array.astype(np.float32))
        assert not array.size or tensor.data_ptr() == array.ctypes.data
        del tensor  # else Paddle would not take the same memory again
    turned = CONVERT[name](whole[::-1])
    np.testing.assert_array_equal(to_numpy(turned), whole[::-1].astype(np.float32))
    assert to_numpy(whole) is whole
