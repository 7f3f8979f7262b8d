"""One encoder in plain NumPy that interprets any `Architecture`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch, run_sorted
from riboswitch.interfaces import Array, Weights
from riboswitch.weights import LazyWeights, joined, owned, shown
from riboswitch_numpy import functions as fn

SCORES = 1 << 20
"""Attention scores computed at once, so that they stay in the cache."""


PARTS = ("query", "key", "value")
TINY = 1e-6
"""Keeps a sequence of nothing but masks, whose embedding is zero, from a division by zero."""


class NumpyBackbone:
    """The encoder, its weights in one dtype."""

    def __init__(self, architecture: Architecture, weights: Weights, dtype: np.dtype[Any]) -> None:
        self.architecture = architecture
        self.dtype = dtype
        self.weights = {
            name: owned(weights[name], dtype)
            for name in weights
            if not any(f".{part}." in name for part in PARTS)
        }
        for i in range(architecture.num_layers):
            self._stack(f"layers.{i}.attention", weights)

    @property
    def module(self) -> NumpyBackbone:
        """NumPy has no modules: the backbone itself."""
        return self

    def forward(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, list[Array]]:
        """Run the packed tokens through all layers."""
        return run_sorted(batch, lambda ordered: self._run(ordered, outputs))

    def canonical(self) -> Weights:
        """Split what was stacked."""

        def make(name: str) -> Array:
            if name in self.weights:
                return shown(self.weights[name])
            owner, part, kind = name.rsplit(".", 2)
            stacked = self.weights[f"{owner}.qkv.{kind}"]
            return shown(np.split(stacked, 3)[PARTS.index(part)])

        return LazyWeights(self.architecture.parameter_shapes(), make)

    def _run(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, Array | list[Array]]:
        a = self.architecture
        x = self._embed(batch)
        states = [x]
        probabilities: list[list[Array]] = []
        for i in range(a.num_layers):
            x = self._layer(i, x, batch, probabilities if "attentions" in outputs else None)
            if "hidden_states" in outputs:
                states.append(x)
        if a.final_norm:
            x = self._norm("final_norm", x)
        found: dict[str, Array | list[Array]] = {"representation": x}
        if "hidden_states" in outputs:
            found["hidden_states"] = np.stack([*states[:-1], x])
        if "attentions" in outputs:
            found["attentions"] = [np.stack(layers) for layers in zip(*probabilities, strict=True)]
        if "pooled" in outputs:
            found["pooled"] = np.tanh(self._linear("pooler", x[batch.offsets[:-1]]))
        if "logits" in outputs:
            found["logits"] = self._logits(x)
        return {name: found[name] for name in outputs}

    def _embed(self, batch: TokenBatch) -> Array:
        a = self.architecture
        x = self.weights["embedding.tokens"][batch.ids]
        if a.token_dropout is not None:
            x = self._drop_masks(x, batch)
        if a.positions == "learned":
            x += self.weights["embedding.positions"][batch.positions + a.position_offset]
        if a.token_types:
            x += self.weights["embedding.types"][0]
        return self._norm("embedding.norm", x) if a.embedding_norm else x

    def _drop_masks(self, x: Array, batch: TokenBatch) -> Array:
        """Zero the masks' embeddings and rescale the rest of each sequence."""
        masked = batch.ids == self.architecture.mask_id
        observed = np.add.reduceat(masked, batch.offsets[:-1], dtype=np.int64) / batch.lengths
        expected = self.architecture.token_dropout or 0.0
        scale = ((1 - expected) / np.maximum(1 - observed, TINY)).astype(self.dtype)
        x[masked] = 0
        x *= np.repeat(scale, batch.lengths)[:, None]
        return x

    def _layer(
        self, i: int, x: Array, batch: TokenBatch, probabilities: list[list[Array]] | None
    ) -> Array:
        name, norm = f"layers.{i}", self.architecture.norm
        attention, feed_forward = f"{name}.attention", f"{name}.feed_forward"
        if norm == "post":
            x = self._norm(
                f"{attention}.norm", x + self._attend(attention, x, batch, probabilities)
            )
            return self._norm(f"{feed_forward}.norm", x + self._feed(feed_forward, x))
        normed = self._norm(f"{attention}.norm", x)
        stream = normed if norm == "stream" else x
        x = stream + self._attend(attention, normed, batch, probabilities)
        return x + self._feed(feed_forward, self._norm(f"{feed_forward}.norm", x))

    def _feed(self, name: str, x: Array) -> Array:
        inner = self._linear(f"{name}.up", x)
        match self.architecture.activation:
            case "gelu":
                inner = fn.gelu(inner)
            case "relu":
                inner = fn.relu(inner)
            case "swiglu":
                gate = self._linear(f"{name}.gate", x)
                inner = fn.swiglu(inner, gate, self.weights[f"{name}.beta"])
        return self._linear(f"{name}.down", inner)

    def _attend(
        self, name: str, x: Array, batch: TokenBatch, probabilities: list[list[Array]] | None
    ) -> Array:
        """Self-attention within each sequence; runs of equal length share their products."""
        a = self.architecture
        qkv = self._linear(f"{name}.qkv", x).reshape(len(x), 3, a.num_heads, a.head_size)
        mixed = np.empty_like(x)
        kept: list[Array] = []
        for group in batch.groups():
            rows = slice(group.start, group.start + group.number * group.length)
            parts = qkv[rows].reshape(group.number, group.length, 3, a.num_heads, a.head_size)
            out, weights = self._mix(parts.transpose(2, 0, 3, 1, 4), probabilities is not None)
            mixed[rows] = out.transpose(0, 2, 1, 3).reshape(-1, a.hidden_size)
            kept.extend(weights)
        if probabilities is not None:
            probabilities.append(kept)
        return self._linear(f"{name}.output", mixed)

    def _mix(self, qkv: Array, keep: bool) -> tuple[Array, list[Array]]:
        """Attention of n sequences of one length: (3, n, H, T, head) to (n, H, T, head)."""
        _, n, heads, length, size = qkv.shape
        q, k, v = qkv
        if self.architecture.positions == "rotary":
            tables = fn.rotary_tables(length, size, self.architecture.rotary_base, self.dtype)
            q, k = fn.rotate(q, *tables), fn.rotate(k, *tables)
        q = (q * self.dtype.type(size**-0.5)).reshape(n * heads, length, size)
        k, v = k.reshape(n * heads, length, size), v.reshape(n * heads, length, size)
        out = np.empty_like(q)
        kept: list[Array] = []
        step = max(1, SCORES // length**2)
        for start in range(0, n * heads, step):
            part = slice(start, start + step)
            weights = fn.softmax_in_place(q[part] @ k[part].transpose(0, 2, 1))
            np.matmul(weights, v[part], out=out[part])
            if keep:
                kept.append(weights)
        whole = list(np.concatenate(kept).reshape(n, heads, length, length)) if keep else []
        return out.reshape(n, heads, length, size), whole

    def _logits(self, x: Array) -> Array:
        a = self.architecture
        inner = self._linear("lm_head.dense", x)
        inner = fn.gelu(inner) if a.lm_activation == "gelu" else fn.relu(inner)
        decoder = "embedding.tokens" if a.tied else "lm_head.decoder.weight"
        normed = self._norm("lm_head.norm", inner)
        logits: Array = normed @ self.weights[decoder].T + self.weights["lm_head.decoder.bias"]
        return logits

    def _linear(self, name: str, x: Array) -> Array:
        y: Array = x @ self.weights[f"{name}.weight"].T
        bias = self.weights.get(f"{name}.bias")
        if bias is not None:
            y += bias
        return y

    def _norm(self, name: str, x: Array) -> Array:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return fn.layer_norm(x, weight, bias, self.architecture.norm_eps)

    def _stack(self, name: str, weights: Weights) -> None:
        """Put query, key and value into one matrix, so that one product serves all three."""
        for kind in ("weight", "bias"):
            names = [f"{name}.{part}.{kind}" for part in PARTS]
            if names[0] in weights:
                stacked = joined([weights[n] for n in names])
                self.weights[f"{name}.qkv.{kind}"] = owned(stacked, self.dtype)
