"""Open what `embed` wrote: a store of per-residue embeddings, an `.npz` or a `.parquet`."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from riboswitch.errors import StoreError, UsageError
from riboswitch.interfaces import Array

FORMAT = "riboswitch-embeddings"


class _Source(Protocol):
    """Where the arrays of an opened result come from."""

    def ids(self) -> list[str]: ...

    def read(self, number: int) -> Array: ...


class Embeddings:
    """Embeddings on disk, in the order of the records, duplicates kept.

    `embeddings["id"]` and `embeddings[3]` read one record: (L, D) from a store, (D,) from a
    pooled file, float32. Nothing but the manifest is read before it is asked for.

    Attributes:
        manifest: Model, hash of its weights, backend, dtype, pooling, versions, counts.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], source: _Source) -> None:
        self.manifest = manifest
        self._path, self._source = path, source

    def __len__(self) -> int:
        return int(self.manifest["records"])

    @cached_property
    def ids(self) -> list[str]:
        """The id of each record."""
        return self._source.ids()

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for number, name in enumerate(self.ids):
            places.setdefault(name, []).append(number)
        return places

    def positions(self, name: str) -> list[int]:
        """Numbers of all records with an id; empty when there is none."""
        return self._places.get(name, [])

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __getitem__(self, key: str | int) -> Array:
        if isinstance(key, str):
            return self._source.read(self._position(key))
        number = key + len(self) if key < 0 else key
        if not 0 <= number < len(self):
            raise IndexError(f"record {key} of {len(self)}")
        return self._source.read(number)

    def _position(self, name: str) -> int:
        places = self.positions(name)
        if not places:
            raise StoreError(f"{self._path} has no record {name!r}.")
        if len(places) > 1:
            raise StoreError(
                f"{self._path} has {len(places)} records {name!r}.\n"
                f"Take one by its number: {places[:5]}"
            )
        return places[0]

    def __iter__(self) -> Iterator[Array]:
        return (self[number] for number in range(len(self)))

    def items(self) -> Iterator[tuple[str, Array]]:
        """Pairs of id and array, in order."""
        return zip(self.ids, self, strict=True)

    def __repr__(self) -> str:
        return f"Embeddings({str(self._path)!r}, {len(self)} records)"


def open_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Open a result of `riboswitch embed`.

    Raises:
        StoreError: It is not there, not finished, or damaged.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if manifest is None:
        raise StoreError(
            f"{path} holds no finished embeddings.\n"
            "If `riboswitch embed` was stopped, give the same command again."
        )
    if manifest.get("version") != 1:
        raise StoreError(f"{path} was written by a newer riboswitch.\npip install -U riboswitch")
    check_whole(path, manifest)
    if path.is_dir():
        return Embeddings(path, manifest, _Store(path, manifest))
    return Embeddings(path, manifest, _Parquet(path) if _is_parquet(path) else _Npz(path))


def check_whole(path: Path, manifest: Mapping[str, Any]) -> None:
    """Raise `StoreError` unless every chunk of the manifest is there in its full size."""
    for chunk in manifest.get("chunks", ()):
        file = path / chunk["file"]
        if not file.is_file() or file.stat().st_size != chunk["size"]:
            raise StoreError(
                f"{file} is missing or cut short.\n"
                "Embed the input again, with --overwrite, or copy the whole folder again."
            )


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Read the manifest of a finished result; None when there is none."""
    try:
        if path.is_dir():
            found = json.loads((path / "manifest.json").read_bytes())
        elif _is_parquet(path):
            found = _Parquet(path).manifest()
        else:
            found = json.loads(str(_Npz(path).member("manifest")))
    except (OSError, ValueError, StoreError):
        return None
    return found if isinstance(found, dict) and found.get("format") == FORMAT else None


class _Store:
    """A folder of chunks."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self._path = path
        self._files = [chunk["file"] for chunk in manifest["chunks"]]
        counts = [chunk["records"] for chunk in manifest["chunks"]]
        self._bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def ids(self) -> list[str]:
        pairs = (self._arrays(n, "ids", "id_offsets") for n in range(len(self._files)))
        return [name for data, offsets in pairs for name in cut_ids(data, offsets)]

    def read(self, number: int) -> Array:
        chunk = int(np.searchsorted(self._bounds, number, side="right")) - 1
        offsets = self._arrays(chunk, "offsets")[0]
        row = number - int(self._bounds[chunk])
        with self._open(chunk) as file:
            part: Array = file.get_slice("embeddings")[int(offsets[row]) : int(offsets[row + 1])]
        return part

    def _arrays(self, chunk: int, *names: str) -> list[Array]:
        with self._open(chunk) as file:
            return [file.get_tensor(name) for name in names]

    def _open(self, chunk: int) -> Any:
        from safetensors import SafetensorError, safe_open

        name = self._path / self._files[chunk]
        try:
            return safe_open(name, framework="np")
        except (OSError, SafetensorError) as error:
            raise StoreError(f"{name} is missing or damaged: {error}") from error


class _Npz:
    """One `.npz` with `ids` and `embeddings`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _vectors(self) -> Array:
        return self.member("embeddings")

    def ids(self) -> list[str]:
        names: list[str] = self.member("ids").tolist()
        return names

    def read(self, number: int) -> Array:
        vector: Array = self._vectors[number]
        return vector

    def member(self, name: str) -> Array:
        """Read one array.

        Raises:
            StoreError: The file is damaged, or no such archive.
        """
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(f"{name}.npy") as file:
                array: Array = np.lib.format.read_array(file, allow_pickle=False)
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
            raise StoreError(f"{self._path} is damaged, or no result: {error}") from error
        return array


class _Parquet:
    """One `.parquet` with `id` and `embedding`."""

    def __init__(self, path: Path) -> None:
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise UsageError(
                f'{path} needs pyarrow, which is not installed.\npip install "riboswitch[parquet]"'
            ) from error
        self._file = parquet.ParquetFile(path)

    def manifest(self) -> Any:
        metadata = self._file.schema_arrow.metadata or {}
        return json.loads(metadata.get(b"riboswitch", b"null"))

    @cached_property
    def _vectors(self) -> Array:
        column = self._file.read(["embedding"])["embedding"].combine_chunks()
        size = column.type.list_size
        vectors: Array = column.values.to_numpy().reshape(-1, size)
        return vectors

    def ids(self) -> list[str]:
        names: list[str] = self._file.read(["id"])["id"].to_pylist()
        return names

    def read(self, number: int) -> Array:
        vector: Array = self._vectors[number]
        return vector


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def cut_ids(data: Array, offsets: Array) -> list[str]:
    """Cut a chunk's `ids` into text."""
    text, bounds = data.tobytes(), offsets.tolist()
    return [text[a:b].decode() for a, b in pairwise(bounds)]
