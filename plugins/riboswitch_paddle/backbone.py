"""One encoder as a `paddle.nn.Layer` that interprets any `Architecture`.

Tokens stay packed, (total, D), from the embedding to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.base.framework import EagerParamBase

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch, run_sorted
from riboswitch.cores import Threads
from riboswitch.interfaces import Array, Weights
from riboswitch.weights import LazyWeights
from riboswitch_paddle.attention import Packing, Tensor
from riboswitch_paddle.layers import Embedding, Layer, LayerNorm, LMHead, linear
from riboswitch_paddle.runtime import on_device


class Encoder(nn.Layer):
    """The whole encoder. Parameter names are the canonical ones, but for the joined `qkv`."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.architecture = a
        self.embedding = Embedding(a)
        self.layers = nn.LayerList([Layer(a) for _ in range(a.num_layers)])
        self.final_norm = LayerNorm(a.hidden_size, a.norm_eps) if a.final_norm else nn.Identity()
        self.pooler = linear(a.hidden_size, a.hidden_size) if a.pooler else None
        self.lm_head = LMHead(a, self.embedding.tokens) if a.lm_head else None

    def forward(
        self, ids: Tensor, packing: Packing, outputs: Sequence[str] = ("representation",)
    ) -> dict[str, Tensor | list[Tensor]]:
        """Run packed tokens, sorted by length.

        Args:
            ids: int64 (total,).
            packing: Where the sequences stand.
            outputs: As in `riboswitch.interfaces.Backbone.forward`.

        Returns:
            representation (total, D), logits (total, V), hidden_states (N + 1, total, D),
            pooled (n, D); attentions as one (N, H, T, T) for each sequence.
        """
        x = self.embedding(ids, packing)
        rotary = self._rotary(packing, x)
        states = [x]
        kept: list[list[Tensor]] | None = [] if "attentions" in outputs else None
        for layer in self.layers:
            x = layer(x, packing, rotary, kept)
            if "hidden_states" in outputs:
                states.append(x)
        x = self.final_norm(x)
        found: dict[str, Tensor | list[Tensor]] = {"representation": x}
        if "hidden_states" in outputs:
            found["hidden_states"] = paddle.stack([*states[:-1], x])
        if kept is not None:
            found["attentions"] = [paddle.stack(layers) for layers in zip(*kept, strict=True)]
        if "pooled" in outputs and self.pooler is not None:
            found["pooled"] = paddle.tanh(self.pooler(x.gather(packing.offsets[:-1])))
        if "logits" in outputs and self.lm_head is not None:
            found["logits"] = self.lm_head(x)
        return {name: found[name] for name in outputs}

    def _rotary(self, packing: Packing, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines of each token, (total, 1, head / 2)."""
        a = self.architecture
        if a.positions != "rotary":
            return None
        turns = a.rotary_base ** -(np.arange(0, a.head_size, 2, dtype=np.float64) / a.head_size)
        frequencies = paddle.to_tensor(turns, place=x.place)
        angles = packing.positions.astype("float64").reshape([-1, 1, 1]) * frequencies
        return angles.cos().astype(x.dtype), angles.sin().astype(x.dtype)

    def load_canonical(
        self, weights: Weights, place: Any, dtype: str, *, trainable: bool = False
    ) -> None:
        """Replace every parameter by a canonical weight, one at a time."""
        for name, _ in list(self._sources()):
            array = self.assembled(name, weights.__getitem__)
            owner, _, kind = name.rpartition(".")
            parameter = _parameter(array, place, dtype, trainable)
            setattr(reduce(getattr, owner.split("."), self), kind, parameter)
        if self.lm_head is not None and self.architecture.tied:
            self.lm_head.decoder.weight = self.embedding.tokens.weight

    def assembled(self, name: str, read: Callable[[str], Array]) -> Array:
        """What belongs to a parameter, of what belongs to its canonical weights."""
        parts = [read(part) for part in dict(self._sources())[name]]
        array = np.concatenate(parts) if parts[1:] else parts[0]
        return array.T if self._is_linear(name) else array

    def canonical(self, tensors: Mapping[str, Tensor] | None = None) -> Weights:
        """The parameters under their canonical names, as float32 arrays, or float64.

        Args:
            tensors: Others in their place, by the parameters' names and in their shapes.
        """
        here = dict(self.named_parameters()) if tensors is None else tensors
        homes = {p: (n, parts) for n, parts in self._sources() if n in here for p in parts}

        def make(name: str) -> Array:
            source, parts = homes[name]
            array = _array(here[source])
            array = array.T if self._is_linear(source) else array
            return np.split(array, len(parts))[parts.index(name)] if parts[1:] else array

        return LazyWeights((n for n in self.architecture.parameter_shapes() if n in homes), make)

    def set_dropout(self, share: float) -> None:
        """Zero a share of the embedding's and of each block's output in training."""
        for layer in self.sublayers():
            if isinstance(layer, nn.Dropout):
                layer.p = share

    def _is_linear(self, name: str) -> bool:
        """Whether it is a matrix that Paddle keeps as [in, out]."""
        owner, _, kind = name.rpartition(".")
        return kind == "weight" and isinstance(reduce(getattr, owner.split("."), self), nn.Linear)

    def _sources(self) -> Iterator[tuple[str, list[str]]]:
        """Each parameter and the canonical weights that make it."""
        for name, _ in self.named_parameters():
            if ".qkv." in name:
                yield name, [name.replace("qkv", p) for p in ("query", "key", "value")]
            elif name.startswith("embedding.") and "norm" not in name:
                yield name, [name.removesuffix(".weight")]
            else:
                yield name, [name]


class PaddleBackbone:
    """`Encoder` behind the core's interface: NumPy in, NumPy out."""

    def __init__(self, encoder: Encoder, device: str, threads: Threads) -> None:
        self.module = encoder
        self.device = device
        self.threads = threads

    def forward(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, list[Array]]:
        """Run the packed tokens through all layers."""
        return run_sorted(batch, lambda ordered: self._run(ordered, outputs))

    def canonical(self) -> Weights:
        """Read the parameters."""
        return self.module.canonical()

    def _run(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, Array | list[Array]]:
        self.threads.apply()
        with on_device(self.device), paddle.no_grad():  # the latter holds for this thread alone
            place = self.module.embedding.tokens.weight.place
            ids = paddle.to_tensor(batch.ids.astype(np.int64), place=place)
            with out_of_memory(batch):
                packed = self.module(ids, Packing(batch, place), outputs)
            return {name: _to_numpy(value) for name, value in packed.items()}


@contextmanager
def out_of_memory(batch: TokenBatch) -> Iterator[None]:
    """Make a `MemoryError` of what Paddle raises when memory runs out, CUDA's too."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower():
            raise
        raise MemoryError(f"{len(batch.ids)} tokens at once: {error}") from error


def _to_numpy(value: Tensor | list[Tensor]) -> Array | list[Array]:
    return [_array(x) for x in value] if isinstance(value, list) else _array(value)


def _array(x: Tensor) -> Array:
    array: Array = (x if x.dtype == paddle.float64 else x.astype("float32")).numpy()
    return array


def _parameter(array: Array, place: Any, dtype: str, trainable: bool) -> EagerParamBase:
    tensor = paddle.to_tensor(np.asarray(array, order="C"), place=place).astype(dtype)
    return EagerParamBase.from_tensor(tensor, trainable=trainable)
