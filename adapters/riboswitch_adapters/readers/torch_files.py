"""Read checkpoints of torch, Paddle and safetensors without any of the three."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import define, field

from riboswitch.errors import UnrecognisedError
from riboswitch_adapters.readers.crc import SEAL_KEY, crc_in_name, seal_in_name
from riboswitch_adapters.readers.lazy import LazyTensor, Storage, itemsize
from riboswitch_adapters.readers.mapped import map_file, reading, refusal
from riboswitch_adapters.readers.pickle_machine import FindStorage
from riboswitch_adapters.readers.pickle_values import Ledger, TypedStorage
from riboswitch_adapters.readers.pickles import read_first, read_pickle
from riboswitch_adapters.readers.safetensors_files import (
    MAX_HEADER,
    from_mapped,
    header_length,
    read_safetensors,
)
from riboswitch_adapters.readers.zip_entries import Entry, entries

__all__ = ["read_file", "read_pdparams", "read_safetensors", "read_torch"]

_MAX_PICKLE = 16 << 20
_ZIP = b"PK\x03\x04"
_MAGIC = 0x1950A86A20F9469CFC6C  # of torch's format before 1.6
_MAGIC_OPCODE = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."
_HINTS = (
    (b"\x1f\x8b", "it is compressed with gzip", "Decompress it first."),
    (b"version https://git-lfs", "it is a git-lfs pointer", "Run git lfs pull for the file."),
    (b"<", "it looks like a web page", "Download the file itself, not the page about it."),
)
_UNKNOWN = "Give a .pth or .pt of torch, a .pdparams of Paddle or a .safetensors file."


def read_torch(path: str | os.PathLike[str]) -> object:
    """Read what torch.save wrote, as a zip file or in the format before torch 1.6.

    Returns:
        Dicts, lists and tuples with a `LazyTensor` for every tensor and parameter.

    Raises:
        CheckpointError: any other file; anything in it that is not data; damage.
    """
    with reading(path):
        data = map_file(path)
        kind = _kind(data)
        if kind not in ("torch", "torch-legacy"):
            raise _unknown(data, "is no checkpoint of torch")
        return _READERS[kind](data, os.fspath(path))[0]


def read_pdparams(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a Paddle pickle: name -> `LazyTensor`.

    Paddle stores bfloat16 as uint16, so such arrays come back as bfloat16. The table of
    parameter names is dropped; a bare tensor comes back under its own name.

    Raises:
        CheckpointError: any other file; anything in it that is not data; damage.
    """
    with reading(path):
        data = map_file(path)
        if _kind(data) != "paddle":
            raise _unknown(data, "is no checkpoint of Paddle")
        return _paddle(data, os.fspath(path))[0]


def read_file(
    path: str | os.PathLike[str], *, keep: bool = False
) -> tuple[str, object, dict[str, str]]:
    """Read a checkpoint whose format is recognised by its content, never by its suffix.

    Args:
        path: A file.
        keep: Whether the arrays may be kept as they are mapped: they are then writeable, and
            what is written there stays in memory. For files that are only ever replaced.

    Returns:
        "torch", "torch-legacy", "paddle" or "safetensors"; the tree; the file's metadata.

    Raises:
        CheckpointError: a file that is none of these, is damaged or holds more than data.
    """
    with reading(path):
        data = map_file(path, keep=keep)
        kind = _kind(data)
        if kind not in _READERS:
            raise _unknown(data, "is no checkpoint")
        return (kind, *_READERS[kind](data, os.fspath(path)))


def _kind(data: memoryview) -> str:
    start = bytes(data[:32])
    if start.startswith(_ZIP):
        return "torch"
    # No pickle begins with a small number of eight bytes and a brace.
    if start[8:9] == b"{" and (start[:1] != b"\x80" or header_length(data) <= MAX_HEADER):
        return "safetensors"
    if start[:1] == b"\x80":
        return "torch-legacy" if _MAGIC_OPCODE in start else "paddle"
    return ""


def _unknown(data: memoryview, claim: str) -> Exception:
    start = bytes(data[:64]).lstrip()
    for magic, found, cure in _HINTS:
        if start.startswith(magic):
            return UnrecognisedError(f"{claim}: {found}\n{cure}")
    return UnrecognisedError(f"{claim}: it begins with {bytes(data[:8])!r}\n{_UNKNOWN}")


def _zipped(data: memoryview, where: str) -> tuple[object, dict[str, str]]:
    found = entries(data)
    prefix = _prefix(found)
    order = found.get(f"{prefix}/byteorder")
    if order and (order.size > 16 or bytes(order.checked(data)) != b"little"):
        raise refusal("the tensors are big-endian", "Save the file on a little-endian machine.")
    entry = found[f"{prefix}/data.pkl"]
    if entry.size > _MAX_PICKLE:
        raise refusal(f"data.pkl has {entry.size} bytes; {_MAX_PICKLE} are allowed")
    storages = _zip_storages(data, where, prefix, found)
    content = entry.checked(data)
    return read_pickle(content, storages=storages, ledger=Ledger.of(where, len(data))), {}


def _prefix(found: dict[str, Entry]) -> str:
    names = [name for name in found if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(names) != 1:
        raise refusal(f"is no checkpoint: a zip file with {len(names)} data.pkl", _UNKNOWN)
    prefix = names[0].split("/")[0]
    if f"{prefix}/constants.pkl" in found:
        raise refusal("holds a TorchScript program", "Save the model's state_dict() instead.")
    return prefix


def _zip_storages(
    data: memoryview, where: str, prefix: str, found: dict[str, Entry]
) -> FindStorage:
    known: dict[str, Storage] = {}

    def find(key: str, dtype: str, count: int) -> TypedStorage:
        entry = found.get(f"{prefix}/data/{key}")
        if entry is None or entry.size != count * itemsize(dtype):
            raise refusal(f"the storage {key[:40]!a} of {count} {dtype} is not in the zip file")
        if key not in known:
            name = f"{where}: data/{key[:40]}"
            known[key] = Storage(name, entry.size, entry.content(data), entry.crc)
        return TypedStorage(known[key], dtype)

    return find


@define
class _Legacy:
    """The storages of a legacy file, which follow the pickle that names them."""

    where: str
    found: dict[str, tuple[TypedStorage, int]] = field(factory=dict)

    def find(self, key: str, dtype: str, count: int) -> TypedStorage:
        size = count * itemsize(dtype)
        storage = Storage(f"{self.where}: storage {key[:40]}", size, None)
        typed, known = self.found.setdefault(key, (TypedStorage(storage, dtype), count))
        if known != count or typed.dtype != dtype:
            raise refusal(f"the storage {key[:40]!a} is described in two ways")
        return typed

    def place(self, data: memoryview, at: int, key: object) -> int:
        """Give a storage its bytes; return where they end."""
        if type(key) is not str or key not in self.found:
            raise refusal("a storage follows that no tensor uses")
        typed, count = self.found.pop(key)
        stored, start = int.from_bytes(data[at : at + 8], "little"), at + 8
        end = start + typed.storage.size
        if stored != count or end > len(data):
            raise refusal(f"the storage {key[:40]!a} is cut short or has another size")
        typed.storage.data = data[start:end]
        return end


def _legacy(data: memoryview, where: str) -> tuple[object, dict[str, str]]:
    ledger = Ledger.of(where, len(data))
    magic, at = read_first(data, 0, ledger=ledger)
    version, at = read_first(data, at, ledger=ledger)
    system, at = read_first(data, at, ledger=ledger)
    little = isinstance(system, dict) and system.get("little_endian") is True
    if magic != _MAGIC or version != 1001 or not little:
        raise refusal("the legacy header is not that of a little-endian file of version 1001")
    storages = _Legacy(where)
    tree, end = read_first(data, at, storages=storages.find, ledger=ledger)
    if end - at > _MAX_PICKLE:
        raise refusal(f"the pickle has {end - at} bytes; {_MAX_PICKLE} are allowed")
    _place_all(storages, data, end, ledger)
    return tree, {}


def _place_all(storages: _Legacy, data: memoryview, at: int, ledger: Ledger) -> None:
    keys, at = read_first(data, at, ledger=ledger)
    if type(keys) is not list:
        raise refusal("the list of storages is missing")
    for key in keys:
        at = storages.place(data, at, key)
    if storages.found or at != len(data):
        raise refusal("storages are missing, or bytes follow the last of them")


def _paddle(data: memoryview, where: str) -> tuple[dict[str, Any], dict[str, str]]:
    tree: Any = read_pickle(data, ledger=Ledger.of(where, len(data)))
    if _is_named(tree):
        tree = {tree[0]: tree[1]}
    if type(tree) is not dict:
        raise refusal(f"is no checkpoint: it holds a {type(tree).__name__}, not a table", _UNKNOWN)
    if "UnpackBigParamInfor@@" in tree:
        cure = "Save it again with paddle.save(..., protocol=4)."
        raise refusal("Paddle has cut large arrays into slices, which are not joined here", cure)
    names = tree.pop("StructuredToParameterName@@", None)
    found = {name: _bare(value) for name, value in tree.items()}
    for name, parameter in names.items() if isinstance(names, dict) else ():
        if (crc := crc_in_name(parameter)) is not None and isinstance(found.get(name), LazyTensor):
            found[name].expect(crc)
    seals = {seal_in_name(value) for value in names.values()} if isinstance(names, dict) else set()
    return found, {SEAL_KEY: str(seals.pop())} if len(seals) == 1 and None not in seals else {}


def _is_named(value: Any) -> bool:
    """Whether it is a tensor as newer versions of Paddle write it: its name and its array."""
    if type(value) is not tuple or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], LazyTensor)


def _bare(value: Any) -> Any:
    if _is_named(value):
        value = value[1]
    if isinstance(value, LazyTensor):
        return value.as_dtype("bfloat16") if value.dtype == "uint16" else value
    if type(value) is dict:
        return {name: _bare(item) for name, item in value.items()}
    if type(value) is list:
        return [_bare(item) for item in value]
    return value


_Reader = Callable[[memoryview, str], tuple[object, dict[str, str]]]
_READERS: dict[str, _Reader] = {
    "torch": _zipped,
    "torch-legacy": _legacy,
    "paddle": _paddle,
    "safetensors": from_mapped,
}
