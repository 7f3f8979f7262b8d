"""One encoder as a pure function of its parameters, which interprets any `Architecture`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import jax
import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch, run_sorted
from riboswitch.interfaces import Array, Weights, float_dtype
from riboswitch.weights import LazyWeights
from riboswitch_jax.attention import rotary_tables
from riboswitch_jax.blocks import LIMIT, Block, cut, filled
from riboswitch_jax.layers import Common, Params, embedding, layer, lm_head, norm, pooler
from riboswitch_jax.parameters import named, precision

Found: TypeAlias = dict[str, jax.Array | list[jax.Array]]


def encode(
    params: Params, block: Block, *, a: Architecture, outputs: Sequence[str] = ("representation",)
) -> Found:
    """Run a block of tokens.

    Args:
        params: As `riboswitch_jax.parameters.load` makes them.
        block: T tokens.
        a: What to compute.
        outputs: What is wanted of it.

    Returns:
        representation (T, D); logits (T, V); pooled (T, D), of each token; hidden_states, a list
        of N + 1 (T, D); attentions, a list of N (H, T, T).
    """
    x, common = _embed(params["embedding"], a, block)
    states, attentions = [x], []
    for p in params["layers"]:
        x, probabilities = layer(p, a, x, common, "attentions" in outputs)
        if "hidden_states" in outputs:
            states.append(x)
        if probabilities is not None:
            attentions.append(probabilities)
    x = norm(params["final_norm"], a.norm_eps, x) if a.final_norm else x
    found: Found = {"representation": x, "attentions": attentions}
    found["hidden_states"] = [*states[:-1], x]
    if "logits" in outputs:
        tokens = params["embedding"]["tokens"]
        found["logits"] = lm_head(
            params["lm_head"], tokens, a.norm_eps, x, activation=a.lm_activation
        )
    if "pooled" in outputs:
        found["pooled"] = pooler(params["pooler"], x)
    return {name: found[name] for name in outputs}


def _embed(p: Params, a: Architecture, block: Block) -> tuple[jax.Array, Common]:
    dropout = None if a.token_dropout is None else (a.mask_id or 0, a.token_dropout)
    tables = None
    if a.positions == "rotary":
        length = len(block.ids)
        tables = rotary_tables(a.rotary_base, a.head_size, length, p["tokens"].dtype)
    found: tuple[jax.Array, Common]
    found = embedding(p, a.norm_eps, block, a.position_offset, dropout, tables)
    return found


class JaxBackbone:
    """`encode` and its parameters behind the core's interface: NumPy in, NumPy out."""

    def __init__(self, architecture: Architecture, params: Params, dtype: str) -> None:
        self.architecture, self.dtype = architecture, dtype
        self.module = params

    def forward(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, list[Array]]:
        """Run block after block."""
        return run_sorted(batch, lambda ordered: self._run(ordered, outputs))

    def canonical(self) -> Weights:
        """Read the parameters."""

        def make(name: str) -> Array:
            return np.array(named(self.module, name), float_dtype(self.dtype))

        return LazyWeights(self.architecture.parameter_shapes(), make)

    def _run(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, list[Array]]:
        found: dict[str, list[Array]] = {name: [] for name in outputs}
        # Attention is kept of whole blocks, so a shared one would keep much that is nobody's.
        limit = 0 if "attentions" in outputs else LIMIT
        for part in cut(batch, limit):
            for name, array in self._encode(part, outputs).items():
                bounds = zip(part.offsets[:-1], part.offsets[1:], strict=True)
                found[name] += [_own(name, array, slice(*pair)) for pair in bounds]
        return found

    def _encode(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, Array]:
        with precision(self.dtype):
            try:
                found = encode(self.module, filled(batch), a=self.architecture, outputs=outputs)
                return {name: self._array(value) for name, value in found.items()}
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                raise MemoryError(f"{len(batch.ids)} tokens at once: {error}") from error

    def _array(self, value: jax.Array | list[jax.Array]) -> Array:
        if isinstance(value, list):
            return np.stack([self._array(each) for each in value])
        return np.asarray(value).astype(float_dtype(self.dtype))


def _own(name: str, array: Array, tokens: slice) -> Array:
    """What a block's output holds of one sequence."""
    own: Array = array[..., tokens, :]
    if name == "pooled":
        return np.asarray(own[0])
    return own[..., tokens] if name == "attentions" else own
