"""Memory that an array and a tensor share: where it is claimed, for as long as either lives."""

from __future__ import annotations

import gc
import sys

import numpy as np
import pytest
from tests.adapters.arrays import (
    BASE,
    CONVERT,
    each,
    framework,
    lacks,
    numbers,
    read_only,
    run,
    shares,
)

from riboswitch.errors import UsageError
from riboswitch_adapters import tensor_memory
from riboswitch_adapters.tensors import framework_of, to_numpy, to_paddle

pytestmark = pytest.mark.paddle3

LAYOUTS = {
    # name: how it is made of a writable (4, 6), and whether torch and Paddle share it
    "plain": (lambda a: a, True),
    "transposed": (lambda a: a.T, True),
    "steps": (lambda a: a[1::2, ::3], True),
    "columns": (lambda a: a[:, 1:3], True),
    "one row": (lambda a: a[2:3], True),
    "0-d": (lambda a: a[1, 2, ...], True),
    "fortran": (np.asfortranarray, True),
    "overlapping": (lambda a: np.lib.stride_tricks.as_strided(a, (5, 3), (4, 4)), True),
    "one row for all": (lambda a: np.lib.stride_tricks.as_strided(a, (5, 6), (0, 4)), True),
    "reversed": (lambda a: a[::-1], False),
    "steps back": (lambda a: a[:, ::-2], False),
    "read-only": (lambda a: read_only(a), False),
    "broadcast": (lambda a: np.broadcast_to(a[0], (5, 6)), False),  # NumPy makes it read-only
    "big-endian": (lambda a: a.astype(">f4"), False),
    "misaligned": (lambda a: misaligned(a), False),
    "field of a record": (lambda a: records(a)["x"], False),
    "aligned field": (lambda a: complex_records(a)["x"], False),
}


def misaligned(array: np.ndarray) -> np.ndarray:
    view = np.frombuffer(bytearray(array.nbytes + 1), np.uint8)[1:].view(array.dtype)
    view = view.reshape(array.shape)
    view[...] = array
    return view


def records(array: np.ndarray) -> np.ndarray:
    found = np.zeros(array.shape, np.dtype([("x", "f4"), ("y", "i2")], align=False))
    found["x"] = array
    return found


def complex_records(array: np.ndarray) -> np.ndarray:
    """Of 12 bytes each: aligned for a complex64, which steps of its 8 bytes do not reach."""
    found = np.zeros(array.shape, np.dtype([("x", "c8"), ("y", "f4")], align=True))
    found["x"] = array
    assert found["x"].flags.aligned
    return found


@each
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_array_of_any_layout_is_right_and_is_shared_where_it_can_be(name, layout):
    make, shareable = LAYOUTS[layout]
    array = make(BASE.copy())
    tensor = CONVERT[name](array)
    assert framework_of(tensor) == name
    assert tuple(tensor.shape) == array.shape
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert shares(array, tensor) is shareable
    del tensor  # else Paddle would copy
    assert not shares(array, CONVERT[name](array, copy=True))
    np.testing.assert_array_equal(CONVERT[name](array, copy=True).numpy(), array)
    if shareable:
        assert shares(array, CONVERT[name](array, copy=False))
    else:
        with pytest.raises(UsageError) as error:
            CONVERT[name](array, copy=False)
        assert lacks(error)


@each
@pytest.mark.parametrize("layout", ["plain", "transposed", "steps", "columns"])
def test_what_is_written_on_one_side_is_seen_on_the_other(name, layout):
    array = LAYOUTS[layout][0](BASE.copy())
    tensor = CONVERT[name](array)
    array[0, 1] = 77
    assert float(tensor[0, 1]) == 77
    tensor[1, 0] = -5
    assert array[1, 0] == -5
    back = to_numpy(tensor)
    tensor[1, 1] = 9
    assert back[1, 1] == array[1, 1] == 9
    back[0, 0] = 8
    assert float(tensor[0, 0]) == array[0, 0] == 8
    other = CONVERT[name](array, copy=True)
    other[0, 0] = 3
    assert array[0, 0] == 8


@each
def test_a_read_only_array_cannot_be_written_through_the_tensor(name):
    array = read_only(BASE.copy())
    tensor = CONVERT[name](array)
    tensor[0, 0] = 99
    np.testing.assert_array_equal(array, BASE)


@each
def test_the_memory_lives_as_long_as_the_last_who_shares_it(name):
    expected = numbers((300, 300), "float64")
    for direction in (CONVERT[name], to_numpy):
        for rows in (slice(None), slice(1, None), slice(None, None, 2)):
            source = expected.copy()
            if direction is to_numpy:  # of a tensor that owns its memory
                source = CONVERT[name](source).clone()
            kept = direction(source[rows], copy=False)
            del source
            gc.collect()
            others = [direction(kept, copy=True) * 0 for _ in range(9)]
            assert len(others) == 9
            np.testing.assert_array_equal(np.array(kept.tolist()), expected[rows])


@each
def test_the_arrays_memory_is_given_back(name):
    array = BASE.copy()
    before = sys.getrefcount(array)
    tensor = CONVERT[name](array)
    assert sys.getrefcount(array) > before
    del tensor
    gc.collect()
    assert sys.getrefcount(array) == before


def refusal(array: np.ndarray) -> str:
    with pytest.raises(UsageError) as error:
        to_paddle(array, copy=False)
    return lacks(error)


@pytest.mark.backend("paddle")
def test_paddle_is_given_no_memory_twice():
    """It would never free it, or wait for ever when it does."""
    framework("paddle")
    array = np.arange(12.0)
    before = sys.getrefcount(array)
    first = to_paddle(array[:8], copy=False)
    for part in (array, array[:8], array[7:], array[::-1][5:]):
        assert not shares(part, to_paddle(part))
        np.testing.assert_array_equal(to_paddle(part).numpy(), part)
        if part.strides[0] > 0:
            assert "Paddle has this memory already" in refusal(part)
    assert shares(array[8:], to_paddle(array[8:], copy=False))
    derived = first[2:].reshape([2, 3])
    del first
    assert not shares(array, to_paddle(array))
    del derived, part
    gc.collect()  # the errors' frames
    assert sys.getrefcount(array) == before
    assert shares(array, to_paddle(array, copy=False))
    assert sys.getrefcount(array) == before


@pytest.mark.backend("paddle")
def test_empty_arrays_are_given_back_by_paddle():
    framework("paddle")
    array = np.zeros((0, 3))
    before = sys.getrefcount(array)
    kept = [to_paddle(array) for _ in range(3)]
    assert [tuple(tensor.shape) for tensor in kept] == [(0, 3)] * 3
    assert sys.getrefcount(array) == before
    kept.clear()
    to_paddle(np.ones(1))
    assert len(tensor_memory._LENT) <= 2


@pytest.mark.backend("paddle")
def test_memory_that_has_been_in_paddle_before_is_freed_in_any_order():
    """In a process of its own: what goes wrong here waits for ever."""
    code = """
import itertools
import numpy as np
from riboswitch_adapters.tensors import to_numpy, to_paddle
steps = {"n": to_numpy, "p": to_paddle, "s": lambda x: x[1:]}
for chain in itertools.product("nps", repeat=5):
    x = np.ones((9, 2)) if chain[0] != "s" else to_paddle(np.ones((9, 2)), copy=True)
    for step in chain:
        x = steps[step](x)
    del x
print("well")
"""
    assert run(code) == "well\n"


@each
def test_a_large_tensor_is_converted_without_another_of_its_size(name):
    code = f"""
import numpy as np
from riboswitch_adapters.tensors import to_numpy, to_{name}
def peak():
    try:
        lines = open("/proc/self/status").read().splitlines()
    except FileNotFoundError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
to_numpy(to_{name}(np.ones(3, np.float32)))
array = np.ones(1 << 26, np.float32)
before = peak()
back = to_numpy(to_{name}(array))
assert back.ctypes.data == array.ctypes.data
print(peak() - before)
"""
    assert int(run(code)) < 32 << 10  # KiB, of an array of 256 MiB


@pytest.mark.backend("paddle")
def test_paddle_computes_with_the_strides_that_it_shares():
    paddle = framework("paddle")
    whole = np.random.default_rng(0).standard_normal((4, 6, 5)).astype(np.float32)
    for array in (whole.T, whole[::2, 1::2, ::2], whole.transpose(1, 0, 2)):
        tensor = to_paddle(array, copy=False)
        np.testing.assert_allclose(tensor.sum(1).numpy(), array.sum(1), rtol=1e-5)
        np.testing.assert_array_equal(tensor.reshape([-1]).numpy(), array.reshape(-1))
        product = paddle.matmul(tensor, tensor.transpose([0, 2, 1])).numpy()
        np.testing.assert_allclose(product, array @ array.transpose(0, 2, 1), atol=1e-5)
        outside = whole.sum(dtype=float) - array.sum(dtype=float)
        tensor.add_(paddle.ones([1]))
        assert whole.sum(dtype=float) - array.sum(dtype=float) == pytest.approx(outside)
        np.testing.assert_array_equal(tensor.numpy(), array)
        del tensor  # else Paddle would not take the same memory again
