"""What the README says of JAX: few programs, gradients, blocks side by side."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import riboswitch
from riboswitch.model import Model
from riboswitch_jax.backbone import encode
from riboswitch_jax.blocks import Block, filled, rounded
from riboswitch_jax.layers import Params

TEXTS = ["GGGAAACCC", "ACGU"]


@pytest.fixture(scope="module")
def model() -> Model:
    """A small RiNALMo."""
    small = {"num_layers": 2, "hidden_size": 32, "num_heads": 4, "feed_forward_size": 48}
    return riboswitch.load("rinalmo-nano", weights="random", backend="jax", architecture=small)


def test_a_gradient_reaches_every_matrix(model: Model) -> None:
    block = filled(model.alphabet.encode(TEXTS))

    def loss(params: Params) -> jax.Array:
        found = encode(params, block, a=model.architecture, outputs=("logits",))["logits"]
        return jnp.square(jnp.asarray(found)).mean()

    gradients = jax.tree.leaves(jax.grad(loss)(model.backbone.module))
    assert len(gradients) == len(model.architecture.parameter_shapes())
    arrays = [np.asarray(g) for g in gradients]
    assert all(np.isfinite(a).all() for a in arrays)
    assert all(a.any() for a in arrays if a.ndim == 2)


def test_blocks_side_by_side(model: Model) -> None:
    blocks = [filled(model.alphabet.encode([text])) for text in TEXTS]

    def one(block: Block) -> jax.Array:
        found = encode(model.backbone.module, block, a=model.architecture)["representation"]
        assert isinstance(found, jax.Array)
        return found

    together = jax.vmap(one)(Block(*(np.stack(column) for column in zip(*blocks, strict=True))))
    for block, found in zip(blocks, together, strict=True):
        real = block.sequence >= 0
        np.testing.assert_allclose(found[real], one(block)[real], rtol=0, atol=1e-5)


def compiled(model: Model, caplog: pytest.LogCaptureFixture, texts: list[str]) -> list[str]:
    """The programs that XLA makes for one call."""
    caplog.clear()
    with jax.log_compiles():
        model.embed(texts)
    return re.findall(r"Finished XLA compilation of (\S+)", caplog.text)


def test_a_program_serves_all_layers_and_lengths(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    model.embed(TEXTS)
    assert compiled(model, caplog, ["ACGU" * n for n in (1, 7, 20)]) == []
    once = ["jit(attention)", "jit(embedding)", "jit(feed_forward)", "jit(norm)"]
    assert sorted(compiled(model, caplog, ["ACGU" * 40])) == once
    assert compiled(model, caplog, ["ACGU" * n for n in (10, 20, 33)]) == []


def test_blocks_have_few_sizes() -> None:
    assert {rounded(total) for total in range(1, 513)} == {128, 256, 384, 512}
    assert len({rounded(total) for total in range(1025, 2049)}) == 8


def test_memory_that_runs_out_is_a_memory_error(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr("riboswitch_jax.backbone.encode", full)
    with pytest.raises(MemoryError, match="11 tokens at once"):
        model.embed(["GGGAAACCC"])
