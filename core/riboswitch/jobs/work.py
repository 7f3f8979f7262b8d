"""`run_chunk`: compute one chunk, write it, leave a receipt. Run twice, it is the same file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import attrs
import numpy as np
from attrs import frozen

from riboswitch.batch import offsets_of
from riboswitch.errors import ResourceError
from riboswitch.files import write
from riboswitch.interfaces import Array
from riboswitch.jobs.plan import Chunk, Plan, chunk_records
from riboswitch.model import Model
from riboswitch.sequences import Record


@frozen(kw_only=True)
class Receipt:
    """A chunk that is on the disk, and the plan that it was computed for."""

    plan: str
    file: str
    size: int
    records: int
    residues: int
    sha256: str


def chunk_name(number: int) -> str:
    """File name of a chunk: from its number, never from an id."""
    return f"chunk-{number:06d}.safetensors"


def run_chunk(model: Model, plan: Plan, chunk: Chunk, work: Path, target: Path) -> Receipt:
    """Embed the records of a chunk into `target`, and write the receipt into `work`.

    The file holds `embeddings` (residues or records, D), float32; `offsets`, int64, for
    per-residue ones; `ids`, UTF-8 as uint8, and `id_offsets`, int64.

    Raises:
        ResourceError: Memory or disk ran out.
    """
    from safetensors.numpy import save

    records = chunk_records(plan, work, chunk)
    data = save(_tensors(model, plan, records=records))
    name = chunk_name(chunk.number)
    write(target / name, data, work)
    receipt = Receipt(
        plan=plan.identity,
        file=name,
        size=len(data),
        records=chunk.records,
        residues=chunk.residues,
        sha256=hashlib.sha256(data).hexdigest(),
    )
    write(receipt_path(work, chunk), json.dumps(attrs.asdict(receipt)).encode(), work)
    return receipt


def receipt_path(work: Path, chunk: Chunk) -> Path:
    """Where a chunk's receipt lies."""
    return work / f"receipt-{chunk.number:06d}.json"


def find_receipt(plan: Plan, chunk: Chunk, work: Path, target: Path) -> Receipt | None:
    """Return a chunk's receipt when its file is there, whole; else it must be computed."""
    try:
        receipt = Receipt(**json.loads(receipt_path(work, chunk).read_bytes()))
        whole = (target / receipt.file).stat().st_size == receipt.size
    except (OSError, ValueError, TypeError):
        return None
    return receipt if whole and receipt.plan == plan.identity else None


def _tensors(model: Model, plan: Plan, *, records: list[Record]) -> dict[str, Array]:
    settings = plan.settings
    try:
        arrays = model.embed_exactly(
            [r.sequence for r in records],
            pool=settings.pool,
            layer=settings.layer,
            window=settings.window,
            prompt=settings.prompt,
        )
    except MemoryError as error:
        raise ResourceError(
            "Memory ran out.\nUse fewer --workers, or a --window for long sequences."
        ) from error
    ids = [r.id.encode() for r in records]
    tensors: dict[str, Array] = {
        "ids": np.frombuffer(b"".join(ids), np.uint8),
        "id_offsets": offsets_of([len(i) for i in ids]),
    }
    if settings.pool:
        return {"embeddings": np.stack(arrays), **tensors}
    offsets = offsets_of([len(a) for a in arrays])
    return {"embeddings": np.concatenate(arrays), "offsets": offsets, **tensors}
