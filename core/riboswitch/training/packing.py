"""Pack a corpus: read FASTA files once, and write what training needs of them."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.errors import SequenceError, StoreError, UsageError
from riboswitch.files import replacing
from riboswitch.sequences import Record, read_records
from riboswitch.training.corpus import FILES, Corpus, Source, open_corpus
from riboswitch.training.provenance import check_there, hashes, origin
from riboswitch.training.types import Types


def pack(source: Source, alphabet: Alphabet, folder: Path) -> Corpus:
    """Read all files once and pack them into a folder, which is there wholly or not at all.

    Records that the alphabet cannot take are left out, counted and named by reason.

    Raises:
        SequenceError: A file cannot be read, or nothing is left to train on.
        UsageError: Types are none of the alphabet's, or no header has one.
        ResourceError: The disk is full.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there, and no packed corpus.\nGive another folder: -o.")
    check_there(source)
    with replacing(folder, overwrite=False, ours=FILES) as temporary:
        temporary.mkdir()
        _Packer(source, alphabet, temporary).run()
    corpus = open_corpus(folder)
    if corpus is None:
        raise StoreError(f"{folder} is gone while it was made.\nGive the same command again.")
    return corpus


class _Plain:
    """A file that NumPy does not write past: what it writes itself fails without a reason."""

    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(_Plain(file), array)


class _Packer:
    """Writes a corpus record by record."""

    def __init__(self, source: Source, alphabet: Alphabet, folder: Path) -> None:
        self.source, self.alphabet, self.folder = source, alphabet, folder
        self.excluded = {_digest(r.sequence) for file in source.exclude for r in read_records(file)}
        self.types = Types(source.pattern(), alphabet.types)
        self.lengths, self.kinds, self.held_out = array("q"), array("h"), array("b")
        self.left_out: Counter[str] = Counter()
        self.hash = hashlib.sha256()

    def run(self) -> None:
        with (self.folder / "letters.bin").open("wb") as file:
            for name in self.source.files:
                self._add(name, file)
        self._check()
        offsets = np.concatenate([[0], np.cumsum(np.array(self.lengths, np.int64))])
        _save(self.folder / "offsets.npy", offsets.astype(np.int64))
        _save(self.folder / "types.npy", np.array(self.kinds, np.int16))
        _save(self.folder / "held_out.npy", np.array(self.held_out, bool))
        text = json.dumps(self._about(), indent=1)
        (self.folder / "corpus.json").write_text(text, "utf-8")

    def _add(self, name: str, file: BinaryIO) -> None:
        for record in read_records(name):
            digest = _digest(record.sequence)
            if reason := self._unfit(record, digest):
                self.left_out[reason] += 1
                continue
            kind = self.types.find(record.header, name)
            letters = self.alphabet.plain(record.sequence).encode("ascii")
            file.write(letters)
            self.hash.update(letters + b"\n%d\n" % kind)
            self.lengths.append(len(letters))
            self.kinds.append(kind)
            share = int.from_bytes(digest, "big") / 2**64
            self.held_out.append(share < self.source.held_out)

    def _unfit(self, record: Record, digest: bytes) -> str | None:
        if digest in self.excluded:
            return "it equals a sequence of those to exclude"
        if not self.alphabet.readable.issuperset(record.sequence):
            return "it has letters that no RNA has"
        if not record.sequence:
            return "it is empty"
        try:
            self.alphabet.check_length(len(record.sequence))
        except SequenceError:
            return f"its length suits no words of {self.alphabet.k}"
        return None

    def _check(self) -> None:
        if not self.lengths or all(self.held_out):
            reasons = "; ".join(f"{n} because {why}" for why, n in self.left_out.most_common(3))
            raise SequenceError(
                f"the corpus has no sequence to train on: {len(self.lengths)} are held out, and "
                f"{sum(self.left_out.values())} left out{f' ({reasons})' if reasons else ''}.\n"
                "Give more files, or --held-out 0."
            )
        self.types.check()

    def _about(self) -> dict[str, Any]:
        kinds, names = Counter(self.kinds), self.types.names
        return {
            "records": len(self.lengths),
            "letters": sum(self.lengths),
            "held_out": sum(self.held_out),
            "names": list(names),
            "types": {name: kinds[i] for name, i in names.items()},
            "left_out": dict(self.left_out),
            "sha256": self.hash.hexdigest(),
            "source": origin(self.source, self.alphabet),
            "files": [*hashes((*self.source.files, *self.source.exclude))],
        }


def _digest(sequence: str) -> bytes:
    """Eight bytes that equal sequences share, whether they are written with T or U."""
    text = sequence.upper().replace("T", "U").encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=8).digest()
