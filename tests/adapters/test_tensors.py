"""Tensors from NumPy to torch or Paddle and back: right values, and shared memory where claimed."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riboswitch.errors import BackendError, UsageError
from riboswitch.registry import registry
from riboswitch_adapters import tensor_memory, tensors
from riboswitch_adapters.tensors import DTYPES, framework_of, to_numpy, to_paddle, to_torch

PAGE = Path(__file__).parents[2] / "docs" / "tensors.md"
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


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


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


@each
def test_devices(name):
    array = BASE.copy()
    assert shares(array, CONVERT[name](array, device="cpu", copy=False))
    for device in ("cuda:99", "gpu:99", "nonsense", "cpu:0", ""):
        with pytest.raises(BackendError, match=f"{name} has no device '{device}' (?s:.*)cpu"):
            CONVERT[name](array, device=device)


def test_a_device_keeps_its_number_in_the_other_frameworks_name(monkeypatch):
    asked = []
    monkeypatch.setattr(tensors, "_checked", lambda device, target: asked.append((device, target)))
    assert tensors._destination("cuda:1", "paddle", None) == "cuda:1"
    assert tensors._destination("gpu:1", "torch", None) == "gpu:1"
    assert tensors._destination("cpu", "torch", None) == "cpu"
    assert asked == [("gpu:1", "paddle"), ("cuda:1", "torch"), ("cpu", "torch")]
    assert tensors._destination("cuda:1", "numpy", None) == "cpu"
    assert tensors._destination("cuda:1", "paddle", "cpu") == "cpu"
    assert tensors._destination("cuda:1", "paddle", "gpu:0") == "cuda:1"


@each
def test_what_is_on_another_device_is_copied_to_the_cpu(name, monkeypatch):
    """The tensor is on the CPU, as there is no other; only the way that is taken is checked."""
    tensor = framework(name).ones([2, 3])
    monkeypatch.setattr(tensors, "home_of", lambda x: "gpu:0")
    array = to_numpy(tensor)
    assert array.tolist() == [[1.0] * 3] * 2
    assert not shares(array, tensor)
    with pytest.raises(UsageError) as error:
        to_numpy(tensor, copy=False)
    assert lacks(error) == "it is on gpu:0."


@pytest.mark.backend("torch")
def test_a_tensor_is_moved_to_the_device_that_is_asked_for(monkeypatch):
    """Without a GPU, torch's device for shapes stands in for one."""
    torch = framework("torch")
    monkeypatch.setattr(type(registry().backend("torch")), "devices", lambda self: ("meta", "cpu"))
    for x in (BASE, torch.ones(4, 6)):
        for device in ("meta", torch.device("meta")):
            assert to_torch(x, device=device).is_meta
        with pytest.raises(UsageError) as error:
            to_torch(x, device="meta", copy=False)
        assert "meta" in lacks(error)


@pytest.mark.backend("torch")
def test_tensors_of_torch_with_more_than_values():
    torch = framework("torch")
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    assert shares(to_numpy(parameter, copy=False), parameter)
    assert shares(to_numpy(parameter * 1, copy=False), parameter) is False
    with torch.inference_mode():
        inference = torch.arange(3.0)
    assert to_numpy(inference, copy=False).tolist() == [0, 1, 2]

    class Named(torch.Tensor):
        pass

    named = torch.arange(3.0).as_subclass(Named)
    assert shares(to_numpy(named, copy=False), named)
    clone = to_torch(parameter, copy=True)
    clone.sum().backward()
    assert parameter.grad.tolist() == [[1.0] * 3] * 2


@pytest.mark.backend("torch")
def test_what_torch_conjugates_or_negates_lazily_is_computed():
    torch = framework("torch")
    conjugated = torch.tensor([1 + 2j, 3 - 4j]).conj()
    for x, expected in ((conjugated, [1 - 2j, 3 + 4j]), (conjugated.imag, [-2, 4])):
        assert x.is_conj() or x.is_neg()
        assert to_numpy(x).tolist() == expected
        with pytest.raises(UsageError) as error:
            to_numpy(x, copy=False)
        assert "lazily" in lacks(error)


@pytest.mark.backend("torch")
def test_tensors_of_torch_without_plain_values_are_refused():
    torch = framework("torch")
    from torch.masked import masked_tensor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls some of these prototypes
        odd = [
            torch.eye(2).to_sparse(),
            torch.eye(2).to_sparse_csr(),
            torch.ones(2, device="meta"),
            torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            masked_tensor(torch.ones(2), torch.tensor([True, False])),
        ]
        for x in odd:
            with pytest.raises(UsageError, match=r"(?s)plainly in memory.*to_dense"):
                to_numpy(x)
    with pytest.raises(UsageError, match="float8_e5m2"):
        to_numpy(torch.ones(2).to(torch.float8_e5m2))


@pytest.mark.backend("paddle")
def test_tensors_of_paddle_with_more_than_values():
    paddle = framework("paddle")
    parameter = paddle.create_parameter([2, 3], "float32")
    assert not parameter.stop_gradient
    assert shares(to_numpy(parameter, copy=False), parameter)
    assert to_paddle(BASE).stop_gradient
    clone = to_paddle(parameter, copy=True)
    clone.sum().backward()
    assert parameter.grad.tolist() == [[1.0] * 3] * 2
    turned = paddle.to_tensor(BASE)[::-1]
    assert min(turned.strides) < 0
    assert shares(to_numpy(turned, copy=False), turned)
    np.testing.assert_array_equal(to_numpy(turned), BASE[::-1])
    with pytest.raises(UsageError, match="uint16, which numpy cannot take"):
        to_numpy(paddle.utils.dlpack.from_dlpack(np.ones(3, np.uint16)))
    sparse = paddle.sparse.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0], [2, 2])
    with pytest.raises(UsageError, match=r"(?s)plainly in memory.*to_dense"):
        to_numpy(sparse)


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


def test_a_paddle_that_loses_strides_is_refused(monkeypatch):
    old = types.ModuleType("paddle")
    old.Tensor = type("Tensor", (), {})
    monkeypatch.setitem(sys.modules, "paddle", old)
    for convert, x in ((to_paddle, BASE), (to_numpy, old.Tensor())):
        with pytest.raises(BackendError, match=r'(?s)strides.*pip install "riboswitch\[paddle\]"'):
            convert(x)


def test_half_a_framework_owns_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    monkeypatch.setitem(sys.modules, "paddle", None)
    assert framework_of(BASE) == "numpy"
    assert to_numpy(BASE) is BASE


@pytest.mark.parametrize("name", CONVERT)
def test_a_framework_that_is_not_installed_is_an_error_with_the_cure(name):
    code = f"""
import sys
sys.modules["{name}"] = None
import numpy as np
from riboswitch.errors import BackendError
from riboswitch_adapters.tensors import to_{name}
try:
    to_{name}(np.ones(3))
except BackendError as error:
    print(str(error).splitlines()[-1])
"""
    assert run(code).strip().endswith(f'pip install "riboswitch[{name}]"')


REPORT = "\nimport sys; print(sorted({'torch', 'paddle'} & {n.split('.')[0] for n in sys.modules}))"


def test_numpy_alone_imports_no_framework():
    code = (
        "import numpy as np\n"
        "from riboswitch_adapters.tensors import framework_of, to_numpy\n"
        "x = to_numpy(np.ones(3), copy=True); framework_of(x)"
    )
    assert run(code + REPORT).strip() == "[]"


@each
def test_one_framework_does_not_import_the_other(name):
    code = (
        "import numpy as np\n"
        f"from riboswitch_adapters.tensors import to_numpy, to_{name}\n"
        f"to_numpy(to_{name}(np.ones(3), device='cpu'))"
    )
    assert run(code + REPORT).strip() == f"['{name}']"


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
