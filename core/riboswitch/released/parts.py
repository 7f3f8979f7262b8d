"""Files that are not whole yet, each written by one process alone, so that nothing is locked.

A part is `<filename>.<key>.<random>.part` beside the file that it becomes. The key stands for the
address and the hash of the content, so a file that changed on the server continues no old part.
What another process left is taken up: one that was written to a moment ago may still be its
owner's and is copied, an older one is renamed. An owner that was alive after all finds its part
gone and begins anew. Whatever goes wrong here costs time: the hash of the whole decides.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from riboswitch.errors import ResourceError
from riboswitch.files import storage_errors
from riboswitch.released.sources import Located

IDLE = 120.0
"""Seconds without a write after which a part's owner is taken for dead."""


class PartGoneError(Exception):
    """Another process finished the file, or took the part for a dead one's."""


def new_part(path: Path, found: Located) -> Path:
    """Make a part of our own, with what an earlier process left of the same file."""
    stem = f"{path.name}.{_key(found)}."
    part = path.with_name(f"{stem}{uuid.uuid4().hex}.part")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        left = [p for p in path.parent.iterdir() if _is_part(p, stem) and _size(p) <= found.size]
        _take_up(part, max(left, key=_size, default=None), found.size)
    _remove(p for p in left if _is_idle(p))
    return part


def remove_parts(path: Path, found: Located) -> None:
    """Remove the parts of one content, and of the file's other contents those without an owner."""
    stem = f"{path.name}.{_key(found)}."
    with suppress(OSError):
        every = [p for p in path.parent.iterdir() if _is_part(p, f"{path.name}.")]
        _remove(p for p in every if _is_part(p, stem) or _is_idle(p))


def remove_if_empty(part: Path) -> None:
    """Leave nothing behind where nothing was received."""
    if _size(part) == 0:
        _remove([part])


def check_kept(part: Path) -> None:
    """Raise `PartGoneError` when our part was removed or taken."""
    if not part.exists():
        raise PartGoneError(part)


def check_space(part: Path, size: int) -> None:
    """Raise `ResourceError` when the rest of the file does not fit on the disk."""
    with storage_errors(part):
        free = shutil.disk_usage(part.parent).free
    rest = size - max(_size(part), 0)
    if rest > free:
        raise ResourceError(
            f"{part.parent} has {free / 1e9:.1f} GB free; {rest / 1e9:.1f} GB more are needed.\n"
            "Free some space, or set RIBOSWITCH_CACHE to a folder on another disk."
        )


def _take_up(part: Path, left: Path | None, size: int) -> None:
    if left is not None and not (_is_idle(left) and _renamed(left, part)):
        _copy(left, part, size)
    part.touch()


def _renamed(left: Path, part: Path) -> bool:
    with suppress(OSError):  # Windows keeps an open file where it is
        left.rename(part)
        return True
    return False


def _copy(left: Path, part: Path, size: int) -> None:
    """Copy what is there of a part, unless the whole file has no room beside it."""
    with suppress(FileNotFoundError):  # finished by its owner, just now
        if shutil.disk_usage(part.parent).free >= size:
            shutil.copyfile(left, part)


def _key(found: Located) -> str:
    text = f"{found.url} {found.size} {sorted(found.hashes.items())}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_part(path: Path, stem: str) -> bool:
    return path.name.startswith(stem) and path.name.endswith(".part")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _is_idle(path: Path) -> bool:
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > IDLE
    return False


def _remove(parts: Iterable[Path]) -> None:
    for part in parts:
        with suppress(OSError):
            part.unlink()
