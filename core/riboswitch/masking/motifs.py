"""`Motifs`: short sequences to look for, shipped or from files, and the search for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from riboswitch.errors import UsageError
from riboswitch.masking.noise import Ints

SHIPPED = ("attract", "spliceaid", "statistics")
"""Names of the motif files that come with the package."""


class Motifs:
    """Motifs in RNA letters, each once.

    Attributes:
        known: Of equal rank, to be taken in random order.
        ranked: The others, the first ones first; those that are known too are left out.
    """

    def __init__(self, known: Iterable[str], ranked: Iterable[str] = ()) -> None:
        """Read upper- and lower-case RNA or DNA; raises `UsageError` for other letters."""
        self.known = tuple(dict.fromkeys(_rna(motif) for motif in known))
        others, seen = dict.fromkeys(_rna(motif) for motif in ranked), set(self.known)
        self.ranked = tuple(motif for motif in others if motif not in seen)
        if not self.known and not self.ranked:
            raise UsageError("there are no motifs.\nGive at least one file with one.")

    @classmethod
    def read(
        cls, known: Iterable[str], ranked: Iterable[str], folder: Path | None = None
    ) -> Motifs:
        """Read files, or those that are shipped, by their names; paths start at `folder`."""
        return cls(
            chain.from_iterable(_read(name, folder) for name in known),
            chain.from_iterable(_read(name, folder) for name in ranked),
        )

    def __len__(self) -> int:
        return len(self.known) + len(self.ranked)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Motifs):
            return NotImplemented
        return (self.known, self.ranked) == (other.known, other.ranked)

    def __hash__(self) -> int:
        return hash((self.known, self.ranked))

    def __repr__(self) -> str:
        return f"Motifs({len(self.known)} known, {len(self.ranked)} ranked)"

    def __reduce__(self) -> tuple[type[Motifs], tuple[tuple[str, ...], tuple[str, ...]]]:
        return Motifs, (self.known, self.ranked)

    @cached_property
    def lengths(self) -> Ints:
        """Letters of each motif, the known ones first, int64."""
        return np.array([len(motif) for motif in (*self.known, *self.ranked)], np.int64)

    def find(self, text: str) -> tuple[Ints, Ints]:
        """Find all occurrences, overlapping ones too.

        Args:
            text: RNA letters, and spaces over which no motif goes.

        Returns:
            The number of the motif and the end of each occurrence, int64, ordered by the end.

        Raises:
            UsageError: pyahocorasick is missing.
        """
        pairs = chain.from_iterable(self._automaton.iter(text))
        found = np.fromiter(pairs, np.int32).reshape(-1, 2)  # a tenth quicker than int64
        return found[:, 1].astype(np.int64), found[:, 0] + np.int64(1)

    @cached_property
    def _automaton(self) -> _Automaton:
        library = _library()
        automaton = library.Automaton(library.STORE_INTS)
        for number, motif in enumerate((*self.known, *self.ranked)):
            automaton.add_word(motif, number)
        automaton.make_automaton()
        return cast("_Automaton", automaton)


class _Automaton(Protocol):
    def iter(self, text: str) -> Iterator[tuple[int, int]]: ...


def _library() -> Any:
    try:
        import ahocorasick
    except ImportError as error:
        raise UsageError(
            "masking by motifs needs pyahocorasick, which is not installed.\n"
            'Install it: pip install "riboswitch[pretrain]"'
        ) from error
    return ahocorasick


def _rna(motif: str) -> str:
    text = motif.upper().replace("T", "U")
    if not text or not set(text) <= set("ACGU"):
        strange = sorted(set(text) - set("ACGU"))
        raise UsageError(
            f"the motif {motif[:60]!a} has {', '.join(map(ascii, strange)) or 'no letters'}.\n"
            "A motif is made of A, C, G and U or T; write an ambiguous one as several."
        )
    return text


def _read(name: str, folder: Path | None) -> Iterator[str]:
    lines = _lines(name, folder)
    empty = True
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            yield _rna(text)
        except UsageError as error:
            raise UsageError(f"{name}, line {number}: {error}") from None
        empty = False
    if empty:
        raise UsageError(f"the motif file {name} has no motifs.\nWrite one on each line.")


def _lines(name: str, folder: Path | None) -> list[str]:
    if name in SHIPPED:
        shipped = files("riboswitch.masking") / "motif_data" / f"{name}.txt"
        return shipped.read_text("ascii").splitlines()
    try:
        return ((folder or Path()) / name).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the motif file {name} cannot be read: {error}\n"
            f"Give the path of a text file with one motif on each line, or one of: "
            f"{', '.join(SHIPPED)}."
        ) from error
