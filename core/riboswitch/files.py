"""Writes that are seen whole or not at all, and the errors of a full disk."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from riboswitch.errors import ResourceError, StoreError, UsageError

_STALE = 3600.0  # seconds
_HERE, _RENAME_EXCHANGE = -100, 2  # of Linux's fcntl.h and fs.h
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


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a disk into one of our errors."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ResourceError(
                f"{path} cannot be written: {error.strerror}\n"
                "Free some space, or look after the disk, and give the same command again."
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
def replacing(path: Path, *, overwrite: bool, ours: Collection[str] = ()) -> Iterator[Path]:
    """Give a name beside `path` at which to make a file or folder; then it becomes `path`.

    That is one step. When anything fails, `path` is as it was. A link is followed.

    Args:
        path: Where to.
        overwrite: Whether what is there may be replaced.
        ours: Names of the files in such a folder; none for a file.

    Raises:
        UsageError: Something is at `path`, then or at the end, that is not to be replaced.
    """
    path = path.resolve()
    _must_be_free(path, overwrite=overwrite, ours=ours)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        try:
            yield temporary
            _sync_tree(temporary)
            _must_be_free(path, overwrite=overwrite, ours=ours)
            _move(temporary, path, overwrite=overwrite)
        finally:
            _remove(temporary)
        sync_folder(path.parent)


def _must_be_free(path: Path, *, overwrite: bool, ours: Collection[str] = ()) -> None:
    if not path.exists():
        return
    if not overwrite:
        raise UsageError(
            f"{path} is there already.\nGive another name, or overwrite=True (--overwrite)."
        )
    fits = path.is_dir() if ours else path.is_file()
    if not fits:
        kind = "folder" if ours else "file"
        raise UsageError(f"{path} is no {kind}, and a {kind} is written.\nGive another name.")
    if others := {p.name for p in path.iterdir()} - set(ours) if ours else set():
        raise UsageError(
            f"{path} also holds {min(others)!a}, which would be deleted.\nGive another name."
        )


def _move(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Rename in one step; what was at `path` is then at `temporary`, or gone."""
    if path.is_dir() and overwrite:
        _exchange(temporary, path)
    elif temporary.is_dir() or overwrite:
        temporary.replace(path)  # onto a folder with anything in it this fails
    else:
        _link(temporary, path)


def _link(temporary: Path, path: Path) -> None:
    """Give a file its name unless it is taken, which a rename would not notice."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        _must_be_free(path, overwrite=False)
    except OSError:  # a file system without links
        temporary.replace(path)


def _exchange(temporary: Path, path: Path) -> None:
    """Exchange two folders: in one step where the system can, else in two."""
    if _exchanged(temporary, path):
        return
    aside = temporary.with_suffix(".old")
    path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    _remove(aside)


def _exchanged(first: Path, second: Path) -> bool:
    """Ask Linux's `renameat2` to exchange two names; False where it cannot."""
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    names = os.fsencode(first), os.fsencode(second)
    return call is not None and call(_HERE, names[0], _HERE, names[1], _RENAME_EXCHANGE) == 0


def _sync_tree(path: Path) -> None:
    if path.is_dir():
        for part in path.iterdir():
            _sync_tree(part)
        sync_folder(path)
        return
    with path.open("rb+") as opened:  # only what can be written to can be flushed everywhere
        os.fsync(opened.fileno())


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writes of the same name left, once it has been untouched for an hour."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{32}\.(tmp|old)")
    for left in path.parent.iterdir():
        if pattern.fullmatch(left.name) and _age(left) > _STALE:
            _remove(left)


def _age(path: Path) -> float:
    """Seconds since anything in it was touched."""
    with suppress(OSError):
        files = [path, *path.iterdir()] if path.is_dir() else [path]
        return time.time() - max(file.stat().st_mtime for file in files)
    return 0.0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
