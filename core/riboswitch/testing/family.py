"""`ModelContract`: what every registered model keeps to."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePath
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
from riboswitch.origins import ByHand, HubFile, Packaged, ZenodoFile
from riboswitch.registry import registry
from riboswitch.released import check, released_path
from riboswitch.testing.announced import frameworks_imported
from riboswitch.testing.backend_case import apart, on
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

    def _look_up(self) -> None:
        assert self.entry

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
            device=on(registry().backend(backend)),
            dtype=dtype,
            weights="random",
            architecture=self.sizes,
        )

    def texts(self, count: int = 6, *, seed: int = 0) -> list[str]:
        """Texts of random words, the first of one word, in RNA's letters."""
        rng = np.random.default_rng(seed)
        return [self._text(rng, n) for n in (1, *rng.integers(2, self.longest(40), count - 1))]

    def longest(self, most: int) -> int:
        """So many words, or as many as the model takes."""
        limit = self.entry.architecture.max_tokens
        return most if limit is None else max(3, min(most, limit - 1))

    def _text(self, rng: np.random.Generator, count: int) -> str:
        """Random words in a row, where they overlap one that fits the one before."""
        overlap = self.alphabet.k - self.alphabet.stride
        text = str(rng.choice(self.alphabet.words))
        for _ in range(count - 1):
            end = text[len(text) - overlap :] if overlap else ""
            fitting = [w for w in self.alphabet.words if w.startswith(end)]
            if not fitting:
                break
            text += rng.choice(fitting)[overlap:]
        return text.replace("T", "U")

    def test_it_is_registered(self) -> None:
        """Under its own name, with a family, a licence and a source in one line each."""
        assert self.entry.name == self.model
        for said in (self.entry.family, self.entry.licence, self.entry.source):
            assert said.strip()
            assert "\n" not in said

    def test_announcing_it_imports_no_framework(self) -> None:
        """The plugin's module is imported by every command."""
        assert frameworks_imported(self.entry) == []

    def test_alphabet_and_architecture_fit(self) -> None:
        """As many embeddings as tokens, the same mask, and room for a text."""
        architecture = self.entry.architecture
        assert misfit(architecture, self.alphabet) is None
        assert architecture.mask_id in (None, self.alphabet.mask_id)
        assert self.alphabet.words, "no token is made of letters"
        letters = {c for word in self.alphabet.words for c in word.replace("T", "U")}
        assert letters >= {*"ACGU"}, "no word has one of the four nucleotides"
        limit = max_residues(self.entry)
        assert limit is None or limit >= self.alphabet.k

    def test_special_tokens_are_told_apart(self) -> None:
        """The mask and the unknown token are no other's, and each type has one of its own."""
        a = self.alphabet
        others = {a.cls, a.pad, a.eos, a.ind, *a.types}
        assert a.mask not in {a.unk, *others}
        assert a.unk not in others
        assert len({*a.types}) == len(a.types)

    def test_each_word_has_a_token_of_its_own(self) -> None:
        """No word is hidden behind another spelling, such as T beside U."""
        for word in self.alphabet.words:
            (ids,) = self.alphabet.encode([self.alphabet.to_rna(word)])
            assert ids[1:-1].tolist() == [self.alphabet.index[word]], word

    def test_its_family_shares_one_alphabet(self) -> None:
        """Layouts find the alphabet of a checkpoint by its family."""
        for entry in registry().models.values():
            same = entry.family != self.entry.family or entry.alphabet == self.alphabet
            assert same, f"{entry.name} is of the family {entry.family!r} with another alphabet"

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
        assert unknown == [0, 1, 0]

    def test_a_mask_is_the_mask_token(self) -> None:
        """`<mask>` in a text, and only that."""
        text = self.texts()[-1]
        plain, masked = self.alphabet.encode([text, f"<mask>{text}"])
        assert self.alphabet.mask_id not in plain
        assert self.alphabet.mask_id in masked

    def test_prompts(self) -> None:
        """Each type is announced by its token; another, or any without `ind`, is an error."""
        text = self.texts()[-1:]
        known = self.alphabet.types if self.alphabet.ind else ()
        for kind in known:
            (ids,) = self.alphabet.encode(text, prompt=kind)
            tail = [self.alphabet.tokens[i] for i in ids[-3:].tolist()]
            assert tail == [self.alphabet.ind, kind, self.alphabet.eos]
            assert self.alphabet.decode(self.alphabet.encode(text, prompt=kind)) == text
        for kind in ("no such type", *sorted({*self.alphabet.types} - {*known})):
            with pytest.raises(UsageError):
                self.alphabet.encode(text, prompt=kind)

    def test_random_weights_agree_on_every_backend(self) -> None:
        """The shrunken copy, on all that are installed and take it, against NumPy in float64."""
        judge, texts = self.small("numpy", "float64"), self.texts()
        able = registry().able(judge.architecture)
        assert "numpy" in able
        for name in able:
            started = registry().backend(name)
            declared = started.dtypes(on(started))
            dtype = "float32" if "float32" in declared else declared[0]
            model = self.small(name, dtype)
            for found, expected in zip(model.embed(texts), judge.embed(texts), strict=True):
                far = apart(found, expected, dtype)
                assert far <= TOLERANCES["backends", dtype], f"{name} is {far:.2g} off"

    def test_a_saved_copy_loads_again(self, tmp_path: Path) -> None:
        """In our own layout, under its own name: the same architecture, alphabet and numbers."""
        model, texts = self.small("numpy", "float32"), self.texts()
        model.save(tmp_path / "own")
        again = load(self.model, weights=tmp_path / "own", backend="numpy", dtype="float32")
        assert again.entry == model.entry
        pairs = zip(again.embed(texts), model.embed(texts), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)

    def test_a_mask_is_filled_or_refused(self) -> None:
        """Without a head logits are a `UsageError`, and words that overlap are not filled in."""
        model, text = self.small("numpy", "float32"), self.texts()[-1]
        masked = f"<mask>{text[self.alphabet.stride :]}"
        if model.architecture.lm_head:
            (logits,) = model.forward([text], ("logits",)).logits
            assert logits.shape == (self.alphabet.num_tokens(len(text)), len(self.alphabet))
        else:
            with pytest.raises(UsageError, match="has no output 'logits'"):
                model.forward([text], ("logits",))
        if model.architecture.lm_head and self.alphabet.stride == self.alphabet.k:
            assert len(model.fill_mask(masked, top_k=2)) == 2
        else:
            with pytest.raises(UsageError):
                model.fill_mask(masked)

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
        limit = max_residues(model.entry)
        if limit is None:
            assert model.architecture.max_tokens is None
            return
        step = self.alphabet.stride
        words = self.alphabet.num_words(limit + step)
        longer = self._text(np.random.default_rng(0), words).ljust(limit + step, "A")
        longest = longer[:-step]
        assert len(model.embed([longest])[0]) == self.alphabet.num_words(limit)
        with pytest.raises(SequenceError, match=rf"sequence 1: .*{limit}"):
            model.embed([longest, longer])

    def test_released_weights_are_described(self) -> None:
        """A place that is known, one name in the cache, and a hash that may be one."""
        released = self.entry.released
        if released is None:
            return
        if isinstance(released.source, Packaged):
            assert released_path(self.entry).is_dir()
            assert check(self.entry).sha256 == released.sha256
        else:
            assert isinstance(released.source, HubFile | ZenodoFile | ByHand)
            assert released.url.startswith("https://")
        assert PurePath(released.filename).name == released.filename
        assert released.sha256 is None or re.fullmatch("[0-9a-f]{64}", released.sha256)

    def test_no_warning_for_a_plain_text(self) -> None:
        """Letters of the alphabet are known."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.alphabet.encode(self.texts(20))
