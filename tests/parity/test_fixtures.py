"""What the public implementations computed, on every backend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from attrs import evolve, frozen

from riboswitch import Model, TokenBatch, load
from riboswitch.layouts import checkpoint_weights, recognise
from riboswitch.registry import registry

pytestmark = pytest.mark.together

CASES = {
    "rnafm": ("rnafm", "RNA-FM_pretrained.pth"),
    "mrnafm": ("mrnafm", "mRNA-FM_pretrained.pth"),
    "rinalmo": ("rinalmo-giga", "rinalmo_tiny_pretrained.pt"),
    "rnaernie": ("rnaernie", ""),
    "rnaernie_prompt": ("rnaernie", ""),
}
HEADS = {"num_heads": 20}  # RiNALMo's files do not say it
HEADED = {
    "rnafm_ss": ("rnafm", "RNA-FM_SS-ResNet.pth", {"num_heads": 4}),
    "rinalmo_ft_ss": ("rinalmo-giga", "rinalmo_tiny_ss_ft.pt", HEADS),
    "rinalmo_ft_ncrna": ("rinalmo-giga", "rinalmo_tiny_ncrna_ft.pt", HEADS),
}


class Case:
    """A fixture's inputs and outputs, without the rows of its padding."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.meta = name, json.loads((folder / name / "meta.json").read_text())
        self.model, file = CASES[name]
        self.path = folder / name / file
        self.sizes = HEADS if name == "rinalmo" else {}
        self.expected = dict(np.load(folder / name / "expected.npz"))

    def load(self, backend: str = "numpy", dtype: str = "float32") -> Model:
        options = {"weights": self.path, "architecture": self.sizes}
        return load(self.model, backend=backend, dtype=dtype, **options)

    def tokens(self, prefix: str) -> TokenBatch:
        return TokenBatch.from_padded(self.expected[f"{prefix}tokens"], self.meta["pad"])

    def check(self, key: str, found: list[np.ndarray], tolerance, dtype: str) -> None:
        expected = self.expected[key]
        kind = "fixture rinalmo" if self.name == "rinalmo" and dtype == "float64" else "fixture"
        if expected.dtype == np.float32 and dtype == "float64":
            kind = "fixture in float32"
        assert len(found) == len(expected)
        for array, padded in zip(found, expected, strict=True):
            assert array.dtype == dtype
            real = padded[tuple(slice(n) for n in array.shape)]
            np.testing.assert_allclose(array, real, rtol=0, atol=tolerance[kind, dtype])


@pytest.fixture(params=CASES)
def case(fixtures, request):
    return Case(fixtures, request.param)


def check_all(case: Case, backend: str, dtype: str, tolerance) -> set[str]:
    """Compare every array of a case; return the names of those that were compared."""
    model = case.load(backend, dtype)
    checked = set()
    for prefix in ("", "masked_"):
        outputs = ["representation", "logits", "hidden_states", "attentions"]
        outputs += ["pooled"] if model.architecture.pooler else []
        out = model.forward(case.tokens(prefix), outputs)
        arrays = {
            f"{prefix}representation": out.representation,
            f"{prefix}logits": out.logits,
        }
        if not prefix:
            arrays["embedding_output"] = [h[0] for h in out.hidden_states]
            arrays["layer1"] = [h[1] for h in out.hidden_states]
            arrays["attentions_last"] = [a[-1] for a in out.attentions]
            if "pooled" in outputs:
                arrays["pooler"] = out.pooled
        for key in arrays.keys() & case.expected.keys():
            case.check(key, arrays[key], tolerance, dtype)
            checked.add(key)
    return checked


def test_every_backend_agrees_in_float32(case, backend, tolerance):
    checked = check_all(case, backend, "float32", tolerance)
    assert checked == case.expected.keys() - {"tokens", "masked_tokens"}


def test_numpy_agrees_in_float64(case, tolerance):
    checked = check_all(case, "numpy", "float64", tolerance)
    assert checked == case.expected.keys() - {"tokens", "masked_tokens"}


@pytest.mark.filterwarnings("ignore::riboswitch.errors.UnknownLetterWarning")
def test_text_becomes_the_same_tokens(case):
    model = case.load()
    batch = model.alphabet.encode(case.meta["sequences"], prompt=case.meta.get("prompt"))
    assert np.array_equal(batch.padded(case.meta["pad"]), case.expected["tokens"])


def test_the_architecture_is_read_from_the_files(case):
    a = case.load().architecture
    found = (a.num_layers, a.hidden_size, a.num_heads, a.feed_forward_size)
    assert found == tuple(case.meta[k] for k in ("layers", "dim", "heads", "ffn"))


def test_the_vocabulary_is_the_authors(case):
    tokens = case.load().alphabet.tokens
    assert list(tokens) == case.meta["vocab"]


@pytest.mark.filterwarnings("ignore::riboswitch.errors.UnknownLetterWarning")
def test_embed_hands_out_the_rows_of_the_residues(case, backend, tolerance):
    model = case.load(backend)
    prompt = case.meta.get("prompt")
    arrays = model.embed(case.meta["sequences"], prompt=prompt)
    tail = 3 if prompt else 1
    rows = zip(arrays, case.tokens("").lengths, case.expected["representation"], strict=True)
    for array, length, expected in rows:
        expected = expected[1 : length - tail]
        np.testing.assert_allclose(array, expected, rtol=0, atol=tolerance["fixture", "float32"])


@pytest.mark.parametrize("name", HEADED)
def test_fine_tuned_files_load_as_their_backbone(fixtures, name):
    model_name, file, changes = HEADED[name]
    path = fixtures / name / file
    model = load(model_name, weights=path, backend="numpy", architecture=changes)
    raw = registry().open_checkpoint(path).tensors
    words = next(
        t for n, t in raw.items() if n.endswith(("embedding.weight", "embed_tokens.weight"))
    )
    expected = words.read().copy()
    if name == "rnafm_ss":
        expected[model.alphabet.mask_id] = 0
    assert np.array_equal(model.weights["embedding.tokens"], expected)
    meta = json.loads((fixtures / name / "meta.json").read_text())
    assert [len(a) for a in model.embed(meta["sequences"])] == [len(s) for s in meta["sequences"]]


@pytest.mark.parametrize("name", ["rnafm", "mrnafm"])
def test_the_embedding_of_rnafms_mask_is_zeroed(fixtures, name):
    """As their loader does. The files may hold anything in that row."""
    checkpoint = registry().open_checkpoint(fixtures / name / CASES[name][1])
    layout, plain, description = recognise(checkpoint, registry().layouts)
    words = plain.tensors["embed_tokens.weight"]
    ones = Ones(words.shape)
    tied = {"embed_tokens.weight": ones, "lm_head.weight": ones}
    changed = evolve(plain, tensors={**plain.tensors, **tied})
    entry = registry().models[name]
    architecture = entry.architecture.evolve(description.changes)
    rows = checkpoint_weights(changed, layout, architecture)["embedding.tokens"]
    assert not rows[entry.alphabet.mask_id].any()
    assert rows.sum() == (words.shape[0] - 1) * words.shape[1]


@frozen
class Ones:
    """A tensor of a checkpoint."""

    shape: tuple[int, ...]
    dtype = "float32"

    def read(self) -> np.ndarray:
        return np.ones(self.shape, np.float32)


def test_a_fine_tuned_backbone_gives_the_logits_of_its_head(fixtures, backend, tolerance):
    """The ncRNA classifier is small enough to be computed here."""
    name, file, sizes = HEADED["rinalmo_ft_ncrna"]
    path = fixtures / "rinalmo_ft_ncrna" / file
    head = registry().open_checkpoint(path).tensors
    w0, b0, w2, b2 = (
        head[f"pred_head.classifier.{i}.{k}"].read().astype(np.float64)
        for i in (0, 2)
        for k in ("weight", "bias")
    )
    model = load(name, weights=path, backend=backend, dtype="float32", architecture=sizes)
    meta = json.loads((path.parent / "meta.json").read_text())
    expected = np.load(path.parent / "expected.npz")
    for i, cls in enumerate(model.embed(meta["sequences"], pool="cls")):
        logits = w2 @ _gelu(w0 @ cls + b0) + b2
        atol = tolerance["fixture", "float32"]
        np.testing.assert_allclose(logits, expected[f"cls_logits_{i}"], rtol=0, atol=atol)


def _gelu(x: np.ndarray) -> np.ndarray:
    from math import erf, sqrt

    return x * (1 + np.vectorize(erf)(x / sqrt(2))) / 2


def test_the_fixtures_are_not_trivial(case):
    """Zeros would agree with anything that is small."""
    for key in ("representation", "logits", "masked_logits"):
        assert np.abs(case.expected[key]).max() > 1
