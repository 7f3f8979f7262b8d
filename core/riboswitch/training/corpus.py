"""A corpus: FASTA files read once, packed into a folder from which records are read at random.

Neither packing nor reading holds the letters in memory, only a few numbers for each record.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.errors import SequenceError, StoreError, UsageError
from riboswitch.files import replacing
from riboswitch.sequences import Record, read_records, record_problem

_FILES = ("letters.bin", "offsets.npy", "types.npy", "held_out.npy", "corpus.json")
_NO_TYPE = -1


@frozen(kw_only=True)
class Source:
    """What a corpus is made of.

    Attributes:
        files: FASTA or FASTQ, also gzipped.
        exclude: Such files; whatever equals a sequence of theirs, T or U, is left out.
        types: A regular expression that finds the type in a header, by its first group; None
            where there are no types.
        held_out: Share of the sequences that are never trained on. Equal sequences are on the
            same side.
    """

    files: tuple[str, ...] = field(converter=tuple)
    exclude: tuple[str, ...] = field(default=(), converter=tuple)
    types: str | None = None
    held_out: float = field(default=0.01)

    def __attrs_post_init__(self) -> None:
        if not self.files:
            raise UsageError("a corpus needs a file.\nGive one: --corpus FASTA.")
        if not 0 <= self.held_out < 1:
            raise UsageError(
                f"held_out is {self.held_out!r}, and must be from 0 to below 1.\nExample: 0.01."
            )
        self.pattern()

    def pattern(self) -> re.Pattern[str] | None:
        """The expression, compiled."""
        if self.types is None:
            return None
        try:
            found = re.compile(self.types)
        except re.error as error:
            raise UsageError(
                f"types is no regular expression: {error}\nExample: 'type=(.+)'."
            ) from error
        if found.groups < 1:
            raise UsageError(
                f"types has no group that would name the type: {self.types!r}\n"
                "Put brackets around it: 'type=(.+)'."
            )
        return found


@frozen(eq=False)
class Corpus:
    """Records by their numbers, from 0.

    Attributes:
        letters: All sequences end to end, upper-case, uint8 (letters,), in a mapped file.
        offsets: Where each begins, int64 (n + 1,).
        types: The type of each, a place in `names`, or -1; int16 (n,).
        held_out: Whether it is held out, bool (n,).
        names: Types that occur, which all are the alphabet's.
        about: What was packed: counts, hashes, what was left out and why.
    """

    letters: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    types: NDArray[np.int16]
    held_out: NDArray[np.bool_]
    names: tuple[str, ...]
    about: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """Letters of some records, int64 (m,)."""
        return self.offsets[records + 1] - self.offsets[records]

    def text(self, record: int, start: int = 0, stop: int | None = None) -> str:
        """Letters of one record, or a piece of them."""
        first, last = self.offsets[record : record + 2].tolist()
        last = last if stop is None else min(last, first + stop)
        return self.letters[first + start : last].tobytes().decode("ascii")


def open_corpus(folder: Path) -> Corpus | None:
    """Open what `pack` made; None when there is none.

    Raises:
        StoreError: It is damaged.
    """
    if not (folder / "corpus.json").is_file():
        return None
    try:
        about = json.loads((folder / "corpus.json").read_text("utf-8"))
        offsets, types, held_out = (np.load(folder / name) for name in _FILES[1:4])
        letters = np.memmap(folder / "letters.bin", np.uint8, "r")
        counts = {len(offsets) - 1, len(types), len(held_out), about["records"]}
        whole = len(counts) == 1 and len(letters) == offsets[-1]
    except (OSError, ValueError, EOFError, LookupError, TypeError) as error:
        raise StoreError(
            f"{folder} is damaged: {error}\nRemove it, and it will be packed again."
        ) from error
    if not whole:
        raise StoreError(f"{folder} is cut short.\nRemove it, and it will be packed again.")
    return Corpus(letters, offsets, types, held_out, tuple(about["names"]), about)


def check_same(corpus: Corpus, source: Source, alphabet: Alphabet, folder: Path) -> None:
    """Raise `UsageError` when a corpus was packed from something else."""
    said = json.loads(json.dumps(_origin(source, alphabet)))
    packed = corpus.about.get("source", {})
    for key in said:
        if said[key] != packed.get(key):
            raise UsageError(
                f"{folder} was packed from something else: its {key} is {packed.get(key)!r:.200}, "
                f"and here it is {said[key]!r:.200}.\nGive another folder: -o."
            )


def _origin(source: Source, alphabet: Alphabet) -> dict[str, Any]:
    """What a corpus depends on; files by name and size, since a copy has another time."""
    text = json.dumps(attrs.asdict(alphabet), sort_keys=True)
    return {
        "files": [[Path(f).name, _size(f)] for f in source.files],
        "exclude": [[Path(f).name, _size(f)] for f in source.exclude],
        "types": source.types,
        "held_out": source.held_out,
        "alphabet": hashlib.sha256(text.encode()).hexdigest()[:16],
    }


def _size(file: str) -> int | None:
    with suppress(OSError):
        return Path(file).stat().st_size
    return None


def pack(source: Source, alphabet: Alphabet, folder: Path) -> Corpus:
    """Read all files once and pack them into a folder, which is there wholly or not at all.

    Records that the alphabet cannot take are left out, counted and named by reason.

    Raises:
        SequenceError: A file cannot be read, or nothing is left to train on.
        UsageError: A type is not one of the alphabet's, or no header has one.
        ResourceError: The disk is full.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there, and no packed corpus.\nGive another folder: -o.")
    with replacing(folder, overwrite=False, ours=_FILES) as temporary:
        temporary.mkdir()
        _Packer(source, alphabet, temporary).run()
    corpus = open_corpus(folder)
    if corpus is None:
        raise StoreError(f"{folder} is gone while it was made.\nGive the same command again.")
    return corpus


class _Packer:
    """Writes a corpus record by record."""

    def __init__(self, source: Source, alphabet: Alphabet, folder: Path) -> None:
        self.source, self.alphabet, self.folder = source, alphabet, folder
        self.excluded = {_digest(r.sequence) for file in source.exclude for r in read_records(file)}
        self.pattern = source.pattern()
        self.lengths, self.types, self.held_out = array("q"), array("h"), array("b")
        self.names: dict[str, int] = {}
        self.left_out: Counter[str] = Counter()
        self.hash = hashlib.sha256()

    def run(self) -> None:
        with (self.folder / "letters.bin").open("wb") as file:
            for name in self.source.files:
                self._add(read_records(name), file)
        self._check()
        offsets = np.concatenate([[0], np.cumsum(np.array(self.lengths, np.int64))])
        np.save(self.folder / "offsets.npy", offsets.astype(np.int64))
        np.save(self.folder / "types.npy", np.array(self.types, np.int16))
        np.save(self.folder / "held_out.npy", np.array(self.held_out, bool))
        text = json.dumps(self._about(), indent=1)
        (self.folder / "corpus.json").write_text(text, "utf-8")

    def _add(self, records: Iterable[Record], file: BinaryIO) -> None:
        for record in records:
            digest = _digest(record.sequence)
            if reason := self._unfit(record, digest):
                self.left_out[reason] += 1
                continue
            kind = self._type(record)
            letters = self.alphabet.plain(record.sequence).encode("ascii")
            file.write(letters)
            self.hash.update(letters + b"\n%d\n" % kind)
            self.lengths.append(len(letters))
            self.types.append(kind)
            share = int.from_bytes(digest, "big") / 2**64
            self.held_out.append(share < self.source.held_out)

    def _unfit(self, record: Record, digest: bytes) -> str | None:
        if digest in self.excluded:
            return "it equals a sequence of those to exclude"
        if record_problem(record, self.alphabet):
            return "it has letters that no RNA has, or an odd id"
        if not record.sequence:
            return "it is empty"
        try:
            self.alphabet.check_length(len(record.sequence))
        except SequenceError:
            return f"its length suits no words of {self.alphabet.k}"
        return None

    def _type(self, record: Record) -> int:
        found = self.pattern.search(record.header) if self.pattern else None
        if found is None or found[1] is None:
            return _NO_TYPE
        name = found[1]
        if name not in self.alphabet.types:
            have = ", ".join(self.alphabet.types) or "none"
            raise UsageError(
                f"record {record.ordinal}, {record.id!a}: its type {name!a} is none of the "
                f"model's.\nThey are: {have}"
            )
        return self.names.setdefault(name, len(self.names))

    def _check(self) -> None:
        if not self.lengths or all(self.held_out):
            reasons = "; ".join(f"{n} because {why}" for why, n in self.left_out.most_common(3))
            raise SequenceError(
                f"the corpus has no sequence to train on: {len(self.lengths)} are held out, and "
                f"{sum(self.left_out.values())} left out{f' ({reasons})' if reasons else ''}.\n"
                "Give more files, or --held-out 0."
            )
        if self.pattern and not self.names:
            raise UsageError(
                f"no header has a type: {self.source.types!r} is found in none of them.\n"
                "Mend the expression, or leave it out."
            )

    def _about(self) -> dict[str, Any]:
        types = Counter(self.types)
        return {
            "records": len(self.lengths),
            "letters": sum(self.lengths),
            "held_out": sum(self.held_out),
            "names": list(self.names),
            "types": {name: types[i] for name, i in self.names.items()},
            "left_out": dict(self.left_out),
            "sha256": self.hash.hexdigest(),
            "source": _origin(self.source, self.alphabet),
            "files": [*_hashes((*self.source.files, *self.source.exclude))],
        }


def _hashes(files: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of each file, as it is on the disk."""
    for file in files:
        digest = hashlib.sha256()
        with suppress(OSError), Path(file).open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
            yield Path(file).name, digest.hexdigest()


def _digest(sequence: str) -> bytes:
    """Eight bytes that equal sequences share, whether they are written with T or U."""
    text = sequence.upper().replace("T", "U").encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=8).digest()
