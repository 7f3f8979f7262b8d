"""From record numbers to a `Work`: read, crop, encode, mask. A pure function of its arguments."""

from __future__ import annotations

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from riboswitch.alphabet import Alphabet
from riboswitch.batch import TokenBatch
from riboswitch.masking import Origin, Recipe
from riboswitch.masking.noise import Purpose, below, draw, keys_for, record_keys, uniform
from riboswitch.training.corpus import Corpus
from riboswitch.training.learner import Work

Ints = NDArray[np.int64]


@frozen(eq=False)
class Example:
    """A micro-batch with its masks, and why each label is there.

    Attributes:
        work: For the learner; its weights are all 1.
        origins: An `Origin` for each label, uint8 (m + t,).
        counts: Whether it counts, or is only computed so that no process has nothing to do.
    """

    work: Work
    origins: NDArray[np.uint8]
    counts: bool = True

    def count(self, types: bool) -> int:
        """Labels of the classification loss, or of the other one."""
        return int(np.sum((self.origins == Origin.TYPE) == types)) if self.counts else 0

    def weighted(self, word: float, kind: float) -> Work:
        """The work with a weight for each masked word, and another for each type."""
        weights = np.where(self.origins == Origin.TYPE, kind, word) * self.counts
        return evolve(self.work, weights=weights.astype(np.float32))

    def muted(self) -> Example:
        """The same, not to be counted."""
        return evolve(self, counts=False)


@frozen(kw_only=True, eq=False)
class Examples:
    """How examples are made.

    Attributes:
        corpus: The records.
        alphabet: The model's.
        recipe: What is masked.
        seed: With the epoch and the record's number, all that an example depends on.
        longest: Letters of a sequence at most; of a longer one each epoch takes another piece.
        shown: Share of the sequences with a type whose prompt the model sees; an alphabet
            without `ind` has no prompts.
        pool: Where the type is predicted: at `cls`, or from the `mean` of the residues.
    """

    corpus: Corpus
    alphabet: Alphabet
    recipe: Recipe
    seed: int
    longest: int
    shown: float
    pool: str

    @property
    def _may_prompt(self) -> bool:
        return self.shown > 0 and self.alphabet.ind is not None

    def tokens(self, records: Ints) -> Ints:
        """Tokens that each record has at most, int64 (n,)."""
        lengths = np.minimum(self.corpus.lengths(records), self.longest)
        words = np.maximum(0, (lengths - self.alphabet.k) // self.alphabet.stride + 1)
        prompts = 2 * (self.corpus.types[records] >= 0) * self._may_prompt
        total: Ints = words + 2 + prompts
        return total

    def make(self, records: Ints, epoch: int) -> Example:
        """Make the examples of one micro-batch."""
        records = records[np.argsort(self.tokens(records), kind="stable")]
        keys = record_keys(self.seed, epoch, records.astype(np.uint64))
        types = self._type_ids(records)
        shown = (self._draw(keys, Purpose.PROMPT) < self.shown) & self._may_prompt
        prompts = np.where(shown, types, -1)
        batch = self._encode(records, keys, prompts)
        order = np.argsort(batch.lengths, kind="stable")  # prompts may have changed it
        batch, records = batch.take(order), records[order]
        masked = self.recipe.apply(
            batch, self.alphabet, seed=self.seed, epoch=epoch, records=records
        )
        return self._example(batch, masked.ids, masked.labels, masked.origins, types[order], keys)

    def _example(
        self,
        batch: TokenBatch,
        ids: NDArray[np.int32],
        labels: Ints,
        origins: NDArray[np.uint8],
        types: Ints,
        keys: NDArray[np.uint64],
    ) -> Example:
        first, last = batch.offsets[:-1], batch.offsets[1:]
        prompted = self._prompted(batch)
        typed = types >= 0 if self.recipe.predict_type else np.zeros(len(types), bool)
        origins = origins.copy()
        origins[first] = np.where(typed & (self.pool == "cls"), Origin.TYPE, Origin.NONE)
        labels = labels.copy()
        labels[first] = types
        places = np.flatnonzero(origins)
        pooled = np.flatnonzero(typed) if self.pool == "mean" else np.zeros(0, np.int64)
        why = np.concatenate([origins[places], np.full(len(pooled), Origin.TYPE, np.uint8)])
        wanted = np.concatenate([labels[places], types[pooled]])
        work = Work(
            batch=TokenBatch(ids, batch.offsets),
            places=places,
            sequences=pooled,
            tail=np.where(prompted, 3, np.minimum(1, last - first)),
            labels=wanted,
            weights=np.ones(len(wanted), np.float32),
            seed=int(draw(keys_for(keys[:1], Purpose.DROPOUT), np.zeros(1, np.int64))[0]) >> 33,
        )
        return Example(work, why)

    def _prompted(self, batch: TokenBatch) -> NDArray[np.bool_]:
        """Which sequences end with a prompt."""
        if self.alphabet.ind is None:
            return np.zeros(len(batch), bool)
        last = np.maximum(batch.offsets[1:] - 3, 0)
        found: NDArray[np.bool_] = batch.ids[last] == self.alphabet.index[self.alphabet.ind]
        return found

    def _type_ids(self, records: Ints) -> Ints:
        """The token of each record's type, or -1."""
        table = np.array([*(self.alphabet.index[n] for n in self.corpus.names), -1], np.int64)
        return table[self.corpus.types[records]]

    def _encode(self, records: Ints, keys: NDArray[np.uint64], prompts: Ints) -> TokenBatch:
        starts = self._starts(records, keys).tolist()
        texts = [
            self.corpus.text(r, start, start + self.longest)
            for r, start in zip(records.tolist(), starts, strict=True)
        ]
        plain = self.alphabet.encode_plain(texts, warn=False)
        if not np.any(prompts >= 0):
            return plain
        ind = self.alphabet.index[self.alphabet.ind or ""]
        parts = [
            np.concatenate([ids[:-1], [ind, prompt], ids[-1:]]) if prompt >= 0 else ids
            for ids, prompt in zip(plain, prompts.tolist(), strict=True)
        ]
        return TokenBatch.from_sequences(parts)

    def _starts(self, records: Ints, keys: NDArray[np.uint64]) -> Ints:
        """Where the piece of each record begins: at a whole codon, for codons."""
        stride = self.alphabet.stride
        spare = np.maximum(0, self.corpus.lengths(records) - self.longest) // stride
        numbers = draw(keys_for(keys, Purpose.CROP), np.zeros(len(keys), np.int64))
        return below(numbers, spare + 1) * stride

    @staticmethod
    def _draw(keys: NDArray[np.uint64], purpose: Purpose) -> NDArray[np.floating]:
        return uniform(draw(keys_for(keys, purpose), np.zeros(len(keys), np.int64)))
