"""The layers of the encoder. Tokens stay packed, (total, D)."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional

from riboswitch.architecture import Architecture
from riboswitch_paddle.attention import (
    Packing,
    Tensor,
    attend,
    even,
    pieces,
    probabilities,
    whole,
)

ACTIVATIONS = {"gelu": functional.gelu, "relu": functional.relu}
CPU_INNER = 1 << 21
"""Numbers inside the feed-forward block at once on the CPU: larger arrays are given back to
the system after each operator, and asking for them again costs more than the operator."""


class LayerNorm(nn.LayerNorm):
    """Paddle's own, but for float64, where that one would round epsilon to float32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__(size, eps)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) to (…, D)."""
        if x.dtype != paddle.float64:
            return super().forward(x)
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        eps = paddle.to_tensor(np.float64(self.eps), place=x.place)
        return centred * (variance + eps).rsqrt() * self.weight + self.bias


class Attention(nn.Layer):
    """Self-attention within each sequence, with one matrix for query, key and value."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.architecture = a
        self.qkv = linear(a.hidden_size, 3 * a.hidden_size, bias=a.attention_bias)
        self.output = linear(a.hidden_size, a.hidden_size, bias=a.attention_bias)
        self.dropout = nn.Dropout(0)
        self.norm = LayerNorm(a.hidden_size, a.norm_eps)

    def forward(
        self,
        x: Tensor,
        packing: Packing,
        rotary: tuple[Tensor, Tensor] | None,
        kept: list[list[Tensor]] | None,
    ) -> Tensor:
        """(total, D) to (total, D); appends the probabilities to `kept`."""
        a = self.architecture
        q, k, v = self.qkv(x).reshape([-1, 3, a.num_heads, a.head_size]).unbind(1)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        if kept is not None:
            kept.append(probabilities(q, k, packing))
        mixed = attend(q, k, v, packing).reshape([-1, a.hidden_size])
        return self.dropout(self.output(mixed))


class FeedForward(nn.Layer):
    """Two linear maps with an activation, or a gate, between them."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.activation = a.activation
        self.rows = max(1, CPU_INNER // a.feed_forward_size)
        self.up = linear(a.hidden_size, a.feed_forward_size)
        if a.activation == "swiglu":
            self.gate = linear(a.hidden_size, a.feed_forward_size)
            self.beta = self.create_parameter([], default_initializer=constant(1.0))
        self.down = linear(a.feed_forward_size, a.hidden_size)
        self.dropout = nn.Dropout(0)
        self.norm = LayerNorm(a.hidden_size, a.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """(total, D) to (total, D)."""
        if x.place.is_gpu_place() or len(x) <= self.rows:
            return self.dropout(self._rows(x))
        parts = [self._rows(rows) for rows in pieces(x, even(len(x), self.rows))]
        return self.dropout(whole(parts))

    def _rows(self, x: Tensor) -> Tensor:
        inner = self.up(x)
        if self.activation == "swiglu":
            inner = inner * functional.sigmoid(self.beta * inner) * self.gate(x)
        else:
            inner = ACTIVATIONS[self.activation](inner)
        return self.down(inner)


class Layer(nn.Layer):
    """Attention and feed-forward, with the LayerNorms where the architecture has them."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.norm = a.norm
        self.attention = Attention(a)
        self.feed_forward = FeedForward(a)

    def forward(
        self,
        x: Tensor,
        packing: Packing,
        rotary: tuple[Tensor, Tensor] | None,
        kept: list[list[Tensor]] | None,
    ) -> Tensor:
        """(total, D) to (total, D)."""
        attention, feed_forward = self.attention, self.feed_forward
        if self.norm == "post":
            x = attention.norm(x + attention(x, packing, rotary, kept))
            return feed_forward.norm(x + feed_forward(x))
        normed = attention.norm(x)
        stream = normed if self.norm == "stream" else x
        x = stream + attention(normed, packing, rotary, kept)
        return x + feed_forward(feed_forward.norm(x))


class Embedding(nn.Layer):
    """Tokens, learned positions and types, with masks dropped where the model does so."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.architecture = a
        self.tokens = table(a.vocab_size, a.hidden_size)
        if a.positions == "learned" and a.max_positions:
            self.positions = table(a.max_positions, a.hidden_size)
        if a.token_types:
            self.types = table(a.token_types, a.hidden_size)
        if a.embedding_norm:
            self.norm = LayerNorm(a.hidden_size, a.norm_eps)
        self.dropout = nn.Dropout(0)

    def forward(self, ids: Tensor, packing: Packing) -> Tensor:
        """(total,) to (total, D)."""
        a = self.architecture
        x = self.tokens(ids)
        if a.token_dropout is not None:
            x = self._drop_masks(x, ids == a.mask_id, packing, a.token_dropout)
        if a.positions == "learned":
            x = x + self.positions(packing.positions + a.position_offset)
        if a.token_types:
            x = x + self.types.weight[0]
        return self.dropout(self.norm(x) if a.embedding_norm else x)

    @staticmethod
    def _drop_masks(x: Tensor, masked: Tensor, packing: Packing, expected: float) -> Tensor:
        """Zero the masks' embeddings and rescale the rest of each sequence."""
        observed = paddle.geometric.segment_mean(masked.astype("float64"), packing.sequences)
        scale = ((1 - expected) / (1 - observed).clip(min=1e-6)).gather(packing.sequences)
        return x * (scale * masked.logical_not().astype("float64")).astype(x.dtype).unsqueeze(-1)


class Decoder(nn.Layer):
    """From features to scores of the vocabulary; its matrix is [V, D], as an embedding's."""

    def __init__(self, a: Architecture, tokens: nn.Embedding) -> None:
        super().__init__()
        shape = [a.vocab_size, a.hidden_size]
        self.weight = (
            tokens.weight
            if a.tied
            else self.create_parameter(shape, default_initializer=constant(0.0))
        )
        self.bias = self.create_parameter([a.vocab_size], is_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(total, D) to (total, V)."""
        return paddle.matmul(x, self.weight, transpose_y=True) + self.bias


class LMHead(nn.Layer):
    """The masked-language-model head; a tied decoder uses the embedding's matrix."""

    def __init__(self, a: Architecture, tokens: nn.Embedding) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[a.lm_activation]
        self.dense = linear(a.hidden_size, a.hidden_size)
        self.norm = LayerNorm(a.hidden_size, a.norm_eps)
        self.decoder = Decoder(a, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """(total, D) to (total, V)."""
        return self.decoder(self.norm(self.activation(self.dense(x))))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the two halves of each head against each other, in float32 where AMP has halves."""
    first, second = x.chunk(2, -1)
    turned = paddle.concat([first * cos - second * sin, second * cos + first * sin], -1)
    return turned.astype(x.dtype)


def constant(value: float) -> Any:
    """Start a parameter at one value: random numbers would take seconds, and weights follow."""
    return nn.initializer.Constant(value)


def linear(into: int, out: int, *, bias: bool = True) -> nn.Linear:
    """A linear map whose parameters wait for their weights."""
    attr = paddle.ParamAttr(initializer=constant(0.0))
    return nn.Linear(into, out, weight_attr=attr, bias_attr=None if bias else False)


def table(rows: int, size: int) -> nn.Embedding:
    """A table whose rows wait for their weights."""
    return nn.Embedding(rows, size, weight_attr=paddle.ParamAttr(initializer=constant(0.0)))
