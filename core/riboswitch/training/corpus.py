"""A corpus: FASTA files read once, packed into a folder from which records are read at random.

Neither packing nor reading holds the letters in memory, only a few numbers for each record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from riboswitch.checks import listed, number, optional, plain_numbers, strings, text
from riboswitch.errors import StoreError, UsageError

FILES = ("letters.bin", "offsets.npy", "types.npy", "held_out.npy", "corpus.json")
NO_TYPE = -1


@frozen(kw_only=True, field_transformer=plain_numbers)
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

    files: tuple[str, ...] = field(converter=listed, validator=strings)
    exclude: tuple[str, ...] = field(default=(), converter=listed, validator=strings)
    types: str | None = field(default=None, validator=optional(text))
    held_out: float = field(default=0.01, validator=number(0, 1))

    def __attrs_post_init__(self) -> None:
        if not self.files:
            raise UsageError("a corpus needs a file.\nGive one: --corpus FASTA.")
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
        offsets, types, held_out = (np.load(folder / name) for name in FILES[1:4])
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


def left_out_message(corpus: Corpus) -> str | None:
    """Say how many records were left out and why; None when none was."""
    reasons: Mapping[str, int] = corpus.about["left_out"]
    if not reasons:
        return None
    total = sum(reasons.values())
    why = "; ".join(f"{count} because {reason}" for reason, count in reasons.items())
    return f"{total} of {total + len(corpus)} records are left out: {why}."
