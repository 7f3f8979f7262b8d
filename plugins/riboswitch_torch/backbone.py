"""One encoder as a `torch.nn.Module` that interprets any `Architecture`.

Tokens stay packed, (total, D), from the embedding to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch, run_sorted
from riboswitch.interfaces import Array, Weights
from riboswitch.weights import LazyWeights, joined, shown
from riboswitch_torch.attention import Packing
from riboswitch_torch.layers import Embedding, Layer, LMHead


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
        # In float64, by NumPy: Apple's GPU lacks it, and a float32 angle of a distant token is
        # off by up to 3e-5 radians.
        turns = a.rotary_base ** -(np.arange(0, a.head_size, 2, dtype=np.float64) / a.head_size)
        angles = np.arange(packing.longest, dtype=np.float64)[:, None, None] * turns
        cos, sin = (_from_numpy(f(angles)).to(x.dtype).to(x.device) for f in (np.cos, np.sin))
        return cos[packing.positions], sin[packing.positions]

    def load_canonical(
        self, weights: Weights, device: torch.device, dtype: torch.dtype, *, copied: bool = False
    ) -> None:
        """Replace every parameter by a canonical weight, one at a time."""
        for name, _ in self._sources():
            array = self.assembled(name, weights.__getitem__)
            owner, _, kind = name.rpartition(".")
            tensor = _from_numpy(array.copy() if copied else array).to(device, dtype)
            setattr(self.get_submodule(owner), kind, nn.Parameter(tensor, requires_grad=False))
        if self.lm_head is not None and self.architecture.tied:
            self.lm_head.decoder.weight = self.embedding.tokens.weight

    def assembled(self, name: str, read: Callable[[str], Array]) -> Array:
        """What belongs to a parameter, of what belongs to its canonical weights."""
        parts = dict(self._sources())[name]
        return joined([read(part) for part in parts]) if parts[1:] else read(parts[0])

    def canonical(self, tensors: Mapping[str, Tensor] | None = None) -> Weights:
        """The parameters under their canonical names, as float32 arrays, or float64.

        Args:
            tensors: Others in their place, by the parameters' names and in their shapes.
        """
        here = dict(self.named_parameters()) if tensors is None else tensors
        homes = {p: (n, parts) for n, parts in self._sources() if n in here for p in parts}

        def make(name: str) -> Array:
            source, parts = homes[name]
            tensor = here[source].detach()
            part = tensor.chunk(len(parts))[parts.index(name)] if parts[1:] else tensor
            return shown(_array(part))

        return LazyWeights((n for n in self.architecture.parameter_shapes() if n in homes), make)

    def set_dropout(self, share: float) -> None:
        """Zero a share of the embedding's and of each block's output in training."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = share

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

    def canonical(self) -> Weights:
        """Read the parameters."""
        return self.module.canonical()

    @torch.inference_mode()
    def _run(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, Array | list[Array]]:
        device = self.module.embedding.tokens.weight.device
        ids = torch.from_numpy(batch.ids).to(device, torch.int64)
        with out_of_memory(batch):
            packed = self.module(ids, Packing(batch, device), outputs)
        return {name: _to_numpy(value) for name, value in packed.items()}


@contextmanager
def out_of_memory(batch: TokenBatch) -> Iterator[None]:
    """Make a `MemoryError` of what torch raises when memory runs out, CUDA's too."""
    try:
        yield
    except RuntimeError as error:
        if "allocate" not in str(error) and "out of memory" not in str(error):
            raise
        raise MemoryError(f"{len(batch.ids)} tokens at once: {error}") from error


def _to_numpy(value: Tensor | list[Tensor]) -> Array | list[Array]:
    return [_array(x) for x in value] if isinstance(value, list) else _array(value)


def _array(x: Tensor) -> Array:
    array: Array = (x if x.dtype == torch.float64 else x.float()).cpu().numpy()
    return array


def _from_numpy(array: Array) -> Tensor:
    """Share the memory where torch allows it: it wants it writable and of plain strides."""
    shareable = array.flags.writeable and array.flags.c_contiguous
    return torch.from_numpy(array if shareable else np.array(array, order="C"))
