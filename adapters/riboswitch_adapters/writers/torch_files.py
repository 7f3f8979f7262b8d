"""Write what `torch.save` would: a zip file with a pickle and the bytes of each storage."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from riboswitch.interfaces import Draft, Tensor
from riboswitch_adapters.readers.lazy import contiguous
from riboswitch_adapters.writers.encoded import encoded
from riboswitch_adapters.writers.pickle_stream import PickleStream

_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
_ROOT = "archive"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same tensors on any day
_ALIGNMENT = 64
_HEADER = 30  # bytes of a zip entry's header before its name
_PADDING = 0x4246  # the id of torch's own padding: "FB"


def write_torch(path: Path, draft: Draft) -> None:
    """Write a state dict; with a config, `{"args": Namespace, "model": state}`."""
    keys: dict[int, str] = {}
    for tensor in draft.tensors.values():
        keys.setdefault(id(tensor), str(len(keys)))  # what stands there twice is stored once
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "data.pkl", memoryview(_pickle(draft, keys)))
        _add(archive, "byteorder", memoryview(b"little"))
        for name, tensor in draft.tensors.items():
            if id(tensor) in keys:
                _add(archive, f"data/{keys.pop(id(tensor))}", encoded(tensor, name))
        _add(archive, "version", memoryview(b"3\n"))


def _add(archive: zipfile.ZipFile, name: str, data: memoryview) -> None:
    entry = zipfile.ZipInfo(f"{_ROOT}/{name}", _DATE)
    start = archive.fp.tell() if archive.fp else 0
    missing = -(start + _HEADER + len(entry.filename) + 4) % _ALIGNMENT
    entry.extra = _PADDING.to_bytes(2, "little") + missing.to_bytes(2, "little") + bytes(missing)
    entry.file_size = data.nbytes
    with archive.open(entry, "w") as opened:
        opened.write(data)


def _pickle(draft: Draft, keys: Mapping[int, str]) -> bytes:
    file = io.BytesIO()
    stream = PickleStream(file, 2)
    if draft.config is None:
        _state(stream, draft.tensors, keys)
    else:
        stream.op(b"}(")
        stream.value("args")
        _namespace(stream, draft.config)
        stream.value("model")
        _state(stream, draft.tensors, keys)
        stream.op(b"u")
    stream.stop()
    return file.getvalue()


def _namespace(stream: PickleStream, config: Mapping[str, Any]) -> None:
    stream.name("argparse", "Namespace")
    stream.op(b")\x81")
    stream.value(config)
    stream.op(b"b")


def _state(stream: PickleStream, tensors: Mapping[str, Tensor], keys: Mapping[int, str]) -> None:
    stream.op(b"}(")
    for name, tensor in tensors.items():
        stream.value(name)
        _tensor(stream, tensor, keys[id(tensor)])
    stream.op(b"u")


def _tensor(stream: PickleStream, tensor: Tensor, key: str) -> None:
    count = 1
    for size in tensor.shape:
        count *= size
    stream.name("torch._utils", "_rebuild_tensor_v2")
    stream.op(b"((")
    stream.value("storage")
    stream.name("torch", _STORAGES[tensor.dtype])
    for part in (key, "cpu", count):
        stream.value(part)
    stream.op(b"tQ")
    for value in (0, tensor.shape, contiguous(tensor.shape), False):
        stream.value(value)
    stream.call("collections", "OrderedDict")
    stream.op(b"tR")
