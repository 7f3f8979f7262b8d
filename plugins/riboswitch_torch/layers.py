"""The encoder's parts as `torch.nn.Module`s; tokens are packed, (total, D)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from riboswitch.architecture import Architecture
from riboswitch_torch.attention import Packing, attend, probabilities

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
}


class Attention(nn.Module):
    """Self-attention within each sequence, with one matrix for query, key and value."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.architecture = a
        self.qkv = nn.Linear(a.hidden_size, 3 * a.hidden_size, bias=a.attention_bias)
        self.output = nn.Linear(a.hidden_size, a.hidden_size, bias=a.attention_bias)
        self.dropout = nn.Dropout(0)
        self.norm = nn.LayerNorm(a.hidden_size, a.norm_eps)

    def forward(
        self,
        x: Tensor,
        packing: Packing,
        rotary: tuple[Tensor, Tensor] | None,
        kept: list[list[Tensor]] | None,
    ) -> Tensor:
        """(total, D) to (total, D); appends the probabilities to `kept`."""
        a = self.architecture
        q, k, v = self.qkv(x).view(-1, 3, a.num_heads, a.head_size).unbind(1)
        if rotary is not None:
            q, k = (rotate(x, *rotary).to(v.dtype) for x in (q, k))  # autocast has widened them
        if kept is not None:
            kept.append(probabilities(q, k, packing))
        mixed = attend(q, k, v, packing).reshape(len(x), a.hidden_size)
        return _tensor(self.dropout(self.output(mixed)))


class FeedForward(nn.Module):
    """Two linear maps with an activation, or a gate, between them."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.activation = a.activation
        self.up = nn.Linear(a.hidden_size, a.feed_forward_size)
        if a.activation == "swiglu":
            self.gate = nn.Linear(a.hidden_size, a.feed_forward_size)
            self.beta = nn.Parameter(torch.ones(()))
        self.down = nn.Linear(a.feed_forward_size, a.hidden_size)
        self.dropout = nn.Dropout(0)
        self.norm = nn.LayerNorm(a.hidden_size, a.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """(total, D) to (total, D)."""
        inner = self.up(x)
        if self.activation == "swiglu":
            inner = inner * torch.sigmoid(self.beta * inner) * self.gate(x)
        else:
            inner = ACTIVATIONS[self.activation](inner)
        return _tensor(self.dropout(self.down(inner)))


class Layer(nn.Module):
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
            return _tensor(feed_forward.norm(x + feed_forward(x)))
        normed = attention.norm(x)
        stream = normed if self.norm == "stream" else x
        x = stream + attention(normed, packing, rotary, kept)
        return _tensor(x + feed_forward(feed_forward.norm(x)))


class Embedding(nn.Module):
    """Tokens, learned positions and types, with masks dropped where the model does so."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.architecture = a
        self.tokens = nn.Embedding(a.vocab_size, a.hidden_size)
        if a.positions == "learned" and a.max_positions:
            self.positions = nn.Embedding(a.max_positions, a.hidden_size)
        if a.token_types:
            self.types = nn.Embedding(a.token_types, a.hidden_size)
        if a.embedding_norm:
            self.norm = nn.LayerNorm(a.hidden_size, a.norm_eps)
        self.dropout = nn.Dropout(0)

    def forward(self, ids: Tensor, packing: Packing) -> Tensor:
        """(total,) to (total, D)."""
        a = self.architecture
        x = self.tokens(ids)
        if a.token_dropout is not None:
            x = self._drop_masks(x, ids.eq(a.mask_id or 0), packing, a.token_dropout)
        if a.positions == "learned":
            x = x + self.positions(packing.positions + a.position_offset)
        if a.token_types:
            x = x + self.types.weight[0]
        return _tensor(self.dropout(self.norm(x) if a.embedding_norm else x))

    @staticmethod
    def _drop_masks(x: Tensor, masked: Tensor, packing: Packing, expected: float) -> Tensor:
        lengths = packing.offsets.diff().long()
        total = functional.pad(masked.cumsum(0), (1, 0))[packing.offsets.long()].diff()
        kept = 1 - total.to(wide(x)) / lengths
        scale = (1 - expected) / kept.masked_fill(kept.eq(0), 1)  # of masks alone nothing is kept
        x = x.masked_fill(masked[:, None], 0)
        return x * scale.to(x.dtype).repeat_interleave(lengths)[:, None]


class LMHead(nn.Module):
    """The masked-language-model head; a tied decoder uses the embedding's matrix."""

    def __init__(self, a: Architecture, tokens: nn.Embedding) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[a.lm_activation]
        self.dense = nn.Linear(a.hidden_size, a.hidden_size)
        self.norm = nn.LayerNorm(a.hidden_size, a.norm_eps)
        self.decoder = nn.Linear(a.hidden_size, a.vocab_size)
        if a.tied:
            self.decoder.weight = tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        """(total, D) to (total, V)."""
        return _tensor(self.decoder(self.norm(self.activation(self.dense(x)))))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the two halves of each head against each other."""
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def wide(x: Tensor) -> torch.dtype:
    """In what angles and shares are computed for an encoder of this dtype."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _tensor(x: Tensor) -> Tensor:
    """Say to the type checker what a module's call returns."""
    return x
