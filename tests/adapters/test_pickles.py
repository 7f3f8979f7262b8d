"""The pickle interpreter against pickle itself."""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from riboswitch.errors import CheckpointError
from riboswitch_adapters.readers.lazy import LazyTensor
from riboswitch_adapters.readers.pickle_values import Namespace
from riboswitch_adapters.readers.pickles import read_pickle

PROTOCOLS = [2, 3, 4, 5]
DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "u2", "b1", ">f4", ">f8", ">i2", ">u2"]
LEAVES = st.none() | st.booleans() | st.integers(-(2**127), 2**127 - 1) | st.floats() | st.text()
KEYS = st.text() | st.integers(-(2**63), 2**63 - 1)
TREES = st.recursive(
    LEAVES | st.binary(max_size=256),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


def read(value: Any, protocol: int) -> Any:
    return read_pickle(memoryview(pickle.dumps(value, protocol)))


def same(left: Any, right: Any) -> bool:
    """Equal in type and value, NaN included: their own pickles agree."""
    return pickle.dumps(left, 4) == pickle.dumps(right, 4) or repr(left) == repr(right)


def must_equal(lazy: Any, array: np.ndarray[Any, Any]) -> None:
    assert isinstance(lazy, LazyTensor)
    assert (lazy.shape, lazy.dtype) == (array.shape, array.dtype.name)
    found = lazy.read()
    assert found.shape == array.shape and found.dtype == array.dtype.newbyteorder("=")
    assert found.tobytes() == array.astype(found.dtype).tobytes()


@given(TREES, st.sampled_from(PROTOCOLS))
@settings(deadline=None)
def test_plain_trees_come_back(tree: Any, protocol: int) -> None:
    assert same(read(tree, protocol), tree)


@given(st.dictionaries(st.text(), ARRAYS, max_size=4), st.sampled_from(PROTOCOLS))
@settings(deadline=None)
def test_arrays_come_back(arrays: dict[str, Any], protocol: int) -> None:
    found = read(arrays, protocol)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        must_equal(found[name], array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 70_000])
def test_large_arrays_come_back(protocol: int, count: int) -> None:
    array = np.random.default_rng(0).standard_normal(count).astype("f4")
    found = read({"w": array, "t": array.reshape(-1, 1), "again": array}, protocol)
    for name in ("w", "again"):
        must_equal(found[name], array)
    must_equal(found["t"], array.reshape(-1, 1))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fortran_order_and_views_come_back(protocol: int) -> None:
    array = np.arange(24.0).reshape(4, 6)
    for view in (np.asfortranarray(array), array.T, array[1:3, ::2], array[::-1]):
        must_equal(read([view], protocol)[0], view)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_namespaces_scalars_and_ordered_dicts_come_back(protocol: int) -> None:
    ordered = OrderedDict([("b", 1), ("a", 2)])
    given = {"args": argparse.Namespace(layers=12, arch="x"), "s": np.float32(0.5), "o": ordered}
    found = read(given, protocol)
    assert type(found["args"]) is Namespace and found["args"] == {"layers": 12, "arch": "x"}
    assert found["s"] == 0.5
    assert type(found["o"]) is dict and list(found["o"].items()) == list(ordered.items())


def test_aligned_bytes_are_views_of_the_file_and_others_are_copied() -> None:
    array = np.arange(100_000, dtype="f4")
    owned = set()
    for n in range(4):  # the name's length moves the bytes
        tree: Any = read({"w" * n: array}, 3)
        found = tree["w" * n].read()
        assert found.flags.aligned and found.flags.writeable == found.flags.owndata
        owned.add(bool(found.flags.owndata))
    assert owned == {True, False}


def test_a_deep_but_sensible_tree_is_read() -> None:
    tree: Any = 1
    for _ in range(60):
        tree = [tree]
    assert read(tree, 4) == tree
    with pytest.raises(CheckpointError, match="deeper than 64"):
        read([[[[[tree]]]]], 4)


def test_sharing_is_kept() -> None:
    shared = [1]
    found = read({"a": shared, "b": shared}, 4)
    assert found["a"] is found["b"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x80\x02cos\nsystem\n.", "byte 2 of the pickle: it asks for 'os.system'"),
        (b"\x80\x02}K\x01I1\ns.", r"byte 5 of the pickle: opcode b'I'"),
        (b"\x80\x02N", "byte 3 of the pickle: damaged or cut short: IndexError"),
        (b"\x80\x02NN.", "values left over"),
        (b"\x80\x02N..", "1 bytes follow the end"),
        (b"\x80\x06N.", "protocol, 2 to 5"),
        (b"N.", "protocol, 2 to 5"),
        (b"", "damaged or cut short"),
        (b"\x80\x02\x8a\x11" + bytes(17) + b".", "number of 17 bytes"),
        (b"\x80\x04\x95\x09" + bytes(7) + b"N.", "frame of 9 bytes"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "18446744073709551615 bytes are announced"),
        (b"\x80\x02(X\x01\x00\x00\x00sNtQ.", "persistent id"),
        (b"\x80\x02]q\x00h\x00a.", "holds itself"),
        (b"\x80\x02}G" + bytes(8) + b"Ns.", "float for a key"),
        (b"\x80\x02ctorch\nFloatStorage\n.", "Name stands where"),
        (b"\x80\x02cnumpy\nndarray\n)R.", "numpy.ndarray is called"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "object of numpy.ndarray"),
        (b"\x80\x02]}b.", "attributes are set on a list"),
    ],
)
def test_refusals_name_the_offset_and_the_cause(data: bytes, said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as error:
        read_pickle(memoryview(data))
    assert str(error.value).count("\n") == 1


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=300)
def test_any_bytes_end_in_a_value_or_a_refusal(tail: bytes) -> None:
    try:
        read_pickle(memoryview(b"\x80\x04" + tail))
    except CheckpointError as error:
        assert "pickle" in str(error)


@given(st.data(), st.sampled_from(PROTOCOLS))
@settings(deadline=None, max_examples=300)
def test_any_damage_ends_in_a_value_or_a_refusal(data: st.DataObject, protocol: int) -> None:
    tree = {"w": np.arange(6.0).reshape(2, 3), "a": argparse.Namespace(n=1), "s": np.float32(1)}
    raw = bytearray(pickle.dumps(tree, protocol))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_pickle(memoryview(bytes(raw)))
    except CheckpointError as error:
        assert "pickle" in str(error)
