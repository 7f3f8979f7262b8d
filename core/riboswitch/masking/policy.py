"""What a masked token becomes: the mask token, another word, or itself."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.masking.noise import Ints, Purpose, UInts, below, draw, keys_for, uniform


class Words(NamedTuple):
    """What masking needs to know of an alphabet.

    Attributes:
        is_word: Whether a token is one, bool (vocabulary,).
        plain: Ids of the words of A, C, G and U alone, int32; all words where there are none.
        rank: Place of each token in `plain`; the length of `plain` for others, int64.
        letters: What each word shows, in RNA letters; spaces for others, uint8 (vocabulary, k).
    """

    is_word: NDArray[np.bool_]
    plain: NDArray[np.int32]
    rank: Ints
    letters: NDArray[np.uint8]


@lru_cache(maxsize=16)
def words_of(alphabet: Alphabet) -> Words:
    """Look at an alphabet once."""
    ids = np.array([alphabet.index[word] for word in alphabet.words], np.int32)
    is_word = np.zeros(len(alphabet), bool)
    is_word[ids] = True
    texts = [word.replace("T", "U") for word in alphabet.words]
    plain = [i for i, text in zip(ids, texts, strict=True) if set(text) <= set("ACGU")]
    rank = np.full(len(alphabet), len(plain or ids), np.int64)
    rank[plain or ids] = np.arange(len(plain or ids))
    letters = np.full((len(alphabet), alphabet.k), ord(" "), np.uint8)
    for i, text in zip(ids, texts, strict=True):
        letters[i] = np.frombuffer(text.encode("ascii"), np.uint8)
    return Words(is_word, np.array(plain or ids, np.int32), rank, letters)


def replaced(
    ids: NDArray[np.int32],
    keys: UInts,
    owners: Ints,
    places: Ints,
    deciders: Ints,
    alphabet: Alphabet,
    shares: tuple[float, float],
) -> NDArray[np.int32]:
    """Give each masked token what stands in its place.

    Args:
        ids: The tokens themselves, int32 (m,).
        keys: Of all sequences, uint64 (n,).
        owners: The sequence of each token, (m,).
        places: Of each in its sequence, (m,).
        deciders: The place whose number decides; tokens that share one are treated alike, (m,).
        alphabet: Theirs.
        shares: How many become the mask token, how many another word; the others stay.

    Returns:
        int32 (m,).
    """
    fractions = uniform(draw(keys_for(keys, Purpose.ACTION)[owners], deciders))
    result = np.where(fractions < shares[0], np.int32(alphabet.mask_id), ids)
    swapped = np.flatnonzero((fractions >= shares[0]) & (fractions < shares[0] + shares[1]))
    numbers = draw(keys_for(keys, Purpose.WORD)[owners[swapped]], places[swapped])
    result[swapped] = _other_words(ids[swapped], numbers, words_of(alphabet))
    return result


def _other_words(ids: NDArray[np.int32], numbers: UInts, words: Words) -> NDArray[np.int32]:
    """Draw words that are not the ones that stood there."""
    rank = words.rank[ids]
    others = len(words.plain) - (rank < len(words.plain))
    index = below(numbers, others)
    index += index >= rank
    return words.plain[np.minimum(index, len(words.plain) - 1)]
