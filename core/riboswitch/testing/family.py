"""`ModelContract`: what every registered model keeps to."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, ClassVar

import numpy as np
import pytest

from riboswitch.alphabet import Alphabet
from riboswitch.errors import SequenceError, UnknownLetterWarning, UsageError
from riboswitch.interfaces import ModelEntry
from riboswitch.limits import max_residues
from riboswitch.loading import load
from riboswitch.model import Model
from riboswitch.opening import misfit
from riboswitch.origins import ByHand, HubFile, ZenodoFile
from riboswitch.registry import registry
from riboswitch.testing.contract import Contract
from riboswitch.testing.tolerances import TOLERANCES

UNKNOWN = "!"
"""A letter of no alphabet."""


class ModelContract(Contract):
    """The contract of a model, data of a family. A subclass states which:

        class TestMine(ModelContract):
            model = "mine"

    No weights are fetched: a shrunken copy with random ones is computed on every backend that
    is installed and does not refuse it.

    Attributes:
        model: Its name, as in `load(name)`.
        sizes: Of the shrunken copy.
    """  # noqa: D415  # an example follows

    model: ClassVar[str]
    sizes: ClassVar[Mapping[str, Any]] = {
        "num_layers": 2,
        "hidden_size": 48,
        "num_heads": 4,
        "feed_forward_size": 80,
    }

    @property
    def entry(self) -> ModelEntry:
        """As the plugin announces it."""
        return registry().model(self.model)

    @property
    def alphabet(self) -> Alphabet:
        """The entry's."""
        return self.entry.alphabet

    def small(self, backend: str, dtype: str) -> Model:
        """The shrunken copy on a backend, with random weights."""
        return load(
            self.model,
            backend=backend,
            device="cpu",
            dtype=dtype,
            weights="random",
            architecture=self.sizes,
        )

    def texts(self, count: int = 6, *, seed: int = 0) -> list[str]:
        """Texts of random words, the first of one word, in RNA's letters."""
        rng, words = np.random.default_rng(seed), self.alphabet.words
        step = self.alphabet.stride
        lengths = [1, *rng.integers(2, 40, count - 1)]
        joined = ["".join(rng.choice(words, n)) for n in lengths]
        cut = [t[: self.alphabet.k + step * (n - 1)] for t, n in zip(joined, lengths, strict=True)]
        return [self.alphabet.to_rna(t) if t in words else t.replace("T", "U") for t in cut]

    def test_it_is_registered(self) -> None:
        """Under its own name, with a family, a licence and a source in one line each."""
        assert self.entry.name == self.model
        for said in (self.entry.family, self.entry.licence, self.entry.source):
            assert said.strip()
            assert "\n" not in said

    def test_alphabet_and_architecture_fit(self) -> None:
        """As many embeddings as tokens, the same mask, and room for a text."""
        architecture = self.entry.architecture
        assert misfit(architecture, self.alphabet) is None
        assert architecture.mask_id in (None, self.alphabet.mask_id)
        assert self.alphabet.words, "no token is made of letters"
        limit = max_residues(self.entry)
        assert limit is None or limit >= self.alphabet.k

    def test_text_comes_back(self) -> None:
        """`decode` of `encode` is the text, in RNA's letters."""
        texts = self.texts(20)
        assert self.alphabet.decode(self.alphabet.encode(texts)) == texts

    def test_special_tokens_surround_each_text(self) -> None:
        """One before, one after, and words between that are none of them."""
        special = {self.alphabet.cls, self.alphabet.pad, self.alphabet.eos, self.alphabet.mask}
        for text, ids in zip(self.texts(), self.alphabet.encode(self.texts()), strict=True):
            tokens = [self.alphabet.tokens[i] for i in ids.tolist()]
            assert (tokens[0], tokens[-1]) == (self.alphabet.cls, self.alphabet.eos)
            assert not special & {*tokens[1:-1]}
            assert len(tokens) == self.alphabet.num_tokens(len(text))

    def test_t_is_u_and_case_does_not_matter(self) -> None:
        """A text of DNA or in lower case has the same tokens."""
        texts = self.texts()
        expected = self.alphabet.encode(texts)
        assert self.alphabet.encode([t.replace("U", "T") for t in texts]) == expected
        assert self.alphabet.encode([t.lower() for t in texts]) == expected

    def test_unknown_letters_are_counted_in_one_warning(self) -> None:
        """Their words become the unknown token, and no others do."""
        text = self.texts()[-1]
        step = self.alphabet.k if self.alphabet.stride > 1 else 1
        with pytest.warns(UnknownLetterWarning) as caught:
            batch = self.alphabet.encode([text, UNKNOWN * step + text, text])
        assert len(caught) == 1
        unknown = [int((ids == self.alphabet.unk_id).sum()) for ids in batch]
        assert unknown == [0, self.alphabet.k if self.alphabet.stride < self.alphabet.k else 1, 0]

    def test_a_mask_is_the_mask_token(self) -> None:
        """`<mask>` in a text, and only that."""
        text = self.texts()[-1]
        plain, masked = self.alphabet.encode([text, f"<mask>{text}"])
        assert self.alphabet.mask_id not in plain
        assert self.alphabet.mask_id in masked

    def test_prompts(self) -> None:
        """Each type is announced by its token; another, or any where there is none, is an error."""
        text = self.texts()[-1:]
        for kind in self.alphabet.types:
            (ids,) = self.alphabet.encode(text, prompt=kind)
            tail = [self.alphabet.tokens[i] for i in ids[-3:].tolist()]
            assert tail == [self.alphabet.ind, kind, self.alphabet.eos]
            assert self.alphabet.decode(self.alphabet.encode(text, prompt=kind)) == text
        with pytest.raises(UsageError):
            self.alphabet.encode(text, prompt="no such type")

    def test_random_weights_agree_on_every_backend(self) -> None:
        """The shrunken copy, on all that are installed and take it, against NumPy in float64."""
        judge, texts = self.small("numpy", "float64"), self.texts()
        able = registry().able(judge.architecture)
        assert "numpy" in able
        for name in able:
            model = self.small(name, "float32")
            for found, expected in zip(model.embed(texts), judge.embed(texts), strict=True):
                far = float(np.abs(found - expected).max())
                assert far <= TOLERANCES["backends", "float32"], f"{name} is {far:.2g} off"

    def test_rows_are_those_of_words(self) -> None:
        """One for each word and none for special tokens; with `pool`, one for a text."""
        model, texts = self.small("numpy", "float32"), self.texts()
        width = model.architecture.hidden_size
        rows = [(self.alphabet.num_words(len(t)), width) for t in texts]
        assert [a.shape for a in model.embed(texts)] == rows
        assert model.embed(texts, pool="mean").shape == (len(texts), width)

    def test_a_text_that_is_too_long_is_an_error(self) -> None:
        """It names the text and the limit; the longest one passes."""
        model = self.small("numpy", "float32")
        limit = max_residues(self.entry)
        if limit is None:
            assert self.entry.architecture.max_tokens is None
            return
        step = self.alphabet.stride
        longer = (self.texts()[0] * (limit + step))[: limit + step]
        longest = longer[:-step]
        assert len(model.embed([longest])[0]) == self.alphabet.num_words(limit)
        with pytest.raises(SequenceError, match=rf"sequence 1: .*{limit}"):
            model.embed([longest, longer])

    def test_released_weights_are_described(self) -> None:
        """A place that is known, one name in the cache, and a hash that may be one."""
        released = self.entry.released
        if released is None:
            return
        assert isinstance(released.source, HubFile | ZenodoFile | ByHand)
        assert released.url.startswith("https://")
        assert PurePath(released.filename).name == released.filename
        assert released.sha256 is None or re.fullmatch("[0-9a-f]{64}", released.sha256)

    def test_no_warning_for_a_plain_text(self) -> None:
        """Letters of the alphabet are known."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.alphabet.encode(self.texts(20))
