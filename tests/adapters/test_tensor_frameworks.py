"""What each framework has of its own: devices, kinds of tensors, ways of not being there."""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np
import pytest
from tests.adapters.arrays import (
    BASE,
    CONVERT,
    each,
    framework,
    lacks,
    run,
    shares,
)

from riboswitch.errors import BackendError, UsageError
from riboswitch.registry import registry
from riboswitch_adapters import tensors
from riboswitch_adapters.tensors import framework_of, to_numpy, to_paddle, to_torch

pytestmark = pytest.mark.paddle3


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
