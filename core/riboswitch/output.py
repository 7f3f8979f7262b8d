"""What `Model.forward` and `Model.fill_mask` return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch
from riboswitch.errors import UsageError
from riboswitch.interfaces import Array


class Output:
    """Arrays by name, one for each sequence, special tokens included.

    T is the number of tokens, D the hidden size, V the vocabulary, N layers, H heads. An output
    that was not asked for raises `UsageError`.
    """

    def __init__(self, arrays: dict[str, list[Array]]) -> None:
        self._arrays = arrays

    @property
    def representation(self) -> list[Array]:
        """The last layer's output, (T, D)."""
        return self._get("representation")

    @property
    def logits(self) -> list[Array]:
        """The language-model head's output, (T, V)."""
        return self._get("logits")

    @property
    def hidden_states(self) -> list[Array]:
        """The embedding and each layer's output, (N + 1, T, D)."""
        return self._get("hidden_states")

    @property
    def attentions(self) -> list[Array]:
        """Attention probabilities, (N, H, T, T)."""
        return self._get("attentions")

    @property
    def pooled(self) -> list[Array]:
        """The pooler's output, (D,)."""
        return self._get("pooled")

    def _get(self, name: str) -> list[Array]:
        if name not in self._arrays:
            raise UsageError(
                f"{name!r} was not computed.\nAsk for it: forward(batch, outputs=({name!r},))"
            )
        return self._arrays[name]

    def __repr__(self) -> str:
        return f"Output({', '.join(self._arrays)})"


def check_results(
    results: Mapping[str, Sequence[Array]],
    outputs: Sequence[str],
    batch: TokenBatch,
    architecture: Architecture,
) -> None:
    """Raise `ValueError` where a backbone gave other arrays than were asked for."""
    d, n, h = architecture.hidden_size, architecture.num_layers, architecture.num_heads
    shapes: dict[str, Callable[[int], tuple[int, ...]]] = {
        "representation": lambda t: (t, d),
        "logits": lambda t: (t, architecture.vocab_size),
        "hidden_states": lambda t: (n + 1, t, d),
        "attentions": lambda t: (n, h, t, t),
        "pooled": lambda _: (d,),
    }
    lengths = batch.lengths.tolist()
    for name in outputs:
        arrays, shape_of = results[name], shapes[name]
        if len(arrays) != len(lengths):
            raise ValueError(f"{name} has {len(arrays)} arrays for {len(lengths)} sequences")
        for array, t in zip(arrays, lengths, strict=True):
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is no NumPy array, but a {type(array).__name__}")
            if array.shape != (shape := shape_of(t)):
                raise ValueError(f"{name} has the shape {array.shape}, and should have {shape}")


class Fill(NamedTuple):
    """One way to fill a mask: the token (in RNA letters), its probability, the whole text."""

    token: str
    probability: float
    sequence: str
