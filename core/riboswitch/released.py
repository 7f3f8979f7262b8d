"""Where released weights lie on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from riboswitch.errors import CheckpointError, UsageError
from riboswitch.interfaces import ModelEntry

CACHE = "RIBOSWITCH_CACHE"


def cache_folder() -> Path:
    """The folder of released weights: `RIBOSWITCH_CACHE`, or the user's cache."""
    if asked := os.environ.get(CACHE):
        return Path(asked)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "riboswitch"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "riboswitch"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "riboswitch"


def released_path(entry: ModelEntry) -> Path:
    """Return where a model's released weights lie.

    Raises:
        UsageError: Nobody released weights of this model.
        CheckpointError: They are not here; the message says where they are and belong.
    """
    if entry.released is None:
        raise UsageError(
            f"No weights of {entry.name!r} were ever released.\n"
            'Give a path, or weights="random" for untrained ones.'
        )
    path = cache_folder() / entry.name / entry.released.filename
    if not path.exists():
        raise CheckpointError(
            f"The released weights of {entry.name!r} (licence: {entry.licence}) are not here.\n"
            f"{entry.released.note or 'Get them'} from {entry.released.url}\n"
            f"and put them at {path}, or give their path as weights."
        )
    return path
