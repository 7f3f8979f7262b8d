"""Where released weights lie on this machine, and the record beside each."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import attrs
from attrs import frozen

from riboswitch.errors import CheckpointError, UsageError
from riboswitch.files import write
from riboswitch.interfaces import ModelEntry
from riboswitch.origins import ByHand, Packaged, Released

CACHE = "RIBOSWITCH_CACHE"


@frozen(kw_only=True)
class Provenance:
    """What is known of a cached file, in `<filename>.json` beside it.

    Attributes:
        url: Where its bytes came from; None when it was put there by hand.
        revision: The commit or the DOI.
        sha256: In hexadecimal.
        size: In bytes.
        licence: Of the weights.
        date: When the file was found to be right, in UTC.
    """

    url: str | None
    revision: str | None
    sha256: str
    size: int
    licence: str
    date: str


def cache_folder() -> Path:
    """The folder of released weights: `RIBOSWITCH_CACHE`, or the user's cache."""
    if asked := os.environ.get(CACHE):
        return Path(asked)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "riboswitch"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "riboswitch"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "riboswitch"


def released_of(entry: ModelEntry) -> Released:
    """Return where a model's weights are, or raise `UsageError` when nobody released any."""
    if entry.released is None:
        raise UsageError(
            f"No weights of {entry.name!r} were ever released.\n"
            'Give a path, or weights="random" for untrained ones.'
        )
    return entry.released


def place(entry: ModelEntry) -> Path:
    """Return where a model's released weights belong, whether they are there or not."""
    released = released_of(entry)
    if isinstance(released.source, Packaged):
        return Path(str(files(released.source.package))) / released.filename
    return cache_folder() / entry.name / released.filename


def released_path(entry: ModelEntry) -> Path:
    """Return where a model's released weights lie.

    Raises:
        UsageError: Nobody released weights of this model.
        CheckpointError: They are not here; the message says where they are and belong.
    """
    path = place(entry)
    if lacking(entry):
        raise CheckpointError(
            f"The released weights of {entry.name!r} are not here.\n{by_hand(entry)}"
        )
    return path


def is_here(entry: ModelEntry) -> bool:
    """Whether a model's released weights lie on this machine."""
    return entry.released is not None and not lacking(entry)


def lacking(entry: ModelEntry) -> list[Path]:
    """The files of a model's released weights that are not here."""
    source, path = released_of(entry).source, place(entry)
    names = source.files if isinstance(source, ByHand | Packaged) else ()
    wanted = [path / name for name in names] or [path]
    return [file for file in wanted if not file.is_file()]


def by_hand(entry: ModelEntry) -> str:
    """Say how a user gets the weights with a browser, and exactly where they belong."""
    released, path = released_of(entry), place(entry)
    note = f"\n{released.note}" if released.note else ""
    source = released.source
    if isinstance(source, Packaged):
        return "They are a part of the package, which is damaged: install it again."
    if isinstance(source, ByHand) and source.files:
        what = " and ".join(file.name for file in lacking(entry)) or ", ".join(source.files)
        where = f"into the folder {path}"
    else:
        what = released.filename if isinstance(source, ByHand) else source.file
        where = f"at {path}"
    return (
        f"Licence of the weights: {entry.licence}.{note}\n"
        f"With a browser, fetch {what} from {released.url}\n"
        f"and put it {where}, or give a path of your own as weights."
    )


def provenance_path(path: Path) -> Path:
    """Where the record of a file lies."""
    return path.with_name(f"{path.name}.json")


def read_provenance(path: Path) -> Provenance | None:
    """Return what is known of a file; None when nothing is, or nothing that can be read."""
    with suppress(OSError, ValueError, TypeError):
        found = Provenance(**json.loads(provenance_path(path).read_text("utf-8")))
        if isinstance(found.sha256, str) and isinstance(found.size, int):
            return found
    return None


def write_provenance(path: Path, record: Provenance) -> None:
    """Write what is known of a file, seen whole or not at all."""
    text = json.dumps(attrs.asdict(record), indent=1, ensure_ascii=False)
    write(provenance_path(path), f"{text}\n".encode(), path.parent)
