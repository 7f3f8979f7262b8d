"""A stranger's container: magic, the length and CRC-32 of a table in JSON, the table, numbers."""

from __future__ import annotations

import json
import mmap
import zlib
from pathlib import Path

import numpy as np
from attrs import frozen

from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Checkpoint, Draft

MAGIC = b"CRATE1"
CODES = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int64": "<i8"}


@frozen(eq=False)
class Item:
    shape: tuple[int, ...]
    dtype: str
    data: memoryview
    crc: int
    where: Path

    def read(self):
        if zlib.crc32(self.data) != self.crc:
            raise CheckpointError(f"{self.where}: damaged.\nFetch it again.")
        array = np.frombuffer(self.data, CODES[self.dtype]).reshape(self.shape)
        if self.dtype == "bfloat16":
            return np.left_shift(
                array.astype("u4"), np.uint32(16), dtype="u4", out=np.empty(self.shape, "u4")
            ).view("f4")
        return array


class Crate:
    """Its opener and its writer, in parts that a test can break."""

    name = "crate"

    def open(self, path: Path) -> Checkpoint | None:
        if not path.is_file() or path.stat().st_size < 14:
            return None
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        if data[:6] != MAGIC:
            return None
        table, body = self.table(path, data)
        tensors, at = {}, 0
        for name, dtype, shape, crc in table["tensors"]:
            size = int(np.prod(shape)) * np.dtype(CODES[dtype]).itemsize
            tensors[name] = self.item(tuple(shape), dtype, body[at : at + size], crc, path)
            at += size
        self.ended(path, at, len(body))
        return self.found(path, tensors, table)

    def ended(self, path, at, size):
        if at != size:
            raise CheckpointError(f"{path}: cut short.\nFetch it again.")

    def table(self, path, data):
        size, crc = (int.from_bytes(data[i : i + 4], "little") for i in (6, 10))
        if zlib.crc32(data[14 : 14 + size]) != crc:
            raise CheckpointError(f"{path}: its table is damaged.\nFetch it again.")
        return json.loads(bytes(data[14 : 14 + size])), data[14 + size :]

    def item(self, *parts):
        return Item(*parts)

    def found(self, path, tensors, table):
        return Checkpoint(path=str(path), container="crate", tensors=tensors, seal=table["seal"])

    def write(self, path: Path, draft: Draft) -> bool | None:
        if draft.container != "crate":
            return None
        for name, tensor in draft.tensors.items():
            if tensor.dtype not in CODES:
                raise CheckpointError(f"A crate has no {tensor.dtype}, which {name} is.\nConvert.")
        with path.with_name("body").open("wb+") as body:
            table = [self.packed(body, n, t) for n, t in draft.tensors.items()]
            text = json.dumps({"tensors": table, "seal": draft.seal}).encode()
            body.seek(0)
            size, crc = (n.to_bytes(4, "little") for n in (len(text), zlib.crc32(text)))
            path.write_bytes(MAGIC + size + crc + text + body.read())
        path.with_name("body").unlink()
        return True

    def packed(self, body, name, tensor):
        array = tensor.read()
        if tensor.dtype == "bfloat16":
            array = (np.ascontiguousarray(array, "<f4").view("u4") >> 16).astype("<u2")
        data = np.ascontiguousarray(array, CODES[tensor.dtype]).tobytes()
        body.write(data)
        return [name, tensor.dtype, tensor.shape, zlib.crc32(data)]


def written(path: Path) -> None:
    numbers = np.arange(6, dtype="f4")
    crc = zlib.crc32(numbers)
    text = json.dumps({"tensors": [["a", "float32", [6], crc]], "seal": None}).encode()
    size, crc = (n.to_bytes(4, "little") for n in (len(text), zlib.crc32(text)))
    path.write_bytes(MAGIC + size + crc + text + numbers.tobytes())
