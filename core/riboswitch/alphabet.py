"""`Alphabet`: text to token ids and back, for nucleotides, overlapping k-mers and codons."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from riboswitch.batch import TokenBatch, offsets_of
from riboswitch.errors import SequenceError, UnknownLetterWarning, UsageError
from riboswitch.errors import warn as give_warning

LETTERS = frozenset("ACGTUIRYKMSWBDHVNX-.*|?")
"""What a token of letters may be made of; tokens with anything else are special."""

_SYNONYMS = {"X": "N", ".": "-"}
_MASK, _UNKNOWN, _FOREIGN = "\x01", "\x02", "\x03"
_WRITTEN = re.compile(r"<(mask|unk)>|[^ -~]")


def _strings(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@frozen(kw_only=True)
class Alphabet:
    """An immutable vocabulary and the way that text becomes tokens.

    A sequence becomes `cls words… eos`, or with a type prompt `cls words… ind TYPE eos`.
    Text is upper-cased; U and T are the same letter; X is read as N and `.` as `-` where the
    alphabet lacks them; `<mask>` and `<unk>` in the text stand for those tokens (for a whole
    codon in a codon alphabet, for one nucleotide elsewhere). Every other letter becomes the
    unknown token and is counted in one warning.

    Attributes:
        tokens: All tokens, in the order of their ids.
        cls: The token before each text, as this vocabulary writes it.
        pad: The one that fills a matrix up.
        eos: The one after each text.
        unk: The one for what the vocabulary lacks.
        mask: The one for what is to be guessed.
        k: Letters in a word.
        stride: Letters from one word to the next: 1 (nucleotides, overlapping k-mers) or k
            (codons).
        ind: The token that announces a type prompt; None where prompts do not exist.
        types: The types of RNA that a model tells apart; they can be prompted where there is `ind`.
    """

    tokens: tuple[str, ...] = field(converter=_strings)
    cls: str = "<cls>"
    pad: str = "<pad>"
    eos: str = "<eos>"
    unk: str = "<unk>"
    mask: str = "<mask>"
    k: int = 1
    stride: int = 1
    ind: str | None = None
    types: tuple[str, ...] = field(default=(), converter=_strings)

    def __attrs_post_init__(self) -> None:
        named = (self.cls, self.pad, self.eos, self.unk, self.mask, *self.tokens, *self.types)
        named += () if self.ind is None else (self.ind,)
        if not all(isinstance(t, str) and t.isprintable() for t in named):
            raise UsageError("a token is no printable text.")
        if type(self.k) is not int or type(self.stride) is not int:
            raise UsageError("k and stride must be whole numbers.")
        if len(self.index) != len(self.tokens):
            twice = next(t for t, n in Counter(self.tokens).items() if n > 1)
            raise UsageError(f"the token {twice!r} stands twice in the vocabulary.")
        needed = [self.cls, self.pad, self.eos, self.unk, self.mask, *self.types]
        needed += [self.ind] if self.ind else []
        if lacking := [t for t in needed if t not in self.index]:
            raise UsageError(f"the vocabulary lacks {', '.join(map(repr, lacking))}.")
        if self.k < 1 or self.stride not in (1, self.k):
            raise UsageError("k must be positive, and stride 1 or k.")

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def index(self) -> dict[str, int]:
        """Token to id."""
        return {token: i for i, token in enumerate(self.tokens)}

    @property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return self.index[self.pad]

    @property
    def mask_id(self) -> int:
        """Id of the mask token."""
        return self.index[self.mask]

    @property
    def unk_id(self) -> int:
        """Id of the unknown token."""
        return self.index[self.unk]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The tokens made of letters: nucleotides, k-mers or codons."""
        named = {self.cls, self.pad, self.eos, self.unk, self.mask, self.ind, *self.types}
        return tuple(
            t for t in self.tokens if t not in named and len(t) == self.k and LETTERS.issuperset(t)
        )

    @cached_property
    def readable(self) -> frozenset[str]:
        """Letters of either case that may stand in RNA, known to this vocabulary or not."""
        letters = LETTERS.union(*self.words)
        return letters | {c.lower() for c in letters}

    @cached_property
    def _known(self) -> frozenset[str]:
        """Letters of either case that the words are made of."""
        table, base, _ = self._codes
        upper = {chr(i) for i in range(128) if table[i] < base - 2}
        return frozenset(upper | {c.lower() for c in upper})

    @cached_property
    def _complete(self) -> bool:
        """Whether all letters may follow each other, so that known letters make known words."""
        letters = self._codes[1] - 2
        combinations: int = letters**self.k
        return len(self.words) == combinations

    def num_words(self, num_letters: int) -> int:
        """Words that a text of so many letters has."""
        return max(0, (num_letters - self.k) // self.stride + 1)

    def num_letters(self, num_words: int) -> int:
        """Letters of a text that has so many words, at least one."""
        return (num_words - 1) * self.stride + self.k

    def num_tokens(self, num_letters: int, *, prompt: bool = False) -> int:
        """Tokens that a text of so many letters has, the special ones included."""
        return self.num_words(num_letters) + (4 if prompt else 2)

    def check_length(self, num_letters: int) -> None:
        """Raise `SequenceError` for a text that cannot be cut into words."""
        if self.stride > 1 and num_letters % self.stride:
            raise SequenceError(
                f"its length {num_letters} is not divisible by {self.stride}, as codons need."
            )
        if 0 < num_letters < self.k:
            raise SequenceError(f"its length {num_letters} is shorter than a word of {self.k}.")

    def plain(self, sequence: str) -> str:
        """Return upper-case ASCII text with one character for each letter.

        `<mask>` and `<unk>` become one control character for each letter that they stand for,
        and so does a letter that is no printable ASCII.
        """
        if "<" not in sequence and sequence.isascii() and sequence.isprintable():
            return sequence.upper()
        width = self.k if self.stride > 1 else 1
        marks = {"<mask>": _MASK * width, "<unk>": _UNKNOWN * width}
        return _WRITTEN.sub(lambda m: marks.get(m[0], _FOREIGN), sequence).upper()

    def encode(
        self, sequences: Sequence[str], *, prompt: str | None = None, warn: bool = True
    ) -> TokenBatch:
        """Turn text into tokens.

        Args:
            sequences: Any number of texts.
            prompt: A type of RNA to append to each, from `types`.
            warn: Whether to count the words that become unknown.

        Returns:
            A packed batch with the special tokens.

        Raises:
            SequenceError: A text cannot be cut into words; its number is named.
            UsageError: The alphabet has no such prompt.

        Warns:
            UnknownLetterWarning: Once, with the number of words that became unknown.
        """
        return self.encode_plain(self._texts(sequences), prompt=prompt, warn=warn)

    def encode_plain(
        self, texts: list[str], *, prompt: str | None = None, warn: bool = True
    ) -> TokenBatch:
        """Like `encode`, for what `plain` returned, whole words long; nothing is checked."""
        tail = [*self._prompt_ids(prompt), self.index[self.eos]]
        counts = np.array([self.num_words(len(t)) for t in texts], np.int64)
        words = self._word_ids(texts)
        if warn and len(unknown := np.flatnonzero(words == self.unk_id)):
            self._warn(texts, counts, unknown)
        offsets = offsets_of(counts + 1 + len(tail))
        ids = np.empty(offsets[-1], np.int32)
        place = np.ones(offsets[-1], bool)
        ids[offsets[:-1]], place[offsets[:-1]] = self.index[self.cls], False
        for shift, token in enumerate(reversed(tail), 1):
            ids[offsets[1:] - shift], place[offsets[1:] - shift] = token, False
        ids[place] = words
        return TokenBatch(ids, offsets)

    def decode(self, batch: TokenBatch) -> list[str]:
        """Turn tokens back into upper-case RNA text, without the special tokens.

        Mask and unknown tokens are written `<mask>` and `<unk>`, so that the text encodes to
        the same ids again.
        """
        return [self._text([self.tokens[i] for i in ids.tolist()]) for ids in batch]

    def unknown_words(self, sequence: str) -> Counter[str]:
        """Count the words of a text that the vocabulary lacks, upper-case."""
        if self._complete and self._known.issuperset(sequence):
            return Counter()
        texts = self._texts([sequence])
        unknown = np.flatnonzero(self._word_ids(texts) == self.unk_id)
        return _unwanted(self._word(texts[0], i) for i in unknown.tolist())

    def to_rna(self, word: str) -> str:
        """Write a token of letters with U, however the vocabulary writes it."""
        return word.replace("T", "U") if word in self.words else word

    def _texts(self, sequences: Sequence[str]) -> list[str]:
        texts = [self.plain(s) for s in as_list(sequences)]
        for number, text in enumerate(texts):
            try:
                self.check_length(len(text))
            except SequenceError as error:
                raise SequenceError(f"sequence {number}: {error}") from None
        return texts

    @cached_property
    def _codes(self) -> tuple[NDArray[np.intp], int, NDArray[np.int32]]:
        """Letter codes (256,), their number, and the id of each combination of k codes."""
        letters = sorted({c.replace("T", "U") for w in self.words for c in w})
        code = {letter: i for i, letter in enumerate(letters)}
        code |= {a: code[b] for a, b in _SYNONYMS.items() if b in code and a not in code}
        unknown, masked, base = len(letters), len(letters) + 1, len(letters) + 2
        table = np.full(256, unknown, np.intp)
        for letter, number in code.items():
            table[ord(letter)] = number
        table[ord("T")] = table[ord("U")]
        table[ord(_MASK)] = masked
        ids = np.full((base,) * self.k, self.unk_id, np.int32)
        for axis in range(self.k):
            ids[(slice(None),) * axis + (masked,)] = self.mask_id
        for word in self.words:
            ids[tuple(code[c.replace("T", "U")] for c in word)] = self.index[word]
        return table, base, ids.ravel()

    def _word_ids(self, texts: list[str]) -> NDArray[np.int32]:
        table, base, ids = self._codes
        codes = table[np.frombuffer("".join(texts).encode("ascii"), np.uint8)]
        if self.k == 1:
            return ids[codes]
        if self.stride == 1:
            return ids[self._overlapping(codes, texts, base)]
        places: NDArray[np.intp] = base ** np.arange(self.k)[::-1]
        numbers: NDArray[np.intp] = codes.reshape(-1, self.k) @ places
        return ids[numbers]

    def _overlapping(
        self, codes: NDArray[np.intp], texts: list[str], base: int
    ) -> NDArray[np.intp]:
        total = len(codes) - self.k + 1
        if total < 1:
            return np.zeros(0, np.intp)
        number = np.zeros(total, np.intp)
        for shift in range(self.k):
            number = number * base + codes[shift : shift + total]
        offsets = offsets_of([len(t) for t in texts])
        inside = np.ones(len(codes), bool)
        for shift in range(1, self.k):  # no word may begin so near to the end of its text
            ends = offsets[1:] - shift
            inside[ends[ends >= offsets[:-1]]] = False
        return number[inside[:total]]

    def _prompt_ids(self, prompt: str | None) -> list[int]:
        if prompt is None:
            return []
        if self.ind is None:
            raise UsageError(
                f"this alphabet has no type prompts, so {prompt!r} cannot be given.\n"
                "RNAErnie in its own layout has them; MultiMolecule's copy has lost them."
            )
        if prompt not in self.types:
            raise UsageError(f"no type {prompt!r}.\nThe types are: {', '.join(self.types)}")
        return [self.index[self.ind], self.index[prompt]]

    def _word(self, text: str, number: int) -> str:
        return text[number * self.stride : number * self.stride + self.k]

    def _warn(self, texts: list[str], counts: NDArray[np.int64], unknown: NDArray[np.intp]) -> None:
        ends = np.cumsum(counts)
        homes = np.searchsorted(ends, unknown, side="right")
        starts = ends - counts
        found = _unwanted(
            self._word(texts[h], int(u - starts[h])) for h, u in zip(homes, unknown, strict=True)
        )
        if found:
            message = unknown_message(found, len(set(homes.tolist())), self)
            give_warning(message, UnknownLetterWarning)

    def _text(self, tokens: list[str]) -> str:
        if self.ind in tokens:
            tokens = tokens[: tokens.index(self.ind)]
        tokens = [t for t in tokens if t not in (self.cls, self.pad, self.eos)]
        if self.stride == self.k:
            return "".join(map(self._written, tokens))
        return self._merge(tokens)

    def _written(self, token: str) -> str:
        if token in self.words:
            return self.to_rna(token)
        return "<mask>" if token == self.mask else "<unk>"

    def _merge(self, tokens: list[str]) -> str:
        """Join overlapping words; a letter that no known word tells is unknown or masked.

        Unknown words come first: a letter that one of them holds is no mask.
        """
        length = len(tokens) + self.k - 1 if tokens else 0
        letters = [""] * length
        for place, token in enumerate(tokens):
            if token in self.words:
                letters[place : place + self.k] = self.to_rna(token)
        for place, token in sorted(enumerate(tokens), key=lambda pair: pair[1] == self.mask):
            missing = [i for i in range(place, place + self.k) if not letters[i]]
            if token not in self.words and missing:
                for i in missing:
                    letters[i] = self._written(token)
        return "".join(letters)


def as_list(sequences: Iterable[str]) -> list[str]:
    """Take any iterable of texts, but not one text, which is an iterable of letters."""
    if isinstance(sequences, str):
        raise UsageError("sequences must be a list of strings, not one string.\nWrite [sequence].")
    return list(sequences)


def unknown_message(found: Counter[str], sequences: int | None, alphabet: Alphabet) -> str:
    """Say in one line which words became unknown, most frequent first."""
    total = sum(found.values())
    shown = ", ".join(f"{word!a} {count}" for word, count in found.most_common(8))
    more = ", …" if len(found) > 8 else ""
    what = {1: "letter"}.get(alphabet.k, "codon" if alphabet.stride > 1 else "k-mer")
    where = f" in {_plural(sequences, 'sequence')}" if sequences else ""
    return f"{_plural(total, what)}{where} became {alphabet.unk}: {shown}{more}"


def _unwanted(words: Iterable[str]) -> Counter[str]:
    """Count unknown words, but for those that the text itself calls unknown."""
    return Counter(w.replace(_FOREIGN, "?") for w in words if _UNKNOWN not in w)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
