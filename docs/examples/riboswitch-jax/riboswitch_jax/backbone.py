"""One encoder as a pure function of its parameters, which interprets any `Architecture`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch, run_sorted
from riboswitch.interfaces import Array, Weights, float_dtype
from riboswitch.weights import LazyWeights
from riboswitch_jax.blocks import LIMIT, Block, cut, filled
from riboswitch_jax.layers import Params, embedding, layer, linear, lm_head, norm
from riboswitch_jax.parameters import named, precision

BY_LAYER = ("hidden_states", "attentions")


@partial(jax.jit, static_argnames=("a", "keep"))
def encode(
    params: Params, block: Block, *, a: Architecture, keep: tuple[str, ...] = ()
) -> dict[str, jax.Array]:
    """Run a block of tokens.

    What is cheap is always computed: a program for each wish would take longer to compile.

    Args:
        params: As `riboswitch_jax.parameters.load` makes them.
        block: T tokens.
        a: What to compute.
        keep: Which of `BY_LAYER` is wanted.

    Returns:
        representation (T, D); if the model has it, logits (T, V) and, of each token, pooled
        (T, D); if wanted, hidden_states (N + 1, T, D) and attentions (N, H, T, T).
    """
    same = block.sequence[:, None] == block.sequence[None]
    first = embedding(params["embedding"], a, block, same)

    def step(x: jax.Array, p: Params) -> tuple[jax.Array, dict[str, Any]]:
        x, probabilities = layer(p, a, x, block, same, "attentions" in keep)
        made = {"hidden_states": x, "attentions": probabilities}
        return x, {name: made[name] for name in keep}

    x, found = jax.lax.scan(step, first, params["layers"])
    x = norm(params["final_norm"], a, x) if a.final_norm else x
    if "hidden_states" in keep:
        found["hidden_states"] = jnp.stack([first, *found["hidden_states"][:-1], x])
    if a.lm_head:
        found["logits"] = lm_head(params["lm_head"], a, params["embedding"]["tokens"], x)
    if a.pooler:
        found["pooled"] = jnp.tanh(linear(params["pooler"], x))
    return {"representation": x, **found}


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
            with precision(self.dtype):
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
        keep = tuple(name for name in BY_LAYER if name in outputs)
        with precision(self.dtype):
            try:
                found = encode(self.module, filled(batch), a=self.architecture, keep=keep)
                return {n: np.asarray(found[n]).astype(float_dtype(self.dtype)) for n in outputs}
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                raise MemoryError(f"{len(batch.ids)} tokens at once: {error}") from error


def _own(name: str, array: Array, tokens: slice) -> Array:
    """What a block's output holds of one sequence."""
    own: Array = array[..., tokens, :]
    if name == "pooled":
        return np.asarray(own[0])
    return own[..., tokens] if name == "attentions" else own
