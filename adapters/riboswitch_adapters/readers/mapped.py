"""Open a file for reading without trusting it: a mapping, and errors that name the file."""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from riboswitch.errors import CheckpointError

CURE = "Fetch the file again from its source; only tensors, numbers and names are read, never code."

# What parsing hostile bytes can raise in code that has checked less than it should.
DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def refusal(found: str, cure: str = CURE) -> CheckpointError:
    """An error that says what was found and, on its last line, the cure."""
    return CheckpointError(f"{found}\n{cure}")


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make every failure inside one `CheckpointError` that begins with the file's name."""
    name = os.fspath(path)
    try:
        yield
    except CheckpointError as error:
        raise type(error)(f"{name}: {error}") from error
    except OSError as error:
        found = f"{name}: cannot be read: {error.strerror or error}"
        raise refusal(found, "Give the path of a file that you may read.") from error
    except DAMAGE as error:
        raise refusal(f"{name}: is damaged: {type(error).__name__}: {error}") from error


def map_file(path: str | os.PathLike[str], *, keep: bool = False) -> memoryview:
    """Map a regular file, read-only or, to `keep`, so that what is written stays in memory.

    It is unmapped when the last view of it is gone.

    Raises:
        CheckpointError: a directory, a pipe, a device or an empty file.
        OSError: a file that cannot be opened.
    """
    # A pipe without a writer would block a plain open for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(Path(path), flags)
    try:
        _must_be_regular(os.fstat(handle))
        access = mmap.ACCESS_COPY if keep else mmap.ACCESS_READ
        return memoryview(mmap.mmap(handle, 0, access=access))
    finally:
        os.close(handle)


def let_go(data: object) -> None:
    """Let the pages of a read-only mapping go; they come back when they are read again."""
    home = data.obj if isinstance(data, memoryview) and data.readonly else None
    if isinstance(home, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        home.madvise(mmap.MADV_DONTNEED)


def _must_be_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise refusal(f"is {kind}, which is no checkpoint", "Give the path of the file itself.")
    if status.st_size == 0:
        raise refusal("is empty, so it is no checkpoint")
