"""`commit`: check that every chunk is there, and make the result visible at one stroke."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import attrs
import numpy as np

from riboswitch.errors import StoreError, UsageError
from riboswitch.files import atomic, sha256_of, storage_errors, write
from riboswitch.interfaces import Array
from riboswitch.jobs.files import remove_folder
from riboswitch.jobs.plan import Plan
from riboswitch.jobs.work import Receipt, find_receipt, receipt_path
from riboswitch.store import FORMAT, cut_ids

VERSION = 1


def commit(plan: Plan, work: Path, target: Path, output: Path) -> dict[str, Any]:
    """Write the manifest, and for pooled results the one file; then drop the work folder.

    Args:
        plan: The job.
        work: Its work folder.
        target: The folder of the chunks: the store itself, or the work folder.
        output: What the user asked for.

    Returns:
        The manifest.

    Raises:
        StoreError: A chunk is missing.
    """
    receipts = [find_receipt(plan, chunk, work, target) for chunk in plan.chunks]
    if None in receipts:
        raise StoreError(
            f"{output}: chunk {receipts.index(None)} is gone; another job writes there.\n"
            "Let one job at a time write to a name, and give the command again."
        )
    done = [r for r in receipts if r]
    _verify(plan, work, target, done)
    manifest = make_manifest(plan, done)
    put_failures(plan, work, output)
    if plan.settings.pool is None:
        write(output / "manifest.json", json.dumps(manifest, indent=1).encode(), work)
    else:
        put = write_parquet if output.suffix == ".parquet" else write_npz
        with atomic(output, work) as file:
            put(file, manifest, plan, target, done)
    remove_folder(work)
    return manifest


def _verify(plan: Plan, work: Path, target: Path, receipts: list[Receipt]) -> None:
    """Hash every chunk; one that is not what its receipt says is forgotten, and an error."""
    for chunk, receipt in zip(plan.chunks, receipts, strict=True):
        if sha256_of(target / receipt.file) != receipt.sha256:
            receipt_path(work, chunk).unlink(missing_ok=True)
            raise StoreError(
                f"{target / receipt.file} is not what was written: the disk failed, or another "
                "job writes there.\nGive the same command again: it is computed anew."
            )


def make_manifest(plan: Plan, receipts: list[Receipt]) -> dict[str, Any]:
    """What a result says of itself. No time, no path, no host: equal work has equal bytes."""
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        **attrs.asdict(plan.settings),
        "records": plan.records,
        "failed": plan.failed,
        "residues": plan.residues,
        "records_sha256": plan.records_sha256,
        "unknown": plan.unknown,
    }
    if plan.settings.pool is None:
        of_this_plan = attrs.filters.exclude("plan")
        manifest["chunks"] = [attrs.asdict(r, filter=of_this_plan) for r in receipts]
    return manifest


def failures_path(plan: Plan, output: Path) -> Path:
    """Where the list of failed records goes: into a store, beside a file."""
    if plan.settings.pool is None:
        return output / "failed.tsv"
    return output.with_name(f"{output.name}.failed.tsv")


def put_failures(plan: Plan, work: Path, output: Path) -> None:
    """Write the list of failed records, or remove an older job's."""
    path = failures_path(plan, output)
    if plan.failed:
        with storage_errors(path):
            write(path, plan.failures_file(work).read_bytes(), work)
    else:
        path.unlink(missing_ok=True)


def write_npz(
    file: BinaryIO, manifest: dict[str, Any], plan: Plan, target: Path, receipts: list[Receipt]
) -> None:
    """One `.npz`: `ids` (n,) text, `embeddings` (n, D) float32, `manifest` JSON text."""
    width = max(1, plan.longest_id)
    size = plan.settings.architecture["hidden_size"]
    with zipfile.ZipFile(file, "w") as archive:
        _member(archive, "ids", (plan.records,), f"<U{width}", _ids(target, receipts))
        vectors = (t["embeddings"] for t in _chunks(target, receipts))
        _member(archive, "embeddings", (plan.records, size), "<f4", vectors)
        text = json.dumps(manifest)
        _member(archive, "manifest", (), f"<U{len(text)}", iter([np.array(text)]))


def write_parquet(
    file: BinaryIO, manifest: dict[str, Any], plan: Plan, target: Path, receipts: list[Receipt]
) -> None:
    """One `.parquet`: columns `id` and `embedding`; the manifest is in the file's metadata."""
    pyarrow, parquet = need_pyarrow()
    size = plan.settings.architecture["hidden_size"]
    schema = pyarrow.schema(
        [("id", pyarrow.string()), ("embedding", pyarrow.list_(pyarrow.float32(), size))],
        metadata={"riboswitch": json.dumps(manifest)},
    )
    with parquet.ParquetWriter(file, schema) as writer:
        for tensors in _chunks(target, receipts):
            flat = pyarrow.array(tensors["embeddings"].reshape(-1))
            vectors = pyarrow.FixedSizeListArray.from_arrays(flat, size)
            ids = pyarrow.array(cut_ids(tensors["ids"], tensors["id_offsets"]), pyarrow.string())
            writer.write_table(pyarrow.table([ids, vectors], schema=schema))


def need_pyarrow() -> tuple[Any, Any]:
    """Import pyarrow, or say how to install it."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            'Parquet needs pyarrow, which is not installed.\npip install "riboswitch[parquet]"'
        ) from error
    return pyarrow, parquet


def _ids(target: Path, receipts: list[Receipt]) -> Iterator[Array]:
    return (np.array(cut_ids(t["ids"], t["id_offsets"])) for t in _chunks(target, receipts))


def _chunks(target: Path, receipts: list[Receipt]) -> Iterator[dict[str, Array]]:
    from safetensors.numpy import load_file

    for receipt in receipts:
        yield load_file(target / receipt.file)


def _member(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    parts: Iterator[Array],
) -> None:
    """Write an array into a zip archive piece by piece, as `numpy.savez` would whole."""
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(cast("BinaryIO", file), header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).tobytes())
