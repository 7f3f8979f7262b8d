"""`ErnieForMaskedLM` or `ErnieModel` of PaddleNLP behind the core's interface.

Names and axes of its parameters are those of its files, so the table of the layout `rnaernie`
tells which canonical weight each of them is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import paddle
from attrs import frozen
from paddlenlp.transformers import ErnieConfig, ErnieForMaskedLM, ErnieModel

from riboswitch.architecture import Architecture
from riboswitch.batch import TokenBatch, run_sorted
from riboswitch.conversion.inverse import plain_tensors
from riboswitch.cores import Threads
from riboswitch.errors import BackendError
from riboswitch.interfaces import Array, Checkpoint, Weights
from riboswitch.layouts import checkpoint_weights
from riboswitch.registry import registry
from riboswitch_paddlenlp.runtime import Turns, on_device

Tensor: TypeAlias = Any
LAYOUT = "rnaernie"
SCORES = 1 << 24
"""Attention scores computed at once, so that they stay in memory."""


def make_module(architecture: Architecture, weights: Weights, device: str, dtype: str) -> Any:
    """Make the module in evaluation mode, with these weights.

    Raises:
        BackendError: Its parameters are not those that the layout's table knows.
    """
    kind = ErnieForMaskedLM if architecture.lm_head else ErnieModel
    module = kind(_config(architecture)).to(device=device, dtype=dtype)
    # Paddle would take zeros for the embedding of id 0; an alphabet may have a letter there.
    encoder_of(module).embeddings.word_embeddings._padding_idx = None
    states = _states(architecture, weights, module.state_dict(), dtype)
    missing, unexpected = module.set_state_dict(states)
    _check(missing, unexpected)
    module.eval()
    return module


def encoder_of(module: Any) -> Any:
    """The `ErnieModel` inside."""
    return getattr(module, "ernie", module)


def _config(a: Architecture) -> ErnieConfig:
    return ErnieConfig(
        vocab_size=a.vocab_size,
        hidden_size=a.hidden_size,
        num_hidden_layers=a.num_layers,
        num_attention_heads=a.num_heads,
        intermediate_size=a.feed_forward_size,
        hidden_act=a.activation,
        max_position_embeddings=a.max_positions,
        type_vocab_size=a.token_types,
        layer_norm_eps=a.norm_eps,
        pad_token_id=0,
    )


def _states(
    architecture: Architecture, weights: Weights, names: Mapping[str, Tensor], dtype: str
) -> dict[str, Array]:
    """An array for each of the module's own names; a tied one has two."""
    layout = registry().layout(LAYOUT)
    dtypes = dict.fromkeys(architecture.parameter_shapes(), dtype)
    tensors = plain_tensors(layout, architecture, weights, dtypes)
    copies = dict(layout.copies)
    originals = {n: copies.get(layout.plain(n), layout.plain(n)) for n in names}
    wanted = set(originals.values())
    _check(sorted(wanted - tensors.keys()), sorted(tensors.keys() - wanted))
    arrays = {n: np.ascontiguousarray(t.read(), dtype) for n, t in tensors.items()}
    return {name: arrays[original] for name, original in originals.items()}


def _check(missing: Sequence[str], unexpected: Sequence[str]) -> None:
    if missing or unexpected:
        raise BackendError(
            f"PaddleNLP's module lacks {', '.join(unexpected) or 'nothing'} and has beside the "
            f"weights {', '.join(missing) or 'nothing'}.\n"
            'Install the version that is known to fit: pip install "paddlenlp==2.8.1"'
        )


class PaddleNLPBackbone:
    """PaddleNLP's module behind the core's interface: NumPy in, NumPy out."""

    def __init__(
        self, module: Any, architecture: Architecture, device: str, threads: Threads
    ) -> None:
        self.module = module
        self.architecture = architecture
        self.device = device
        self.threads = threads
        self.turns = Turns()

    def forward(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, list[Array]]:
        """Run sequences of equal length together, so that none is padded."""
        return run_sorted(batch, lambda ordered: self._run(ordered, outputs))

    def canonical(self) -> Weights:
        """Read the parameters through the layout's table."""
        layout = registry().layout(LAYOUT)
        tensors = {layout.plain(n): Parameter(p) for n, p in self.module.state_dict().items()}
        path = f"PaddleNLP's {type(self.module).__name__}"
        checkpoint = Checkpoint(path=path, container="paddle", tensors=tensors)
        return checkpoint_weights(checkpoint, layout, self.architecture)

    def _run(self, batch: TokenBatch, outputs: Sequence[str]) -> dict[str, list[Array]]:
        self.threads.apply()
        found: dict[str, list[Array]] = {name: [] for name in outputs}
        attentions = "attentions" in outputs
        # Gradients are switched off for this thread alone.
        with on_device(self.device), paddle.no_grad(), self.turns.of(attentions):
            for ids in self._rectangles(batch):
                for name, tensor in self._compute(ids, outputs).items():
                    found[name].extend(_array(tensor))
        return found

    def _rectangles(self, batch: TokenBatch) -> Iterator[Array]:
        """Ids of sequences of one length, (n, T), no more than the scores have room for."""
        for group in batch.groups():
            end = group.start + group.number * group.length
            ids = batch.ids[group.start : end].reshape(group.number, group.length)
            step = max(1, SCORES // (self.architecture.num_heads * group.length**2))
            yield from (ids[i : i + step] for i in range(0, group.number, step))

    def _compute(self, ids: Array, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Each output with the sequences along its first axis."""
        encoder = encoder_of(self.module)
        found = encoder(
            **self._inputs(ids, encoder.pooler.dense.weight),
            output_hidden_states="hidden_states" in outputs,
            output_attentions="attentions" in outputs,
            return_dict=True,
        )
        make = {
            "representation": lambda: found.last_hidden_state,
            "hidden_states": lambda: paddle.stack(found.hidden_states, axis=1),
            "attentions": lambda: paddle.stack(found.attentions, axis=1),
            "pooled": lambda: found.pooler_output,
            "logits": lambda: self.module.cls(found.last_hidden_state),
        }
        return {name: make[name]() for name in outputs}

    def _inputs(self, ids: Array, like: Tensor) -> dict[str, Tensor]:
        """All that the encoder would else make itself, on a device and in a dtype of its own.

        No token is padding, whatever its id.
        """
        number, length = ids.shape
        arrays = {
            "input_ids": ids.astype(np.int64),
            "position_ids": np.tile(np.arange(length), (number, 1)),
            "token_type_ids": np.zeros((number, length), np.int64),
            "attention_mask": np.zeros((number, 1, 1, length), np.float32),
        }
        tensors = {n: paddle.to_tensor(array, place=like.place) for n, array in arrays.items()}
        return {**tensors, "attention_mask": tensors["attention_mask"].astype(like.dtype)}


@frozen(eq=False)
class Parameter:
    """A parameter as a checkpoint's tensor, read when asked for."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> str:
        """NumPy's name of its dtype."""
        return str(self.tensor.dtype).removeprefix("paddle.")

    def read(self) -> Array:
        """The numbers."""
        return _array(self.tensor)


def _array(x: Tensor) -> Array:
    array: Array = (x if x.dtype == paddle.float64 else x.astype("float32")).numpy()
    return array
