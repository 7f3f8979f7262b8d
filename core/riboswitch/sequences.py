"""FASTA and FASTQ in: plain or gzipped, from a file or stdin, one record at a time."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

from riboswitch.alphabet import Alphabet
from riboswitch.errors import SequenceError

MAX_ID = 1024
"""Bytes of the longest id: a longer one is a header that swallowed its sequence."""


_BOM = b"\xef\xbb\xbf"


class Record(NamedTuple):
    """One sequence of a file: its number from 1, the header's first word, letters, the header."""

    ordinal: int
    id: str
    sequence: str
    header: str = ""


class _Parsed(NamedTuple):
    name: str
    sequence: str
    qualities: str | None


def read_records(source: str) -> Iterator[Record]:
    """Read a FASTA or FASTQ file, recognised by its first letter.

    Args:
        source: A path, or `-` for stdin.

    Raises:
        SequenceError: The file cannot be opened or read to its end, has no record or no header.
    """
    count = 0
    with _readable(source) as stream:
        for count, record in enumerate(_parse(stream), 1):
            words = record.name.split(maxsplit=1)
            sequence = "".join(record.sequence.split())
            yield Record(count, words[0] if words else "", sequence, record.name)
    if not count:
        raise SequenceError(f"{_shown(source)} has no records.\nIs it FASTA or FASTQ?")


def record_problem(record: Record, alphabet: Alphabet) -> str | None:
    """Say why a record is no RNA; None when it is."""
    if len(record.id.encode(errors="replace")) > MAX_ID:
        return f"its id has more than {MAX_ID} bytes: does its header lack a line end?"
    if not record.id.isprintable():
        return "its id has unprintable characters."
    if not alphabet.readable.issuperset(record.sequence):
        strange = Counter(c for c in record.sequence.upper() if c not in alphabet.readable)
        shown = ", ".join(f"{c!a} {n}" for c, n in strange.most_common(5))
        return f"it has letters that no RNA has: {shown}. Is it a protein?"
    return None


def _parse(stream: io.BufferedReader) -> Iterator[_Parsed]:
    from dnaio import FastaReader, FastqReader

    if stream.peek(3)[:3] == _BOM:
        stream.read(3)
    first = stream.peek(1)[:1]
    if first == b"@":
        yield from (_Parsed(r.name, r.sequence, None) for r in FastqReader(stream))
    elif first:
        # Our own record class: dnaio's refuses letters that we want to name.
        reader = FastaReader(stream, sequence_class=cast("type", _Parsed))
        # dnaio decodes as the locale says, and stops at the first byte that does not fit.
        text = cast("io.TextIOWrapper", reader._file)
        text.reconfigure(encoding="utf-8", errors="backslashreplace")
        yield from cast("Iterator[_Parsed]", reader)


@contextmanager
def _readable(source: str) -> Iterator[io.BufferedReader]:
    """Open a file, unpacked; whatever goes wrong while it is read is a `SequenceError`."""
    from dnaio import FileFormatError

    try:
        with _open(source) as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            whole = gzip.GzipFile(fileobj=raw) if packed else raw
            yield io.BufferedReader(_Borrowed(whole))
    except FileFormatError as error:
        raise SequenceError(f"{_shown(source)} is no FASTA or FASTQ: {error}") from error
    except UnicodeDecodeError as error:
        raise SequenceError(f"{_shown(source)} is no text: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SequenceError(
            f"{_shown(source)} is a damaged or truncated gzip file: {error}\nFetch it again."
        ) from error
    except OSError as error:
        raise SequenceError(f"{_shown(source)} cannot be read: {error}") from error


@contextmanager
def _open(source: str) -> Iterator[io.BufferedReader]:
    if source == "-":
        if sys.stdin is None:
            raise SequenceError("stdin is closed.\nGive a file, or pipe one in.")
        yield cast("io.BufferedReader", sys.stdin.buffer)
        return
    with Path(source).open("rb") as file:
        yield file


class _Borrowed(io.RawIOBase):
    """A stream that its reader may close without closing ours, as dnaio's reader does."""

    def __init__(self, stream: gzip.GzipFile | io.BufferedReader) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.readinto(buffer)


def _shown(source: str) -> str:
    return "stdin" if source == "-" else source
