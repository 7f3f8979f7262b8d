"""Every backend against NumPy in float64."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riboswitch import Architecture, TokenBatch, load
from riboswitch.registry import registry

pytestmark = pytest.mark.together

MODELS = (
    "rnafm",
    "mrnafm",
    "rinalmo-giga",
    "rinalmo-mega",
    "rinalmo-micro",
    "rinalmo-nano",
    "rnaernie",
)
SHRUNKEN = {"num_layers": 2, "hidden_size": 40, "num_heads": 4, "feed_forward_size": 56}
SEQUENCES = ["AUGGCC" * 7, "AUG", "GCCAUG<mask>AUG", "AUGGCC" * 7, "UAA" * 11]


def outputs_of(architecture: Architecture) -> list[str]:
    names = ["representation", "hidden_states", "attentions"]
    names += ["logits"] if architecture.lm_head else []
    return names + (["pooled"] if architecture.pooler else [])


def agree(found, expected, atol: float) -> None:
    assert found.keys() == expected.keys()
    for name, arrays in expected.items():
        assert len(found[name]) == len(arrays)
        for a, b in zip(found[name], arrays, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)


def dtypes_of(backend: str) -> list[str]:
    have = registry().backend(backend).dtypes("cpu")
    return [d for d in ("float32", "float64") if d in have]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_agrees_with_numpy_in_float64(small, backend, name, tolerance):
    judge = small(name, "numpy", "float64", **SHRUNKEN)
    names = outputs_of(judge.architecture)
    tokens = judge.alphabet.encode(SEQUENCES)
    expected = judge.backbone.forward(tokens, names)
    for dtype in dtypes_of(backend):
        found = small(name, backend, dtype, **SHRUNKEN).backbone.forward(tokens, names)
        assert {a.dtype.name for arrays in found.values() for a in arrays} == {dtype}
        agree(found, expected, tolerance["backends", dtype])


@st.composite
def architectures(draw) -> Architecture:
    heads, half = draw(st.sampled_from([(1, 3), (2, 2), (3, 4)]))
    positions = draw(st.sampled_from(["learned", "rotary"]))
    offset = draw(st.integers(0, 2))
    return Architecture(
        vocab_size=9,
        hidden_size=heads * half * 2,
        num_layers=draw(st.integers(1, 3)),
        num_heads=heads,
        feed_forward_size=draw(st.sampled_from([1, 7, 16])),
        positions=positions,
        max_positions=13 + offset if positions == "learned" else None,
        position_offset=offset if positions == "learned" else 0,
        rotary_base=draw(st.sampled_from([10000.0, 100.0])),
        token_types=draw(st.sampled_from([0, 2])),
        embedding_norm=draw(st.booleans()),
        norm=draw(st.sampled_from(["pre", "post", "stream"])),
        norm_eps=draw(st.sampled_from([1e-12, 1e-5, 1e-3])),
        final_norm=draw(st.booleans()),
        activation=draw(st.sampled_from(["gelu", "relu", "swiglu"])),
        attention_bias=draw(st.booleans()),
        token_dropout=draw(st.sampled_from([None, 0.12, 0.5])),
        mask_id=4,
        pooler=draw(st.booleans()),
        lm_head=draw(st.booleans()),
        lm_activation=draw(st.sampled_from(["gelu", "relu"])),
        tied=draw(st.booleans()),
    )


ids = st.lists(st.integers(0, 8), max_size=12)
batches = st.lists(ids.map(lambda rest: [0, *rest]), min_size=1, max_size=5)


@settings(max_examples=60)
@given(architecture=architectures(), sequences=batches, seed=st.integers(0, 3))
def test_any_architecture_agrees_with_numpy_in_float64(
    build, backend, tolerance, architecture, sequences, seed
):
    batch = TokenBatch.from_sequences(sequences)
    names = outputs_of(architecture)
    expected = build("numpy", architecture, "float64", seed).forward(batch, names)
    for dtype in dtypes_of(backend):
        found = build(backend, architecture, dtype, seed).forward(batch, names)
        agree(found, expected, tolerance["backends", dtype])


@pytest.mark.parametrize("name", ["rnafm", "rinalmo-micro", "rnaernie"])
def test_random_weights_are_the_same_numbers_on_every_backend(backend, name, tolerance):
    options = {"weights": "random", "seed": 7, "architecture": SHRUNKEN}
    judge = load(name, backend="numpy", dtype="float64", **options)
    model = load(name, backend=backend, dtype="float32", **options)
    for weight in model.weights:
        assert np.array_equal(model.weights[weight], judge.weights[weight])
    pairs = zip(model.embed(SEQUENCES), judge.embed(SEQUENCES), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance["backends", "float32"])


@pytest.mark.backend("torch")
def test_the_module_is_a_torch_module(small):
    import torch

    module = small("rnafm", "torch").backbone.module
    assert isinstance(module, torch.nn.Module)
    names = {
        n.replace("embedding.tokens.weight", "embedding.tokens")
        for n, _ in module.named_parameters()
    }
    assert {"embedding.tokens", "layers.1.feed_forward.up.weight", "final_norm.bias"} <= names


@pytest.mark.backend("paddle")
def test_the_module_is_a_paddle_layer(small):
    import paddle

    module = small("rnafm", "paddle").backbone.module
    assert isinstance(module, paddle.nn.Layer)
    names = {
        n.replace("embedding.tokens.weight", "embedding.tokens")
        for n, _ in module.named_parameters()
    }
    assert {"embedding.tokens", "layers.1.feed_forward.up.weight", "final_norm.bias"} <= names


@pytest.mark.backend("torch")
def test_torch_tokens_pass_through_the_module_alone(small):
    """A user of torch can call the native module without our wrapper."""
    import torch

    from riboswitch_torch.attention import Packing

    model = small("rnafm", "torch")
    batch = model.alphabet.encode(["GG", "ACGU"])
    ids = torch.from_numpy(batch.ids).long()
    found = model.backbone.module(ids, Packing(batch, torch.device("cpu")))["representation"]
    expected = np.concatenate(model.forward(batch).representation)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


class Spy:
    """Counts rows of each linear map and scores of attention while a model runs."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self.scores = 0


@pytest.fixture
def spy_on(monkeypatch):
    def numpy_(model, spy):
        kind = type(model.backbone)
        linear, mix = kind._linear, kind._mix

        def counted_linear(self, name, x):
            spy.rows[name] += len(x)
            return linear(self, name, x)

        def counted_mix(self, qkv, keep):
            _, n, heads, length, _ = qkv.shape
            spy.scores += n * heads * length**2
            return mix(self, qkv, keep)

        monkeypatch.setattr(kind, "_linear", counted_linear)
        monkeypatch.setattr(kind, "_mix", counted_mix)

    def torch_(model, spy):
        import torch
        from torch.nn import functional

        for name, module in model.backbone.module.named_modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_pre_hook(
                    lambda _, args, name=name: spy.rows.update({name: args[0][..., 0].numel()})
                )
        kernel = functional.scaled_dot_product_attention

        def counted(q, k, v, **options):
            spy.scores += q[..., 0].numel() * k.shape[-2]
            return kernel(q, k, v, **options)

        monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)

    def paddle_(model, spy):
        import paddle

        for name, layer in model.backbone.module.named_sublayers():
            if isinstance(layer, paddle.nn.Linear):
                layer.register_forward_pre_hook(
                    lambda _, args, name=name: spy.rows.update({name: args[0][..., 0].size})
                )
        product = paddle.matmul

        def counted(x, y, transpose_x=False, transpose_y=False, **options):
            if transpose_y and x.ndim > 2:
                spy.scores += int(x[..., 0].size) * y.shape[-2]
            return product(x, y, transpose_x, transpose_y, **options)

        monkeypatch.setattr(paddle, "matmul", counted)

    def start(model, backend: str) -> Spy:
        spy = Spy()
        {"numpy": numpy_, "torch": torch_, "paddle": paddle_}[backend](model, spy)
        return spy

    return start


@pytest.mark.parametrize("name", ["rnafm", "rinalmo-nano", "rnaernie"])
def test_no_padding_is_computed(small, backend, spy_on, cores, name):
    cores(1)
    model = small(name, backend, **SHRUNKEN)
    spy = spy_on(model, backend)
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 400, 60)
    tokens = model.alphabet.encode(["".join(rng.choice([*"ACGU"], n)) for n in lengths])
    assert tokens.padded(0).size > 1.5 * len(tokens.ids)
    model.forward(tokens, ("representation", "logits"))
    assert len(spy.rows) >= 2 * 4 + 1  # qkv, output, up, down in each layer, and the head
    assert len(tokens.ids) <= min(spy.rows.values())
    assert max(spy.rows.values()) < 1.02 * len(tokens.ids)
    a = model.architecture
    pairs = a.num_layers * a.num_heads * int((tokens.lengths**2).sum())
    assert pairs <= spy.scores < 1.02 * pairs
