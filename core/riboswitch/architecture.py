"""What an encoder computes, as data: the one description that every backend interprets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs
from attrs import field, frozen

from riboswitch.checks import MOST, flag, number, one_of, optional, whole
from riboswitch.errors import UsageError

Norm = Literal["pre", "post", "stream"]
Activation = Literal["gelu", "relu", "swiglu"]
Positions = Literal["learned", "rotary"]

_positive, _count = whole(1, MOST), whole(0, MOST)


@frozen(kw_only=True)
class Architecture:
    """A transformer encoder for RNA.

    Sizes are numbers of features; `D` below is `hidden_size`.

    Attributes:
        vocab_size: Rows of the token embedding.
        hidden_size: D.
        num_layers: Encoder layers.
        num_heads: Attention heads; divides D.
        feed_forward_size: Inner size of the feed-forward block.
        positions: `learned` adds a table to the embedding, `rotary` turns queries and keys, not
            values: feature i of a head with feature i + head_size / 2, by the angle
            position * rotary_base ** (-2 i / head_size). The first token has position 0.
        max_positions: Rows of the learned table; None where positions have no limit.
        position_offset: Row of the learned table that the first token takes.
        rotary_base: Base of the rotary wavelengths, mostly 10000; any number from 1.
        token_types: Rows of the token-type table, of which row 0 is used; 0 for none.
        embedding_norm: Whether a LayerNorm follows the embedding.
        norm: `pre` (x + f(LN(x))), `post` (LN(x + f(x))), or `stream`, RiNALMo's: the
            attention's LayerNorm replaces the residual stream itself (x = LN(x); x + f(x))
            and the feed-forward block is `pre`.
        norm_eps: Epsilon of every LayerNorm, added to the variance; any number from 0, which is
            allowed, to below 1. Models have 1e-5 and 1e-12.
        final_norm: Whether a LayerNorm follows the last layer.
        activation: Of the feed-forward block. `gelu` is the exact one, by erf, not its tanh
            approximation; `swiglu` has a learned scalar beta for each layer:
            a * sigmoid(beta * a) * gate, a being the output of `up`.
        attention_bias: Whether query, key, value and output projections have a bias.
        token_dropout: Expected share of masked tokens, for models that zero the embedding of
            the mask and rescale the rest by (1 - expected) / (1 - observed), observed among all
            tokens of the sequence, special ones too; None for others. Positions are added after
            that. Of a sequence of masks alone all embeddings are zero, and stay so: keep
            1 - observed from 0, in half precision as well.
        mask_id: Id of the mask token, which token dropout needs. None where a model has no mask;
            it has no token dropout then.
        pooler: Whether tanh(dense(first token)) exists.
        lm_head: Whether the masked-language-model head exists: dense, activation, LayerNorm,
            decoder.
        lm_activation: Activation inside that head; `gelu` is the exact one here too.
        tied: Whether the head's decoder is the token embedding; its bias is its own.
    """

    vocab_size: int = field(validator=_positive)
    hidden_size: int = field(validator=_positive)
    num_layers: int = field(validator=_positive)
    num_heads: int = field(validator=_positive)
    feed_forward_size: int = field(validator=_positive)
    positions: Positions = field(default="learned", validator=one_of("learned", "rotary"))
    max_positions: int | None = field(default=None, validator=optional(_positive))
    position_offset: int = field(default=0, validator=_count)
    rotary_base: float = field(default=10000.0, validator=number(1, 1e12))
    token_types: int = field(default=0, validator=_count)
    embedding_norm: bool = field(default=False, validator=flag)
    norm: Norm = field(default="pre", validator=one_of("pre", "post", "stream"))
    norm_eps: float = field(default=1e-5, validator=number(0, 1))
    final_norm: bool = field(default=True, validator=flag)
    activation: Activation = field(default="gelu", validator=one_of("gelu", "relu", "swiglu"))
    attention_bias: bool = field(default=True, validator=flag)
    token_dropout: float | None = field(default=None, validator=optional(number(0, 1)))
    mask_id: int | None = field(default=None, validator=optional(_count))
    pooler: bool = field(default=False, validator=flag)
    lm_head: bool = field(default=True, validator=flag)
    lm_activation: Literal["gelu", "relu"] = field(default="gelu", validator=one_of("gelu", "relu"))
    tied: bool = field(default=True, validator=flag)

    def __attrs_post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise UsageError(
                f"{self.num_heads} heads do not divide a hidden size of {self.hidden_size}.\n"
                'Give the right number: architecture={"num_heads": …}'
            )
        if self.positions == "learned" and self.max_positions is None:
            raise UsageError("Learned positions need max_positions, the rows of their table.")
        if self.mask_id is not None and self.mask_id >= self.vocab_size:
            raise UsageError(f"mask_id {self.mask_id} is not in a vocabulary of {self.vocab_size}.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError(
                f"position_offset {self.position_offset} leaves none of {self.max_positions} rows."
            )
        if self.token_dropout is not None and self.mask_id is None:
            raise UsageError("Token dropout needs mask_id, the id of the mask token.")
        if self.positions == "rotary" and self.head_size % 2:
            raise UsageError(
                f"Rotary positions need an even head size; {self.num_heads} heads of "
                f"{self.hidden_size} features have {self.head_size} each."
            )

    @property
    def head_size(self) -> int:
        """Features of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def max_tokens(self) -> int | None:
        """The longest sequence, special tokens included; None without a limit."""
        if self.positions == "rotary" or self.max_positions is None:
            return None
        return self.max_positions - self.position_offset

    def evolve(self, changes: Mapping[str, Any]) -> Architecture:
        """Return a copy with other values; a misspelled name is a `UsageError`."""
        known = attrs.fields_dict(type(self))
        for name in changes:
            if name not in known:
                raise UsageError(
                    f"An architecture has no {name!r}.\nIt has: {', '.join(sorted(known))}"
                )
        try:
            return attrs.evolve(self, **changes)
        except (TypeError, ValueError) as error:
            raise UsageError(f"Architecture {dict(changes)}: {error.args[0]}") from error

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every canonical weight, in a fixed order.

        Matrices are [out, in]. This table is the meeting point of checkpoints and backends.
        """
        shapes = self._embedding_shapes()
        for i in range(self.num_layers):
            shapes.update({f"layers.{i}.{name}": s for name, s in self._layer_shapes().items()})
        if self.final_norm:
            shapes.update(_norm("final_norm", self.hidden_size))
        if self.pooler:
            shapes.update(_linear("pooler", self.hidden_size, self.hidden_size))
        if self.lm_head:
            shapes.update(self._lm_head_shapes())
        return shapes

    def _embedding_shapes(self) -> dict[str, tuple[int, ...]]:
        d = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"embedding.tokens": (self.vocab_size, d)}
        if self.positions == "learned" and self.max_positions is not None:
            shapes["embedding.positions"] = (self.max_positions, d)
        if self.token_types:
            shapes["embedding.types"] = (self.token_types, d)
        if self.embedding_norm:
            shapes.update(_norm("embedding.norm", d))
        return shapes

    def _layer_shapes(self) -> dict[str, tuple[int, ...]]:
        d, f = self.hidden_size, self.feed_forward_size
        shapes: dict[str, tuple[int, ...]] = {}
        for part in ("query", "key", "value", "output"):
            shapes.update(_linear(f"attention.{part}", d, d, bias=self.attention_bias))
        shapes.update(_norm("attention.norm", d))
        shapes.update(_linear("feed_forward.up", f, d))
        if self.activation == "swiglu":
            shapes.update(_linear("feed_forward.gate", f, d))
            shapes["feed_forward.beta"] = ()
        shapes.update(_linear("feed_forward.down", d, f))
        shapes.update(_norm("feed_forward.norm", d))
        return shapes

    def _lm_head_shapes(self) -> dict[str, tuple[int, ...]]:
        d, v = self.hidden_size, self.vocab_size
        shapes = {**_linear("lm_head.dense", d, d), **_norm("lm_head.norm", d)}
        if not self.tied:
            shapes["lm_head.decoder.weight"] = (v, d)
        shapes["lm_head.decoder.bias"] = (v,)
        return shapes

    def num_parameters(self) -> int:
        """Count of all numbers in the canonical weights."""
        total = 0
        for shape in self.parameter_shapes().values():
            count = 1
            for size in shape:
                count *= size
            total += count
        return total


def _linear(name: str, out: int, into: int, *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    weight: dict[str, tuple[int, ...]] = {f"{name}.weight": (out, into)}
    return {**weight, f"{name}.bias": (out,)} if bias else weight


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
