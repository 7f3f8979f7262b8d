"""Files that torch, Paddle and safetensors wrote are read bit for bit, without any of them."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from riboswitch.errors import CheckpointError
from riboswitch_adapters.readers.lazy import LazyTensor, Storage, contiguous, lazy_tensor
from riboswitch_adapters.readers.torch_files import (
    read_file,
    read_pdparams,
    read_safetensors,
    read_torch,
)

PROTOCOLS = [2, 3, 4, 5]
NUMPY_DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"]


@pytest.fixture
def torch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason="it writes the file")


@pytest.fixture
def paddle() -> Any:
    # Paddle warns of missing compilers when it is imported.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("paddle", reason="it writes the file")


def saved_by_torch(torch: Any, path: Path, tree: Any, protocol: int, new: bool) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own typed storages
        torch.save(tree, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    return path


def torch_tree(torch: Any) -> dict[str, Any]:
    base = torch.arange(24.0).reshape(4, 6) / 7
    numbers = {
        str(dtype): base.to(dtype)
        for dtype in (
            torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64,
            torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
        )
    }  # fmt: skip
    views = {"t": base.t(), "view": base[1:3, ::2], "wide": base.to(torch.bfloat16).t()[2:]}
    odd = {"scalar": torch.tensor(0.5), "empty": torch.empty(0, 3), "base": base}
    parameter = {"parameter": torch.nn.Parameter(base.clone())}
    return {**numbers, **views, **odd, **parameter, **torch.nn.BatchNorm2d(3).state_dict()}


def must_equal(torch: Any, lazy: Any, tensor: Any) -> None:
    assert isinstance(lazy, LazyTensor)
    assert (lazy.shape, lazy.dtype) == (tuple(tensor.shape), str(tensor.dtype)[6:])
    wide = tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()
    found = lazy.read()
    assert found.dtype == wide.numpy().dtype
    assert found.tobytes() == wide.numpy().tobytes()


@pytest.mark.backend("torch")
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_torch_files_are_read_bit_for_bit(
    torch: Any, tmp_path: Path, protocol: int, new: bool
) -> None:
    tree = torch_tree(torch)
    path = saved_by_torch(torch, tmp_path / "x.bin", tree, protocol, new)
    kind, found, metadata = read_file(path)
    assert (kind, metadata) == ("torch" if new else "torch-legacy", {})
    assert isinstance(found, dict) and list(found) == list(tree)
    for name, tensor in tree.items():
        must_equal(torch, found[name], tensor)


@pytest.mark.backend("torch")
@pytest.mark.parametrize("new", [True, False])
def test_what_is_around_the_tensors_comes_back(torch: Any, tmp_path: Path, new: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    args = argparse.Namespace(encoder_layers=12, lr=[1e-4], arch="roberta")
    tree = {"args": args, "model": model, "epoch": 3, "size": torch.Size([1, 2]), "t": (1, [2])}
    found: Any = read_torch(saved_by_torch(torch, tmp_path / "x.pth", tree, 2, new))
    assert found["args"] == vars(args)
    assert (found["epoch"], found["size"], found["t"]) == (3, (1, 2), (1, [2]))
    assert list(found["model"]) == list(model)


@pytest.mark.backend("torch")
def test_torch_tensors_are_views_of_the_file(torch: Any, tmp_path: Path) -> None:
    shared = torch.zeros(100, 100)
    tree = {"a": shared, "b": shared.t(), "c": torch.zeros(100, dtype=torch.bfloat16)}
    found: Any = read_torch(saved_by_torch(torch, tmp_path / "x.pt", tree, 2, True))
    a, b, c = (found[name].read() for name in "abc")
    assert not a.flags.owndata and np.shares_memory(a, b) and not b.flags.c_contiguous
    assert c.flags.writeable and c.dtype == np.float32


@pytest.mark.backend("torch")
@pytest.mark.parametrize("kind", ["sparse", "quantised", "complex", "module"])
def test_torch_objects_that_are_no_plain_tensors_are_refused(
    torch: Any, tmp_path: Path, kind: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are deprecated
        value = {
            "sparse": lambda: torch.eye(3).to_sparse(),
            "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "complex": lambda: torch.zeros(3, dtype=torch.complex64),
            "module": lambda: torch.nn.Linear(2, 2),
        }[kind]()
    path = saved_by_torch(torch, tmp_path / "x.pt", {"w": value}, 2, True)
    with pytest.raises(CheckpointError, match="it asks for 'torch"):
        read_torch(path)


@pytest.mark.backend("paddle")
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_paddle_files_are_read_bit_for_bit(paddle: Any, tmp_path: Path, protocol: int) -> None:
    layer = paddle.nn.Sequential(paddle.nn.Linear(200, 300), paddle.nn.LayerNorm(300))
    state = {**layer.state_dict(), "n": paddle.to_tensor([1, 2]), "s": paddle.to_tensor(0.5)}
    path = str(tmp_path / "model_state.pdparams")
    paddle.save(state, path, protocol=protocol)
    found = read_pdparams(path)
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert found[name].shape == tuple(tensor.shape)
        assert found[name].read().tobytes() == tensor.numpy().tobytes()
    assert read_file(path)[0] == "paddle"


@pytest.mark.backend("paddle")
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_bare_paddle_tensors_nested_ones_and_bfloat16(
    paddle: Any, tmp_path: Path, protocol: int
) -> None:
    weight = paddle.nn.Linear(2, 3).weight
    half = paddle.to_tensor([1.5, -2.0]).astype("bfloat16")
    paddle.save(weight, str(tmp_path / "bare"), protocol=protocol)
    paddle.save({"a": {"w": weight}, "half": half}, str(tmp_path / "nested"), protocol=protocol)
    (bare,) = read_pdparams(tmp_path / "bare").values()
    nested = read_pdparams(tmp_path / "nested")
    for tensor in (bare, nested["a"]["w"]):
        assert tensor.read().tobytes() == weight.numpy().tobytes()
    assert nested["half"].dtype == "bfloat16"
    assert nested["half"].read().tolist() == [1.5, -2.0]


def test_safetensors_files_are_read_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        name: (rng.standard_normal((3, 5)) * 9).astype(name)
        for name in [
            "float64",
            "float32",
            "float16",
            "int64",
            "int32",
            "int16",
            "int8",
            "uint8",
            "bool",
        ]
    }
    tensors |= {"scalar": np.array(1.0), "empty": np.zeros((0, 3), "f4")}
    safetensors.numpy.save_file(tensors, tmp_path / "x", metadata={"format": "np"})
    found, metadata = read_safetensors(tmp_path / "x")
    assert metadata == {"format": "np"} and set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert (found[name].shape, found[name].dtype) == (tensor.shape, tensor.dtype.name)
        assert found[name].read().tobytes() == tensor.tobytes()
    assert read_file(tmp_path / "x")[0] == "safetensors"


@pytest.mark.parametrize("name", ["BF16", "U16"])  # the latter is Paddle's
def test_safetensors_bfloat16_is_widened(tmp_path: Path, name: str) -> None:
    header = json.dumps({"w": {"dtype": name, "shape": [2], "data_offsets": [0, 4]}}).encode()
    raw = np.array([1.5, -2.0], "f4").view("u4") >> 16
    content = struct.pack("<Q", len(header)) + header + raw.astype("<u2").tobytes()
    (tmp_path / "x").write_bytes(content)
    tensor = read_safetensors(tmp_path / "x")[0]["w"]
    assert (tensor.dtype, tensor.read().dtype.name) == ("bfloat16", "float32")
    assert tensor.read().tolist() == [1.5, -2.0]


def test_a_safetensors_header_of_any_length_is_told_from_a_pickle(tmp_path: Path) -> None:
    for length in (0x0280, 0x0380, 0x0480, 0x0580, 0x7D0280):
        entry = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
        content = struct.pack("<Q", min(length, 1 << 20)) + entry.ljust(min(length, 1 << 20)) + b"x"
        (tmp_path / "x").write_bytes(content)
        assert read_file(tmp_path / "x")[0] == "safetensors"


def test_the_suffix_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(pickle.dumps({"w": np.arange(3)}, 4))
    kind, tree, _ = read_file(tmp_path / "x.safetensors")
    assert kind == "paddle" and isinstance(tree, dict) and tree["w"].read().tolist() == [0, 1, 2]


def test_lazy_tensors_check_their_bounds() -> None:
    storage = Storage("x", 24, struct.pack("<6f", *range(6)))
    tensor = lazy_tensor(storage, "float32", (3, 2), (1, 3))
    assert tensor.read().tolist() == [[0, 3], [1, 4], [2, 5]]
    assert "Storage" not in repr(tensor)
    for shape, strides, offset in [
        ((7,), (1,), 0),
        ((6,), (1,), 1),
        ((2,), (6,), 0),
        ((9,), (0,), 0),
    ]:
        with pytest.raises(CheckpointError, match="does not fit"):
            lazy_tensor(storage, "float32", shape, strides, offset)


def test_contiguous_strides() -> None:
    assert contiguous((2, 3, 4)) == (12, 4, 1)
    assert contiguous((2, 3, 4), fortran=True) == (1, 2, 6)
    assert contiguous(()) == ()


def test_damage_is_found_when_a_tensor_is_first_read() -> None:
    broken = Storage("x.pt: data/0", 4, b"abcd", crc=1)
    tensor = lazy_tensor(broken, "float32", (1,), (1,))
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"x\.pt: data/0: .* CRC-32"):
            tensor.read()


@pytest.mark.backend("torch")
def test_no_framework_is_imported(torch: Any, tmp_path: Path) -> None:
    saved_by_torch(torch, tmp_path / "x.pt", torch_tree(torch), 2, True)
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"w": np.arange(3)}, 4))
    code = """
import sys
from riboswitch_adapters.readers.torch_files import read_file
for path in sys.argv[1:]:
    for tensor in read_file(path)[1].values():
        tensor.read()
print(sorted({"torch", "paddle", "safetensors"} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, str(tmp_path / "x.pt"), str(tmp_path / "x.pdparams")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")
