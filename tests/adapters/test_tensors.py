"""Tensors from NumPy to torch or Paddle and back: right values, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.arrays import (
    BASE,
    CONVERT,
    each,
    framework,
    lacks,
    numbers,
    read_only,
    shares,
)

from riboswitch.errors import UsageError
from riboswitch_adapters.tensors import DTYPES, framework_of, to_numpy, to_paddle, to_torch

pytestmark = pytest.mark.paddle3

PAGE = Path(__file__).parents[2] / "docs" / "tensors.md"


@each
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_dtype_becomes_what_the_table_says(name, dtype):
    module, row = framework(name), DTYPES[dtype]
    if name not in row:
        with pytest.raises(UsageError, match=f"(?s)numpy.*{dtype}.*{name}.*bool, uint8"):
            CONVERT[name](np.ones(3, dtype))
        return
    made = module.ones([2, 3], dtype=getattr(module, dtype))
    array = to_numpy(made)
    assert array.dtype == row["numpy"]
    assert array.dtype.isnative and array.all()
    assert shares(array, made) is (row["numpy"] == dtype)
    if row["numpy"] == dtype:
        tensor = CONVERT[name](numbers((2, 3), dtype), copy=False)
        assert str(tensor.dtype) == f"{name}.{dtype}"
        np.testing.assert_array_equal(tensor.numpy(), numbers((2, 3), dtype))
    else:
        with pytest.raises(UsageError) as error:
            to_numpy(made, copy=False)
        assert lacks(error) == f"numpy has no {dtype}."


@st.composite
def views(draw: st.DrawFn) -> np.ndarray:
    """Arrays of up to four axes, sliced with steps, turned round, transposed, repeated."""
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    array = numbers(shape, draw(st.sampled_from([d for d in DTYPES if len(DTYPES[d]) == 3][:-1])))
    steps = [draw(st.sampled_from([1, 1, 1, 2, 3, -1, -2])) for _ in shape]
    array = array[(*(slice(None, None, step) for step in steps), ...)]
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    if draw(st.booleans()):
        array = array.astype(array.dtype.newbyteorder(draw(st.sampled_from("<>"))), order="K")
    if draw(st.integers(0, 4)) == 0:
        array = np.broadcast_to(array, (2, *array.shape))
    return array


@each
@given(array=views())
def test_what_goes_there_and_back_is_the_same(name, array):
    tensor = CONVERT[name](array)
    back = to_numpy(tensor)
    assert tuple(tensor.shape) == back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(tensor.numpy(), array)
    np.testing.assert_array_equal(back, array)
    if array.size:
        assert back.ctypes.data == tensor.data_ptr()
        plain = array.dtype.isnative and array.flags.writeable and min([0, *array.strides]) == 0
        assert shares(array, tensor) is plain


@each
def test_special_numbers_keep_their_bits(name):
    array = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    for copy in (None, True):
        back = to_numpy(CONVERT[name](array, copy=copy), copy=copy)
        assert back.tobytes() == array.tobytes()


@each
def test_every_bfloat16_is_the_same_number_in_float32(name):
    module = framework(name)
    patterns = np.arange(-(1 << 15), 1 << 15).astype(np.int16)
    tensor = CONVERT[name](patterns).view(module.bfloat16)
    array = to_numpy(tensor)
    expected = (patterns.astype(np.uint16).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(array, expected)  # of NaN it is enough that it is one
    with np.errstate(invalid="ignore"):
        again = CONVERT[name](array).to(module.bfloat16)
    np.testing.assert_array_equal(to_numpy(again), expected)


@each
def test_a_tensor_that_is_there_already_comes_back_as_it_is(name):
    tensor = framework(name).ones([2, 3])
    assert CONVERT[name](tensor) is tensor
    assert CONVERT[name](tensor, copy=False, device="cpu") is tensor
    other = CONVERT[name](tensor, copy=True)
    assert other.data_ptr() != tensor.data_ptr()
    np.testing.assert_array_equal(other.numpy(), tensor.numpy())


def test_an_array_comes_back_as_it_is():
    for array in (BASE, read_only(BASE.copy()), BASE.astype(">f8"), np.array(["a", None])):
        assert to_numpy(array) is array
        assert to_numpy(array, copy=False) is array
        assert not np.shares_memory(to_numpy(array, copy=True), array)
        np.testing.assert_array_equal(to_numpy(array, copy=True), array)


@each
@pytest.mark.parametrize(
    "array",
    [
        np.array(["ACGU"]), np.array([b"ACGU"]), np.array([None]), np.zeros(2, "M8[s]"),
        np.zeros(2, [("x", "f4")]), np.zeros(2, "V4"), np.zeros(2, np.longdouble),
    ],
    ids=lambda array: str(array.dtype),
)  # fmt: skip
def test_arrays_of_no_numbers_are_refused(name, array):
    with pytest.raises(UsageError, match=f"(?s){name} cannot take.*Convert it first to one of"):
        CONVERT[name](array)


@each
def test_masked_arrays_are_refused_and_other_subclasses_taken(name):
    with pytest.raises(UsageError, match=r"MaskedArray(?s:.*)filled"):
        CONVERT[name](np.ma.masked_array([1.0, 2.0], [False, True]))

    class Named(np.ndarray):
        pass

    array = BASE.copy().view(Named)
    assert shares(array, CONVERT[name](array, copy=False))


@pytest.mark.parametrize("x", [[1.0], 3.0, None, "ACGU", np.float32(1), object(), np.ndarray])
def test_what_is_no_tensor_is_refused(x):
    for convert in (to_numpy, to_torch, to_paddle, framework_of):
        with pytest.raises(UsageError, match=r"is no tensor(?s:.*)numpy\.asarray"):
            convert(x)


def test_the_table_of_the_documentation_is_that_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (.+) \|$", PAGE.read_text("utf-8"), re.M)
    found = {
        dtype: dict(zip(("numpy", "torch", "paddle"), row, strict=True)) for dtype, *row in rows
    }
    assert found == {dtype: {n: cell(dtype, n) for n in found[dtype]} for dtype in DTYPES}


def cell(dtype: str, name: str) -> str:
    becomes = DTYPES[dtype].get(name)
    if becomes is None:
        return "refused"
    return f"`{becomes}`" if becomes == dtype else f"`{becomes}`, copied"
