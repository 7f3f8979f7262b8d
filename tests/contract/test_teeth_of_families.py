"""Families of strangers keep the contract of a model; each with one mistake in it fails."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any, ClassVar

import pytest
from attrs import evolve

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.interfaces import ModelEntry
from riboswitch.registry import registry
from riboswitch.testing import ModelContract

pytestmark = pytest.mark.slow

SIZES = {"hidden_size": 24, "num_layers": 2, "num_heads": 3, "feed_forward_size": 20}
BERT = {"cls": "[CLS]", "pad": "[PAD]", "eos": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"}
SPECIAL = ("<cls>", "<pad>", "<eos>", "<unk>", "<mask>")


def entry(name: str, alphabet: Alphabet, **changes: Any) -> ModelEntry:
    sizes = {"vocab_size": len(alphabet), "mask_id": alphabet.mask_id, **SIZES}
    return ModelEntry(
        name=name,
        family=name,
        architecture=Architecture(**{**sizes, **changes}),
        alphabet=alphabet,
        licence="MIT",
        source="nobody 2026",
    )


CODONS = entry(
    "codons",
    Alphabet(tokens=(*SPECIAL, *map("".join, product("ACGU", repeat=3))), k=3, stride=3),
    positions="learned",
    max_positions=22,
    position_offset=2,
    lm_head=False,
)
"""Without N, without a head, and for 18 codons at most."""
KMERS = entry(
    "kmers",
    Alphabet(
        tokens=("[IND]", "tRNA", "rRNA", *BERT.values(),
         *(w for w in map("".join, product("ACGT", repeat=3)) if w not in {"TAA", "TAG"})),
        k=3, ind="[IND]", types=("tRNA", "rRNA"), **BERT,
    ),
    max_positions=40,
    embedding_norm=True,
    norm="post",
    final_norm=False,
)  # fmt: skip
"""Overlapping, two of them lacking, in DNA's letters, with prompts."""
PLAIN = entry(
    "plain",
    Alphabet(tokens=(*"UGCA", "<unk>", "<mask>", "</s>", "<pad>"), cls="</s>", eos="</s>"),
    positions="rotary",
    activation="swiglu",
    attention_bias=False,
    pooler=True,
)
"""Four letters, and one token before and after each text."""
FAMILIES = {each.name: each for each in (CODONS, KMERS, PLAIN)}


class Contract(ModelContract):
    __test__ = False
    sizes = SIZES


class TestStrangers(Contract):
    __test__ = True
    exempt: ClassVar = {
        "test_announcing_it_imports_no_framework": "only this process knows these families"
    }

    @pytest.fixture(autouse=True, params=FAMILIES)
    def _each(self, request, plant, monkeypatch):
        plant(FAMILIES[request.param])
        monkeypatch.setattr(type(self), "model", request.param, raising=False)


def changed(family: ModelEntry, **changes: Any) -> Callable[[], ModelEntry]:
    """Another alphabet, and the architecture that goes with it."""

    def make() -> ModelEntry:
        alphabet = evolve(family.alphabet, **changes)
        sizes = {"vocab_size": len(alphabet), "mask_id": alphabet.mask_id}
        return evolve(family, alphabet=alphabet, architecture=family.architecture.evolve(sizes))

    return make


def built(family: ModelEntry, **changes: Any) -> Callable[[], ModelEntry]:
    return lambda: evolve(family, architecture=family.architecture.evolve(changes))


def patched(family: ModelEntry, name: str, method: Any) -> Callable[[], ModelEntry]:
    """An alphabet of a class of the stranger's own, with a mistake in one method."""

    def make() -> ModelEntry:
        kind = type("Own", (Alphabet,), {name: method})
        parts = {f: getattr(family.alphabet, f) for f in inspect.signature(Alphabet).parameters}
        return evolve(family, alphabet=kind(**parts))

    return make


def without(family: ModelEntry, *tokens: str) -> tuple[str, ...]:
    return tuple(token for token in family.alphabet.tokens if token not in tokens)


CODON_TOKENS, KMER_TOKENS, LETTERS = (f.alphabet.tokens for f in FAMILIES.values())
MUTANTS: dict[str, tuple[Callable[[], ModelEntry], str]] = {
    "codons in both spellings": (
        changed(CODONS, tokens=(*CODON_TOKENS, "ATG")),
        "each_word_has_a_token_of_its_own",
    ),
    "a mask that is the unknown token": (
        changed(CODONS, mask="<unk>"),
        "special_tokens_are_told_apart",
    ),
    "a mask that is padding": (changed(PLAIN, mask="<pad>"), "special_tokens_are_told_apart"),
    "an unknown token that ends": (changed(PLAIN, unk="</s>"), "special_tokens_are_told_apart"),
    "no U": (
        changed(PLAIN, tokens=without(PLAIN, "U")),
        "alphabet_and_architecture_fit",
    ),
    "lower case": (
        changed(PLAIN, tokens=tuple(t.lower() for t in LETTERS)),
        "alphabet_and_architecture_fit",
    ),
    "words of another length": (changed(CODONS, k=2, stride=2), "alphabet_and_architecture_fit"),
    "no room for a codon": (built(CODONS, max_positions=4), "alphabet_and_architecture_fit"),
    "another mask in the architecture": (built(CODONS, mask_id=3), "alphabet_and_architecture_fit"),
    "a name that is taken": (
        lambda: evolve(CODONS, family="rnafm"),
        "its_family_shares_one_alphabet",
    ),
    "an entry of another name": (lambda: evolve(CODONS, name="kodons"), "it_is_registered"),
    "a licence that no file can hold": (
        lambda: evolve(PLAIN, licence="\x1b[31mfree"),
        "a_saved_copy_loads_again",
    ),
    "case that matters": (
        patched(PLAIN, "plain", lambda self, text: text),
        "t_is_u_and_case_does_not_matter",
    ),
    "text in DNA": (
        patched(PLAIN, "to_rna", lambda self, word: word.replace("U", "T")),
        "text_comes_back",
    ),
    "no token before": (
        patched(PLAIN, "encode", lambda self, texts, **o: Alphabet.encode(PLAIN.alphabet, texts)
                .take([0] * len(texts))),
        "special_tokens_surround_each_text",
    ),
    "silence about unknown letters": (
        patched(CODONS, "_warn", lambda *a: None),
        "unknown_letters_are_counted_in_one_warning",
    ),
    "masks that are unknown": (
        patched(CODONS, "mask_id", property(lambda self: self.unk_id)),
        "a_mask_is_the_mask_token",
    ),
    "any prompt": (
        patched(KMERS, "_prompt_ids", lambda self, prompt: []),
        "prompts",
    ),
    "a warning for every text": (
        patched(PLAIN, "encode", lambda self, texts, **options: warnings.warn("x", stacklevel=1)),
        "no_warning_for_a_plain_text",
    ),
    "fewer words than rows": (
        patched(CODONS, "num_words", lambda self, n: n),
        "rows_are_those_of_words",
    ),
    "a limit that is not said": (
        patched(CODONS, "num_words", lambda self, n: 1 + (n > 0)),
        "a_text_that_is_too_long_is_an_error",
    ),
    "a mask that cannot be filled": (
        patched(PLAIN, "words", ("A",)),
        "a_mask_is_filled_or_refused",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_one_mistake_is_noticed(plant, mutant, tmp_path):
    make, test = MUTANTS[mutant]
    plant(evolve(broken := make(), name=broken_name(broken)), "mine")
    function = getattr(type("TestBroken", (Contract,), {"model": "mine"})(), f"test_{test}")
    known = {"tmp_path": tmp_path}
    with pytest.raises((Exception, pytest.fail.Exception)):  # whatever it runs into
        function(**{n: known[n] for n in inspect.signature(function).parameters})


def broken_name(entry: ModelEntry) -> str:
    return "mine" if entry.name in FAMILIES else entry.name


def test_a_backend_that_is_off_is_noticed(install, plant):
    class Off(type(registry().backend("numpy"))):
        name = "broken"

        def build(self, architecture, weights, **place):
            return super().build(architecture.evolve({"norm_eps": 0.1}), weights, **place)

    numpy = registry().backends["numpy"]
    install(riboswitch_backends=lambda: [evolve(numpy, name="broken", load=Off)])
    plant(PLAIN)
    contract = type("TestPlain", (Contract,), {"model": "plain"})()
    with pytest.raises(AssertionError, match=r"broken is .* off"):
        contract.test_random_weights_agree_on_every_backend()


def test_every_test_has_a_mutant():
    tests = {name for name in dir(ModelContract) if name.startswith("test_")}
    elsewhere = {
        "test_released_weights_are_described",
        "test_random_weights_agree_on_every_backend",
        "test_announcing_it_imports_no_framework",
    }
    assert {f"test_{test}" for _, test in MUTANTS.values()} == tests - elsewhere
