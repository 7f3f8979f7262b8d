"""Who is at work in a run's folder: one run at a time, and what killed ones left is removed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from riboswitch.errors import UsageError
from riboswitch.files import storage_errors

_LEFT = re.compile(r"(\.(corpus|model|step-\d{9})\.)?[0-9a-f]{32}\.tmp")
"""Names that `files.replacing` and `files.atomic` give to what is not finished."""
_LAUNCHERS = ("WORLD_SIZE", "PADDLE_TRAINERS_NUM")


@contextmanager
def running(folder: Path, rank: int) -> Iterator[None]:
    """Keep a folder for this run; the system lets it go when the process ends, however it does.

    Args:
        folder: Of the run, made if it is not there.
        rank: Of this process; the first one acts for all.

    Raises:
        UsageError: Another run is at work there.
    """
    if rank:
        yield
        return
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("wb")
    with file:
        if not _locked(file):
            raise UsageError(f"another run is at work in {folder}.\nWait for it, or stop it.")
        _remove_leftovers(folder)
        yield


def launched() -> int:
    """How many processes a launcher of torch or Paddle has started."""
    return max(int(os.environ.get(name) or 1) for name in _LAUNCHERS)


def _locked(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; True where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _remove_leftovers(folder: Path) -> None:
    for place in (folder, folder / "checkpoints"):
        for path in place.iterdir() if place.is_dir() else ():
            if not _LEFT.fullmatch(path.name):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()
