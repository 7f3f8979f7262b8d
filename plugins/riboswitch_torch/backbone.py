"""One encoder as a `torch.nn.Module` that interprets any `Architecture`.

Tokens stay packed, (total, D), from the embedding to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch, run_sorted
from riboswitch.interfaces import Array, Weights
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
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        if kept is not None:
            kept.append(probabilities(q, k, packing))
        mixed: Tensor = self.output(attend(q, k, v, packing).reshape(len(x), a.hidden_size))
        return mixed


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
        self.norm = nn.LayerNorm(a.hidden_size, a.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """(total, D) to (total, D)."""
        inner = self.up(x)
        if self.activation == "swiglu":
            inner = inner * torch.sigmoid(self.beta * inner) * self.gate(x)
        else:
            inner = ACTIVATIONS[self.activation](inner)
        out: Tensor = self.down(inner)
        return out


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
        return _tensor(self.norm(x) if a.embedding_norm else x)

    @staticmethod
    def _drop_masks(x: Tensor, masked: Tensor, packing: Packing, expected: float) -> Tensor:
        lengths = packing.offsets.diff().long()
        total = functional.pad(masked.cumsum(0), (1, 0))[packing.offsets.long()].diff()
        scale = (1 - expected) / (1 - total.to(_wide(x)) / lengths)
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


class Encoder(nn.Module):
    """The whole encoder. Parameter names are the canonical ones, but for the joined `qkv`."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.architecture = a
        self.embedding = Embedding(a)
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.num_layers))
        self.final_norm = nn.LayerNorm(a.hidden_size, a.norm_eps) if a.final_norm else nn.Identity()
        self.pooler = nn.Linear(a.hidden_size, a.hidden_size) if a.pooler else None
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
            found["hidden_states"] = torch.stack([*states[:-1], x])
        if kept is not None:
            found["attentions"] = [torch.stack(layers) for layers in zip(*kept, strict=True)]
        if "pooled" in outputs and self.pooler is not None:
            found["pooled"] = torch.tanh(self.pooler(x[packing.offsets[:-1].long()]))
        if "logits" in outputs and self.lm_head is not None:
            found["logits"] = self.lm_head(x)
        return {name: found[name] for name in outputs}

    def _rotary(self, packing: Packing, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines of each token, (total, 1, head / 2)."""
        a = self.architecture
        if a.positions != "rotary":
            return None
        exponents = torch.arange(0, a.head_size, 2, dtype=torch.float32, device=x.device)
        frequencies = a.rotary_base ** -(exponents.to(_wide(x)) / a.head_size)
        angles = packing.positions.to(_wide(x))[:, None, None] * frequencies
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)

    def load_canonical(self, weights: Weights, device: torch.device, dtype: torch.dtype) -> None:
        """Replace every parameter by a canonical weight, one at a time."""
        for name, parts in self._sources():
            arrays = [weights[part] for part in parts]
            array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
            owner, _, kind = name.rpartition(".")
            tensor = _from_numpy(array).to(device, dtype)
            setattr(self.get_submodule(owner), kind, nn.Parameter(tensor, requires_grad=False))
        if self.lm_head is not None and self.architecture.tied:
            self.lm_head.decoder.weight = self.embedding.tokens.weight

    def _sources(self) -> Iterator[tuple[str, list[str]]]:
        """Each parameter and the canonical weights that make it."""
        for name, _ in self.named_parameters():
            if ".qkv." in name:
                yield name, [name.replace("qkv", p) for p in ("query", "key", "value")]
            elif name.startswith("embedding.") and "norm" not in name:
                yield name, [name.removesuffix(".weight")]
            else:
                yield name, [name]


class TorchBackbone:
    """`Encoder` behind the core's interface: NumPy in, NumPy out."""

    def __init__(self, encoder: Encoder) -> None:
        self.module = encoder

    def forward(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, list[Array]]:
        """Run the packed tokens through all layers."""
        return run_sorted(batch, lambda ordered: self._run(ordered, outputs))

    @torch.inference_mode()
    def _run(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, Array | list[Array]]:
        device = self.module.embedding.tokens.weight.device
        ids = torch.from_numpy(batch.ids).to(device, torch.int64)
        try:
            packed = self.module(ids, Packing(batch, device), outputs)
        except RuntimeError as error:  # CUDA running out of memory is one, too
            if "allocate" not in str(error) and "out of memory" not in str(error):
                raise
            raise MemoryError(f"{len(ids)} tokens at once: {error}") from error
        return {name: _to_numpy(value) for name, value in packed.items()}


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the two halves of each head against each other."""
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def _to_numpy(value: Tensor | list[Tensor]) -> Array | list[Array]:
    return [_array(x) for x in value] if isinstance(value, list) else _array(value)


def _array(x: Tensor) -> Array:
    array: Array = (x if x.dtype == torch.float64 else x.float()).cpu().numpy()
    return array


def _from_numpy(array: Array) -> Tensor:
    """Share the memory where torch allows it: it wants it writable and of plain strides."""
    shareable = array.flags.writeable and array.flags.c_contiguous
    return torch.from_numpy(array if shareable else np.array(array, order="C"))


def _wide(x: Tensor) -> torch.dtype:
    """In what angles and shares are computed for an encoder of this dtype."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _tensor(x: Tensor) -> Tensor:
    """Say to the type checker what a module's call returns."""
    return x
