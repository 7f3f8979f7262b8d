"""`plan`: read the input once, check every record, and cut it into chunks.

The plan and the checked records lie in the job's work folder, so that a later process needs
neither the input nor any memory of the earlier one.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import attrs
from attrs import define, field, frozen

from riboswitch.alphabet import Alphabet
from riboswitch.errors import SequenceError, StoreError
from riboswitch.files import atomic, storage_errors, write
from riboswitch.interfaces import ModelEntry
from riboswitch.limits import length_problem
from riboswitch.sequences import Record, read_records, record_problem
from riboswitch.windows import cut

CHUNK_RESIDUES = 16384


@frozen(kw_only=True)
class Settings:
    """What decides a result's numbers, apart from the records. Stands in the manifest."""

    model: str
    backend: str
    framework: str
    device: str
    dtype: str
    weights: str
    weights_sha256: str
    architecture: dict[str, Any]
    licence: str
    pool: str | None = None
    layer: int = -1
    window: int | None = None
    prompt: str | None = None
    chunk_residues: int = CHUNK_RESIDUES
    riboswitch: str = ""


@frozen(kw_only=True)
class Chunk:
    """Neighbouring records, and where they lie in the work folder's `records` file."""

    number: int
    records: int
    residues: int
    offset: int
    size: int
    sha256: str


@define(kw_only=True)
class Plan:
    """All that a worker needs to know, and what was found in the input."""

    settings: Settings
    name: str = ""
    chunks: list[Chunk] = field(factory=list)
    records: int = 0
    residues: int = 0
    tokens: int = 0
    squares: int = 0
    longest: int = 0
    failed: int = 0
    longest_id: int = 0
    records_sha256: str = ""
    unknown: dict[str, int] = field(factory=dict)
    source: dict[str, Any] = field(factory=dict)

    def records_file(self, folder: Path) -> Path:
        """The checked records, a line of JSON each."""
        return folder / f"records-{self.name}"

    def failures_file(self, folder: Path) -> Path:
        """The list of records that cannot be computed."""
        return folder / f"failed-{self.name}.tsv"

    def discard(self, folder: Path) -> None:
        """Remove this plan's files, and the folder when nothing else is in it."""
        for path in (self.records_file(folder), self.failures_file(folder)):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()

    @property
    def identity(self) -> str:
        """What tells whether a chunk was computed for this plan."""
        text = json.dumps([attrs.asdict(self.settings), self.records_sha256])
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `plan.json`; a work folder without it has no plan."""
        write(folder / "plan.json", json.dumps(attrs.asdict(self)).encode(), folder)

    @classmethod
    def read(cls, folder: Path) -> Plan | None:
        """Read `plan.json`, or return None when there is none of this version."""
        try:
            found = json.loads((folder / "plan.json").read_bytes())
            settings = Settings(**found.pop("settings"))
            chunks = [Chunk(**chunk) for chunk in found.pop("chunks")]
            return cls(settings=settings, chunks=chunks, **found)
        except (OSError, ValueError, TypeError, KeyError):
            return None


def plan(source: str, settings: Settings, entry: ModelEntry, folder: Path) -> Plan:
    """Read and check the input, and write the records into the work folder.

    Each plan has files of its own names there, so that it harms no other; `save` makes it valid.

    Args:
        source: A path or `-`.
        settings: What to compute.
        entry: The model.
        folder: The work folder.

    Raises:
        SequenceError: The input cannot be read, or has no record.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    found = Plan(settings=settings, source=fingerprint(source), name=name)
    try:
        records, failures = found.records_file(folder), found.failures_file(folder)
        with atomic(records, folder) as good, atomic(failures, folder) as bad:
            bad.write(b"ordinal\tid\treason\n")
            _read(source, entry, found, good, bad)
    except BaseException:
        found.discard(folder)
        raise
    return found


def survey(source: str, settings: Settings, entry: ModelEntry) -> Plan:
    """Do all that `plan` does, but write nothing."""
    found = Plan(settings=settings)
    with Path(os.devnull).open("wb") as nowhere:
        _read(source, entry, found, nowhere, nowhere)
    return found


def fingerprint(source: str) -> dict[str, Any]:
    """What tells cheaply whether an input is still the one that was planned."""
    if source == "-":
        return {"path": "-"}
    try:
        stat = Path(source).stat()
    except OSError as error:
        raise SequenceError(f"{source} cannot be read: {error.strerror}") from error
    return {"path": str(Path(source).resolve()), "size": stat.st_size, "mtime": stat.st_mtime_ns}


def chunk_records(plan: Plan, folder: Path, chunk: Chunk) -> list[Record]:
    """Read a chunk's records from the work folder.

    Raises:
        StoreError: They are gone, or are not what was planned.
    """
    path = plan.records_file(folder)
    try:
        with path.open("rb") as file:
            file.seek(chunk.offset)
            data = file.read(chunk.size)
    except OSError as error:
        raise StoreError(f"{path} is gone: {error}\nGive the same command again.") from error
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise StoreError(f"{path} was changed.\nGive the same command again, with --overwrite.")
    return [Record(*json.loads(line)) for line in data.splitlines()]


def reason_to_fail(record: Record, settings: Settings, entry: ModelEntry) -> str | None:
    """Say why a record cannot be computed; None when it can."""
    return length_problem(
        entry, len(record.sequence), settings.window, settings.prompt is not None
    ) or record_problem(record, entry.alphabet)


def _read(source: str, entry: ModelEntry, found: Plan, good: BinaryIO, bad: BinaryIO) -> None:
    digest = hashlib.sha256()
    cutter = _Cutter(found)
    unknown: Counter[str] = Counter()
    for record in read_records(source):
        if reason := reason_to_fail(record, found.settings, entry):
            found.failed += 1
            bad.write(f"{record.ordinal}\t{_printable(record.id)}\t{reason}\n".encode())
            continue
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        digest.update(line)
        good.write(line)
        unknown.update(entry.alphabet.unknown_words(record.sequence))
        found.longest_id = max(found.longest_id, len(record.id))
        _count(found, entry.alphabet, len(record.sequence))
        cutter.add(record, line)
    cutter.close()
    found.records_sha256 = digest.hexdigest()
    found.unknown = dict(unknown.most_common())


def _count(found: Plan, alphabet: Alphabet, num_letters: int) -> None:
    """Add a record's tokens, piece by piece, and their squares, which attention takes."""
    for piece in cut(0, num_letters, found.settings.window, alphabet):
        prompt = found.settings.prompt is not None
        tokens = alphabet.num_tokens(piece.stop - piece.start, prompt=prompt)
        found.tokens += tokens
        found.squares += tokens * tokens
        found.longest = max(found.longest, tokens)


class _Cutter:
    """Closes a chunk as soon as it has enough residues: a pure function of the records."""

    def __init__(self, found: Plan) -> None:
        self.plan = found
        self.offset = self.records = self.residues = self.size = 0
        self.digest = hashlib.sha256()

    def add(self, record: Record, line: bytes) -> None:
        self.records += 1
        self.residues += len(record.sequence)
        self.size += len(line)
        self.digest.update(line)
        if self.residues >= self.plan.settings.chunk_residues:
            self.close()

    def close(self) -> None:
        if not self.records:
            return
        number = len(self.plan.chunks)
        chunk = Chunk(
            number=number,
            records=self.records,
            residues=self.residues,
            offset=self.offset,
            size=self.size,
            sha256=self.digest.hexdigest(),
        )
        self.plan.chunks.append(chunk)
        self.plan.records += self.records
        self.plan.residues += self.residues
        self.offset += self.size
        self.records = self.residues = self.size = 0
        self.digest = hashlib.sha256()


def _printable(text: str) -> str:
    """An id for a line of a table: no tabs, no line ends, not endless."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:200])
    return shown + ("…" if len(text) > 200 else "")
