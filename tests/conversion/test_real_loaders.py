"""What is written is what torch, Paddle and safetensors themselves read."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import pytest
from attrs import frozen
from safetensors import safe_open

from riboswitch.conversion.write import save
from riboswitch.interfaces import Draft
from riboswitch.registry import registry

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
          "bool")  # fmt: skip
SHAPES = ((), (1,), (3, 5), (0, 4), (2, 3, 4))


@frozen
class Held:
    """A tensor in memory."""

    array: np.ndarray
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def read(self) -> np.ndarray:
        return self.array


def drawn(shape: tuple[int, ...], dtype: str) -> Held:
    numbers = np.random.default_rng(len(shape)).integers(0, 2 if dtype == "bool" else 100, shape)
    # Halves and quarters of small numbers are exact in every floating dtype.
    fraction = 4 if "float" in dtype else 1
    held = "float32" if dtype == "bfloat16" else dtype
    return Held(np.asarray(numbers / fraction, held), dtype)


@pytest.fixture
def tensors() -> dict[str, Held]:
    made = {f"{d}.{len(s)}": drawn(s, d) for d in DTYPES for s in SHAPES}
    matrix = np.arange(12, dtype="f4").reshape(3, 4)
    views = {"transposed": matrix.T, "strided": matrix[:, ::2]}
    return {**made, **{name: Held(array, "float32") for name, array in views.items()}}


def written(path: Path, container: str, tensors: dict[str, Held], config=None) -> Path:
    registry().write_checkpoint(path, Draft(container=container, tensors=tensors, config=config))
    return path


@pytest.mark.parametrize("container", ["torch", "paddle", "safetensors"])
def test_our_own_reader(container, tensors, tmp_path) -> None:
    checkpoint = registry().open_checkpoint(written(tmp_path / "x", container, tensors))
    assert checkpoint.container == container
    assert list(checkpoint.tensors) == list(tensors)
    for name, tensor in checkpoint.tensors.items():
        assert (tensor.shape, tensor.dtype) == (tensors[name].shape, tensors[name].dtype), name
        np.testing.assert_array_equal(tensor.read(), tensors[name].array)


def test_safetensors(tensors, tmp_path) -> None:
    with safe_open(written(tmp_path / "x", "safetensors", tensors), framework="np") as file:
        assert list(file.keys()) == sorted(tensors)
        assert file.metadata()["format"] == "pt"
        for name in tensors:
            if "bfloat16" not in name:
                np.testing.assert_array_equal(file.get_tensor(name), tensors[name].array)


@pytest.mark.backend("torch")
@pytest.mark.parametrize("mapped", [False, True])
def test_torch(tensors, tmp_path, mapped) -> None:
    import torch

    twice = {**tensors, "again": tensors["transposed"]}
    path = written(tmp_path / "x", "torch", twice)
    found = torch.load(path, weights_only=True, mmap=mapped)
    assert list(found) == list(twice)
    for name, tensor in found.items():
        assert tensor.dtype == getattr(torch, twice[name].dtype)
        array = tensor.float().numpy() if "bfloat16" in name else tensor.numpy()
        np.testing.assert_array_equal(array, twice[name].array)
    assert found["again"].data_ptr() == found["transposed"].data_ptr()


@pytest.mark.backend("torch")
def test_torch_with_arguments(tensors, tmp_path) -> None:
    import torch

    config = {"arch": "x", "layers": 3, "share": 0.5, "off": False, "none": None, "many": [1, (2,)]}
    path = written(tmp_path / "x", "torch", tensors, config)
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        found = torch.load(path, weights_only=True)
    finally:
        torch.serialization.clear_safe_globals()
    assert vars(found["args"]) == config
    assert list(found["model"]) == list(tensors)


@pytest.mark.backend("torch")
def test_bfloat16_through_safetensors_own_torch_reader(tensors, tmp_path) -> None:
    from safetensors.torch import load_file

    found = load_file(written(tmp_path / "x", "safetensors", tensors))
    for name, tensor in found.items():
        if "bfloat16" in name:
            np.testing.assert_array_equal(tensor.float().numpy(), tensors[name].array)


@pytest.mark.backend("paddle")
def test_paddle(tensors, tmp_path) -> None:
    registry().backend("paddle")  # imports it without its warnings
    import paddle

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        arrays = paddle.load(str(written(tmp_path / "x", "paddle", tensors)), return_numpy=True)
        found = paddle.load(str(tmp_path / "x"))
    assert list(found) == list(tensors)
    for name, tensor in found.items():
        assert isinstance(tensor, paddle.Tensor)
        expected = tensors[name].array
        if "bfloat16" in name:  # as uint16: Paddle's own way
            assert arrays[name].dtype == np.uint16
            array = (arrays[name].astype("u4") << np.uint32(16)).view("f4")
        else:
            array = tensor.numpy()
        np.testing.assert_array_equal(array, expected)


def test_the_same_tensors_make_the_same_bytes(entry, draw, tmp_path) -> None:
    made = entry("rinalmo-giga", num_heads=20)
    for number in range(2):
        for layout in ("riboswitch", "rinalmo", "rinalmo-plain"):
            save(made, draw(made, "float32"), tmp_path / f"{layout}{number}", layout)
    for layout in ("riboswitch/model.safetensors", "rinalmo", "rinalmo-plain"):
        name, _, file = layout.partition("/")
        first, second = (tmp_path / f"{name}{n}" / file for n in range(2))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("size", [3, 4])
def test_rounding_to_bfloat16_is_to_even(size, tmp_path) -> None:
    values = np.array([1.00390625, 1.01171875, -1.00390625, 1.005, 3e38][:size], "f4")
    path = written(tmp_path / "x", "safetensors", {"x": Held(values, "bfloat16")})
    found = registry().open_checkpoint(path).tensors["x"].read()
    np.testing.assert_array_equal(found, np.array([1.0, 1.015625, -1.0, 1.0078125][:size], "f4"))
