"""Writes that are seen whole or not at all, and the errors of a full disk."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from riboswitch.errors import ResourceError, StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@contextmanager
def atomic(path: Path, scratch: Path) -> Iterator[BinaryIO]:
    """Write a file: under a name of its own in `scratch`, flushed to the disk, then renamed.

    `scratch` is a folder of the same file system that is removed when the work is done, so
    that what a killed process leaves behind goes with it.
    """
    temporary = scratch / f"{uuid.uuid4().hex}.tmp"
    with storage_errors(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


def write(path: Path, data: bytes, scratch: Path) -> None:
    """Write all of a file atomically."""
    with atomic(path, scratch) as file:
        file.write(data)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a disk into one of our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceError(
                f"{path} cannot be written: {error.strerror}\n"
                "Free some space and give the same command again."
            ) from error
        raise StoreError(f"{path} cannot be written: {error}") from error


def sync_folder(path: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    with suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside `path` at which to make a file or folder; then it becomes `path`.

    What was at `path` is replaced: a file in one step, a folder by moving it aside first. When
    anything fails, `path` is as it was.
    """
    path = path.absolute()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync_tree(temporary)
            _move(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
        sync_folder(path.parent)


def _move(temporary: Path, path: Path) -> None:
    if not path.is_dir():
        temporary.replace(path)
        return
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")
    path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    _remove(aside)


def _sync_tree(path: Path) -> None:
    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if path.is_dir():
        sync_folder(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
