"""`Model`: a language model with its weights on one backend."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import numpy as np
from attrs import frozen

from riboswitch.alphabet import Alphabet, as_list
from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch, by_budget
from riboswitch.conversion.write import save
from riboswitch.cores import num_cores
from riboswitch.errors import PluginError, SequenceError, UsageError, guarded
from riboswitch.interfaces import OUTPUTS, Array, Backbone, Backend, ModelEntry, Weights
from riboswitch.limits import check_embed, length_problem
from riboswitch.output import Fill, Output, check_results
from riboswitch.registry import registry
from riboswitch.weights import LazyWeights
from riboswitch.windows import cut, join, pool_rows

Pool = Literal["mean", "max", "cls"]
CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 32768
SMALL = 128
"""Tokens below which a second core costs more than it brings."""
T = TypeVar("T")


@frozen(eq=False)
class Model:
    """A language model with its weights on one backend.

    Attributes:
        entry: What is registered of it, with this checkpoint's architecture and alphabet.
        backend: Where it runs.
        backbone: The encoder; `backbone.module` is the native module.
        weights: The canonical weights that it was made of, read when asked for; as they are
            now, after training, `backbone.canonical()` has them.
        device: Where the backbone lives.
        dtype: What it computes in.
    """

    entry: ModelEntry
    backend: Backend
    backbone: Backbone
    weights: Weights
    device: str
    dtype: str

    @property
    def alphabet(self) -> Alphabet:
        """Text to token ids and back."""
        return self.entry.alphabet

    @property
    def architecture(self) -> Architecture:
        """What the encoder computes."""
        return self.entry.architecture

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch that the backbone is given at most, longer sequences apart."""
        return CPU_BATCH_TOKENS if self.device == "cpu" else GPU_BATCH_TOKENS

    @overload
    def embed(
        self,
        sequences: Sequence[str],
        *,
        pool: None = None,
        layer: int = -1,
        window: int | None = None,
        prompt: str | None = None,
    ) -> list[Array]: ...

    @overload
    def embed(
        self,
        sequences: Sequence[str],
        *,
        pool: Pool,
        layer: int = -1,
        window: int | None = None,
        prompt: str | None = None,
    ) -> Array: ...

    def embed(
        self,
        sequences: Sequence[str],
        *,
        pool: Pool | None = None,
        layer: int = -1,
        window: int | None = None,
        prompt: str | None = None,
    ) -> list[Array] | Array:
        """Embed sequences, in order, duplicates kept, without rows for special tokens.

        Args:
            sequences: Texts of at least one letter.
            pool: None, or how to make one vector of a sequence: the mean or the maximum over
                its residues, or the vector of the `cls` token (with `window`, the mean of the
                pieces').
            layer: Which of `hidden_states`, from 0, the embedding, to N; -1 is the last.
            window: Residues of the overlapping pieces that longer sequences are cut into; each
                residue is taken from the piece in which it stands farthest from an end.
            prompt: A type of RNA to announce, for models that take one.

        Returns:
            A list of float32 arrays (L, D), L the number of words (residues, k-mers or codons);
            with `pool`, one float32 array (n, D).

        Raises:
            SequenceError: A sequence is empty or longer than the model takes; it is named.
            UsageError: An argument cannot be right.
        """
        has_prompt = prompt is not None
        check_embed(self.entry, pool=pool, layer=layer, window=window, prompt=has_prompt)
        texts = [self.alphabet.plain(sequence) for sequence in as_list(sequences)]
        for number, text in enumerate(texts):
            if problem := length_problem(self.entry, len(text), window, has_prompt):
                raise SequenceError(f"sequence {number}: {problem}")
        arrays = self._embed(texts, pool, layer, window, prompt, exact=False)
        if pool is None:
            return arrays
        return np.stack(arrays) if arrays else np.zeros((0, self.architecture.hidden_size), "f4")

    def forward(
        self,
        batch: Sequence[str] | TokenBatch,
        outputs: Sequence[str] = ("representation",),
    ) -> Output:
        """Run the encoder on texts or tokens.

        Args:
            batch: Texts, or tokens of this model's alphabet.
            outputs: Any of `representation`, `logits`, `hidden_states`, `attentions`, `pooled`.

        Returns:
            An `Output` with an attribute for each name.

        Raises:
            UsageError: The model has no such output, or ids do not fit the vocabulary.
            SequenceError: A sequence is longer than the model takes.
        """
        tokens = batch if isinstance(batch, TokenBatch) else self.alphabet.encode(batch)
        self._check_outputs(outputs)
        self._check_tokens(tokens)
        chunks = by_budget(tokens.lengths, self.batch_tokens)
        results = self._map(partial(self._run, outputs=tuple(outputs)), tokens, chunks)
        order = np.argsort(np.concatenate(chunks)).tolist() if chunks else []
        flat = {n: [a for result in results for a in result[n]] for n in outputs}
        return Output({n: [arrays[i] for i in order] for n, arrays in flat.items()})

    def fill_mask(self, sequence: str, top_k: int = 5) -> list[Fill]:
        """Say what may stand at the one `<mask>` of a text.

        Returns:
            The `top_k` likeliest words, best first; probabilities are over the whole vocabulary.

        Raises:
            UsageError: There is not exactly one `<mask>`, or words overlap.
        """
        alphabet = self.alphabet
        if alphabet.stride != alphabet.k:
            raise UsageError("fill_mask needs words that do not overlap; these k-mers do.")
        if (count := sequence.count("<mask>")) != 1 or top_k < 1:
            raise UsageError(
                f"fill_mask needs one <mask> in the text, not {count}, and a positive top_k, not "
                f"{top_k}.\nExample: GGGAAA<mask>CCC"
            )
        tokens = alphabet.encode([sequence])
        logits = self.forward(tokens, ("logits",)).logits[0].astype(np.float64)
        scores = logits[int(np.flatnonzero(tokens.ids == alphabet.mask_id)[0])]
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
        words = sorted(alphabet.words, key=lambda w: -scores[alphabet.index[w]])[:top_k]
        plain = [(alphabet.to_rna(w), float(scores[alphabet.index[w]])) for w in words]
        return [Fill(w, p, sequence.replace("<mask>", w)) for w, p in plain]

    def save(
        self,
        path: str | os.PathLike[str],
        layout: str = "riboswitch",
        *,
        overwrite: bool = False,
    ) -> None:
        """Write the weights as they stand now, trained or not, in a checkpoint layout.

        They are written in the dtype that the model computes in: who loads a float32 checkpoint
        as bfloat16 and saves it has rounded it.

        Args:
            path: Where to. A file or a folder, as the layout is; seen whole or not at all.
            layout: Which; `riboswitch` holds any model and loads fastest.
            overwrite: Replace what is at `path`.

        Raises:
            UsageError: There is no such layout, or something is at `path` already.
            CheckpointError: The layout cannot hold this model.

        Warns:
            RiboswitchWarning: Something does not survive; it is named.
        """
        weights = self.backbone.canonical()
        dtypes = dict.fromkeys(weights, self.dtype)
        now = LazyWeights(weights, weights.__getitem__, dtypes)
        save(self.entry, now, Path(path), layout, overwrite=overwrite)

    def embed_exactly(
        self,
        sequences: Sequence[str],
        *,
        pool: str | None = None,
        layer: int = -1,
        window: int | None = None,
        prompt: str | None = None,
    ) -> list[Array]:
        """Like `embed`, for bulk work: the bits do not depend on the cores.

        Nothing is checked, and no warning is given of unknown letters.

        Returns:
            For each sequence a float32 array (L, D), or (D,) with `pool`.
        """
        texts = [self.alphabet.plain(sequence) for sequence in sequences]
        return self._embed(texts, pool, layer, window, prompt, exact=True)

    def _embed(
        self,
        texts: list[str],
        pool: str | None,
        layer: int,
        window: int | None,
        prompt: str | None,
        *,
        exact: bool,
    ) -> list[Array]:
        pieces = [p for i, t in enumerate(texts) for p in cut(i, len(t), window, self.alphabet)]
        parts = [texts[p.sequence][p.start : p.stop] for p in pieces]
        tokens = self.alphabet.encode_plain(parts, prompt=prompt, warn=not exact)
        chunks = by_budget(tokens.lengths, self.batch_tokens)
        now = None if window and pool != "cls" else pool
        states = partial(self._states, layer=layer, pool=now, tail=1 if prompt is None else 3)
        results = self._map(states, tokens, chunks, exact=exact)
        found: list[Array] = [np.empty(0)] * len(pieces)
        for chunk, arrays in zip(chunks, results, strict=True):
            for number, array in zip(chunk.tolist(), arrays, strict=True):
                found[number] = array
        return join(pieces, found, pool) if window else found

    def _states(self, batch: TokenBatch, *, layer: int, pool: str | None, tail: int) -> list[Array]:
        """Rows of the residues of each sequence, pooled where no windows are to be joined."""
        last = layer in (-1, self.architecture.num_layers)
        output = "representation" if last else "hidden_states"
        arrays = self._run(batch, (output,))[output]
        states = arrays if last else [a[layer] for a in arrays]
        return [_pool(s, pool, tail).astype(np.float32, copy=False) for s in states]

    def _run(self, batch: TokenBatch, outputs: tuple[str, ...]) -> dict[str, list[Array]]:
        """What the backbone computes, if it can be that."""
        try:
            with guarded(computing=True):
                results = self.backbone.forward(batch, outputs)
                check_results(results, outputs, batch, self.architecture)
        except PluginError as error:
            problem = f"fails to compute {self.entry.name}: {error}"
            raise registry().fault(self.backend, problem) from error
        return results

    def _map(
        self,
        function: Callable[[TokenBatch], T],
        tokens: TokenBatch,
        chunks: list[Any],
        *,
        exact: bool = False,
    ) -> list[T]:
        """Apply to each batch, on a CPU several at once with one core each."""
        batches = [tokens.take(chunk) for chunk in chunks]
        cores = num_cores() if self.device == "cpu" else 1
        share = exact or len(tokens.ids) < SMALL or min(cores, len(batches)) > 1
        with self.backend.single_thread() if share and self.device == "cpu" else nullcontext():
            if cores < 2 or len(batches) < 2:
                return [function(batch) for batch in batches]
            with ThreadPoolExecutor(min(cores, len(batches))) as pool:
                return list(pool.map(function, batches))

    def _check_outputs(self, outputs: Sequence[str]) -> None:
        lacking = {"logits": not self.architecture.lm_head, "pooled": not self.architecture.pooler}
        for name in outputs:
            if name not in OUTPUTS or lacking.get(name):
                have = ", ".join(o for o in OUTPUTS if not lacking.get(o))
                raise UsageError(f"{self.entry.name} has no output {name!r}.\nIt has: {have}")

    def _check_tokens(self, tokens: TokenBatch) -> None:
        ids, size = tokens.ids, self.architecture.vocab_size
        if ids.size and (ids.min() < 0 or ids.max() >= size):
            raise UsageError(f"ids must lie between 0 and {size - 1}, the model's vocabulary.")
        if np.any(tokens.lengths < 1):
            raise SequenceError("a sequence of the batch has no tokens.")
        limit = self.architecture.max_tokens
        if limit is not None and np.any(tokens.lengths > limit):
            number = int(np.argmax(tokens.lengths > limit))
            raise SequenceError(
                f"sequence {number} has {tokens.lengths[number]} tokens; {self.entry.name} takes "
                f"at most {limit}, special tokens included."
            )

    def __repr__(self) -> str:
        return f"Model({self.entry.name!r}, {self.backend.name!r}, {self.device!r}, {self.dtype!r})"


def _pool(states: Array, pool: str | None, tail: int) -> Array:
    rows: Array = states[0] if pool == "cls" else states[1 : len(states) - tail]
    return rows if pool == "cls" else pool_rows(rows, pool)
