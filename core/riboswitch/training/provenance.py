"""What a packed corpus was made of, and the refusal to take it for another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from riboswitch.alphabet import Alphabet
from riboswitch.errors import SequenceError, UsageError, warn
from riboswitch.files import sha256_of
from riboswitch.training.corpus import Corpus, Source
from riboswitch.training.differences import first_difference


def origin(source: Source, alphabet: Alphabet) -> dict[str, Any]:
    """What a corpus depends on; files by name and size, and when they were last written."""
    text = json.dumps(attrs.asdict(alphabet), sort_keys=True)
    return {
        "files": [_noted(file) for file in source.files],
        "exclude": [_noted(file) for file in source.exclude],
        "types": source.types,
        "held_out": source.held_out,
        "alphabet": hashlib.sha256(text.encode()).hexdigest()[:16],
    }


def hashes(files: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Name and SHA-256 of each file, as it is on the disk; stdin is left out, a pipe has none."""
    for file in (f for f in files if f != "-"):
        yield Path(file).name, _hash(file)


def check_there(source: Source) -> None:
    """Raise `SequenceError` when a file cannot be opened, before the first of them is read."""
    for file in (*source.files, *source.exclude):
        if is_stream(file):
            continue
        try:
            with Path(file).open("rb"):
                pass
        except OSError as error:
            raise SequenceError(
                f"{file} cannot be read: {error}\nNothing is packed yet: give another path."
            ) from error


def check_same(corpus: Corpus, source: Source, alphabet: Alphabet, folder: Path) -> None:
    """Raise `UsageError` when names, sizes or settings are not those that a corpus was made of.

    A file that is gone is not needed any more, and may have been written at any time.
    """
    packed = _timeless(corpus.about.get("source", {}))
    said = _timeless(json.loads(json.dumps(origin(source, alphabet))))
    for key in ("files", "exclude"):
        had, mine = packed.get(key, []), said[key]
        said[key][: len(had)] = [_gone(*pair) for pair in zip(mine, had, strict=False)]
    if found := first_difference(packed, said):
        name, was, here = found
        raise UsageError(
            f"{folder} was packed from something else: its {name} is {was!r:.200}, and here it is "
            f"{here!r:.200}.\nGive another folder: -o."
        )


def check_content(corpus: Corpus, source: Source, folder: Path, *, begun: bool) -> None:
    """Compare what files hold with what a corpus of the same names and sizes was packed from.

    Args:
        corpus: The packed one, which `check_same` has passed.
        source: What is asked for.
        folder: Of the corpus.
        begun: Whether a checkpoint of it is there. A file of the same name and size that was last
            written at the same time is then taken for the same, and not read.

    Raises:
        UsageError: A file holds something else, or stdin or a pipe may.
    """
    files = (*source.files, *source.exclude)
    if streams := [file for file in files if is_stream(file)]:
        _check_stream("stdin" if streams[0] == "-" else streams[0], folder, begun=begun)
    about = corpus.about.get("source", {})
    noted = [*about.get("files", []), *about.get("exclude", [])]
    known = iter(corpus.about.get("files", []))
    for file, note in zip(files, noted, strict=True):
        name, packed = (None, None) if file == "-" else next(known, (None, None))
        if name != Path(file).name or packed is None or is_stream(file):
            continue
        if not Path(file).is_file() or (begun and note == _noted(file)):
            continue
        if (here := _hash(file)) is not None and here != packed:
            raise UsageError(
                f"{folder} was packed from another {file}: the SHA-256 of that was {packed:.16}…, "
                f"and here it is {here:.16}….\nGive another folder: -o."
            )


def is_stream(file: str) -> bool:
    """Whether a file can be read once only: stdin, or a pipe."""
    path = Path(file)
    return file == "-" or (path.exists() and not path.is_file() and not path.is_dir())


def _check_stream(name: str, folder: Path, *, begun: bool) -> None:
    if not begun:
        raise UsageError(
            f"{folder} is packed already, and whether {name} has the same cannot be told.\n"
            "Remove that folder, and it is packed again; or give another one: -o."
        )
    warn(
        f"{name} is not read: the run goes on with what is packed in {folder}.\n"
        "For other sequences give another folder: -o."
    )


def _hash(file: str) -> str | None:
    """SHA-256 of a file; None when it cannot be read, or not twice."""
    if is_stream(file):
        return None
    try:
        return sha256_of(Path(file))
    except OSError:
        return None


def _noted(file: str) -> dict[str, Any]:
    """Name, size and time of a file; neither of the latter where it is not there."""
    noted: dict[str, Any] = {"name": Path(file).name, "size": None, "mtime_ns": None}
    with suppress(OSError):
        found = Path(file).stat()
        noted.update(size=found.st_size, mtime_ns=found.st_mtime_ns)
    return noted


def _timeless(said: dict[str, Any]) -> dict[str, Any]:
    """The same without times: a copy has another one, and what is older notes none."""
    files = {key: said.get(key, []) for key in ("files", "exclude")}
    plain = {
        key: [{"name": file.get("name"), "size": file.get("size")} for file in listed]
        for key, listed in files.items()
    }
    return {**said, **plain}


def _gone(file: dict[str, Any], had: dict[str, Any]) -> dict[str, Any]:
    """A file with the size that it had at its place of the list, where it is not there now."""
    return had if file["size"] is None and had.get("name") == file["name"] else file
