"""Fetch released weights: locate, transfer, check, and only then give them their name."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from riboswitch.errors import CheckpointError, StoreError
from riboswitch.files import storage_errors, sync_folder
from riboswitch.interfaces import ModelEntry
from riboswitch.origins import ByHand, Packaged
from riboswitch.progress import Progress
from riboswitch.released.cache import (
    Provenance,
    by_hand,
    lacking,
    place,
    provenance_path,
    read_provenance,
    released_of,
    released_path,
    write_provenance,
)
from riboswitch.released.network import ChangedError, FetchError, offline, patiently
from riboswitch.released.parts import (
    PartGoneError,
    check_space,
    new_part,
    remove_if_empty,
    remove_parts,
)
from riboswitch.released.sources import Located, locate
from riboswitch.released.transfer import download

log = logging.getLogger("riboswitch")


class WrongHashError(ChangedError):
    """The content is not what was announced."""


def fetch(entry: ModelEntry, *, force: bool = False, report: Progress | None = None) -> Path:
    """Return where a model's released weights lie, fetched if they are not here.

    A file that was put there by hand is taken as it is, unless its hash is known.

    Args:
        entry: The model.
        force: Whether to fetch what is here already.
        report: Called with the bytes that are here and those of the whole.

    Raises:
        UsageError: Nobody released weights of this model.
        CheckpointError: They cannot be fetched, or are damaged; the message says how to get them
            by hand, and where they belong.
        ResourceError: The disk is full; the same call goes on where it was.
    """
    if lacking(entry) or (force and not isinstance(released_of(entry).source, ByHand | Packaged)):
        _fetch(entry, report)
    else:
        _check_quickly(entry)
    return released_path(entry)


def check(entry: ModelEntry) -> Provenance:
    """Read a model's cached weights through, and compare them with what is known of them.

    Raises:
        UsageError: Nobody released weights of this model.
        CheckpointError: They are not here, are damaged, or nothing is known of them.
    """
    path, released = released_path(entry), released_of(entry)
    if isinstance(released.source, Packaged):
        path /= released.source.files[0]
    known = released.sha256
    record = read_provenance(path)
    wanted = known or (record.sha256 if record else None)
    if wanted is None:
        raise CheckpointError(
            f"{path} was put there by hand, and no hash of it is known to compare it with.\n"
            "It is loaded as it is."
        )
    found = _hashed(path)["sha256"]
    if found != wanted:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is {found}; {wanted} is right.{_anew(entry)}"
        )
    return record or _provenance(entry, path, found, None)


def _anew(entry: ModelEntry) -> str:
    if isinstance(released_of(entry).source, ByHand | Packaged):
        return f"\n{by_hand(entry)}"
    return f"\nGive `riboswitch fetch {entry.name} --force` to fetch it anew."


def _check_quickly(entry: ModelEntry) -> None:
    """Compare the size with the record; without one the hash, where it is known."""
    path = place(entry)
    if isinstance(released_of(entry).source, Packaged):
        return  # whoever installed it has checked it, and its seal is checked when it is opened
    record = read_provenance(path)
    if record is None and released_of(entry).sha256:
        record = check(entry)
        with suppress(OSError, CheckpointError):  # a cache may be read-only: it is checked again
            write_provenance(path, record)
    if record is not None and path.stat().st_size != record.size:
        raise CheckpointError(
            f"{path} is damaged: it has {path.stat().st_size} bytes, not the {record.size} of its "
            f"record.{_anew(entry)}"
        )


def _fetch(entry: ModelEntry, report: Progress | None) -> None:
    released, path = released_of(entry), place(entry)
    if isinstance(released.source, ByHand | Packaged):
        raise CheckpointError(_message(entry, "no program can fetch them"))
    if forbids := offline():
        raise CheckpointError(_message(entry, f"{forbids} is set"))
    try:
        try:
            _obtain(entry, path, report)
        except (ChangedError, PartGoneError) as error:
            log.info("%s; once more, from the start", error)
            _obtain(entry, path, report)
    except (FetchError, PartGoneError) as error:
        raise CheckpointError(_message(entry, str(error))) from error
    except StoreError as error:
        raise CheckpointError(
            f"{error}\nSet RIBOSWITCH_CACHE to a folder that can be written to."
        ) from error


def _message(entry: ModelEntry, why: str) -> str:
    return f"The released weights of {entry.name!r} cannot be fetched: {why}.\n{by_hand(entry)}"


def _obtain(entry: ModelEntry, path: Path, report: Progress | None) -> None:
    found = patiently(lambda: locate(released_of(entry)))
    log.info("fetching %s, %d bytes, licence: %s", found.url, found.size, entry.licence)
    part = new_part(path, found)
    try:
        check_space(part, found.size)
        download(found, part, report)
        hashes = _checked(part, found)
        _keep(part, path)
    except PartGoneError:  # as a rule another process was done first, and removed it
        hashes = _checked(path, found)
    except ChangedError:
        remove_parts(path, found)
        raise
    finally:
        remove_if_empty(part)
    write_provenance(path, _provenance(entry, path, hashes["sha256"], found))
    remove_parts(path, found)


def _checked(file: Path, found: Located) -> Mapping[str, str]:
    """Hash what is on the disk, and compare it with what was announced.

    Raises:
        WrongHashError: They differ.
        PartGoneError: The file is not there.
    """
    try:
        hashes = _hashed(file, *found.hashes)
    except FileNotFoundError as error:
        raise PartGoneError(file) from error
    for kind, wanted in found.hashes.items():
        if hashes[kind] != wanted:
            raise WrongHashError(
                f"what {found.url} sends has the {kind} {hashes[kind]}, not {wanted}"
            )
    return hashes


def _keep(part: Path, path: Path) -> None:
    """Give a checked part its name. A kill leaves the old file, or the new one without a record."""
    with storage_errors(path):
        try:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            provenance_path(path).unlink(missing_ok=True)
            part.replace(path)
        except FileNotFoundError as error:
            raise PartGoneError(part) from error
    sync_folder(path.parent)


def _provenance(entry: ModelEntry, path: Path, sha256: str, found: Located | None) -> Provenance:
    return Provenance(
        url=found.url if found else None,
        revision=found.revision if found else None,
        sha256=sha256,
        size=path.stat().st_size,
        licence=entry.licence,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _hashed(path: Path, *kinds: str) -> dict[str, str]:
    """Hash a file: SHA-256, and as in `sources.HASHES`."""
    start = {"git": b"blob %d\0" % path.stat().st_size}
    names = {"git": "sha1"}
    hashes = {
        kind: hashlib.new(names.get(kind, kind), start.get(kind, b""), usedforsecurity=False)
        for kind in {"sha256", *kinds}
    }
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for each in hashes.values():
                each.update(block)
    return {kind: each.hexdigest() for kind, each in hashes.items()}
