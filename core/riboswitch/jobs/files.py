"""Writes that are seen whole or not at all, and the errors of a full disk."""

from __future__ import annotations

import errno
import os
import re
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
        _sync_folder(path.parent)


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
                "Free some space and give the same command again: it goes on where it was."
            ) from error
        raise StoreError(f"{path} cannot be written: {error}") from error


LEFTOVERS = re.compile(r"failed\.tsv|\.work|chunk-\d+\.safetensors")
"""What a begun, refused or half-removed store holds: never a manifest."""


def remove_folder(path: Path) -> None:
    """Remove a work folder, if it is there, also while another process removes it."""
    shutil.rmtree(path, ignore_errors=True)


def remove_result(output: Path) -> None:
    """Remove a result of ours but for its work folder, the manifest first.

    So nothing that is half removed can be opened, whenever this is killed.
    """
    with storage_errors(output):
        if not output.is_dir():
            output.unlink(missing_ok=True)
            return
        (output / "manifest.json").unlink(missing_ok=True)
        _sync_folder(output)
        for path in output.iterdir():
            if path.is_file() and LEFTOVERS.fullmatch(path.name):
                path.unlink()


def _sync_folder(path: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    with suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
