"""Attention over packed sequences, by the best kernel that is there.

On CUDA in half precision: Paddle's variable-length FlashAttention. Elsewhere: plain products
over runs of sequences of equal length. None of them computes padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import paddle
from paddle.nn import functional

from riboswitch.batch import Group, TokenBatch

Tensor: TypeAlias = Any
CPU_SCORES = 1 << 20
"""Attention scores computed at once on the CPU, so that they stay in the cache."""
GPU_SCORES = 1 << 28
"""The same on a GPU, so that they stay in its memory."""


class Packing:
    """Where the sequences of a packed batch stand, on the device.

    Attributes:
        groups: Runs of equal length.
        offsets: int32 (n + 1,).
        positions: int64 (total,).
        sequences: int64 (total,), the number of each token's sequence.
        longest: Tokens of the longest sequence.
    """

    def __init__(self, batch: TokenBatch, place: Any) -> None:
        self.groups: list[Group] = batch.groups()
        self.offsets: Tensor = paddle.to_tensor(batch.offsets.astype(np.int32), place=place)
        self.positions: Tensor = paddle.to_tensor(batch.positions, place=place)
        numbers = np.repeat(np.arange(len(batch)), batch.lengths)
        self.sequences: Tensor = paddle.to_tensor(numbers, place=place)
        self.longest = int(batch.lengths.max())


def attend(q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
    """Mix values within each sequence.

    Args:
        q: Queries, (total, H, head), packed and sorted by length.
        k: Keys, likewise.
        v: Values, likewise.
        packing: The sequences.

    Returns:
        (total, H, head).
    """
    if has_flash(q):
        return _flash(q, k, v, packing)
    parts = zip(*(_by_group(x, packing) for x in (q, k, v)), packing.groups, strict=True)
    return whole([_attend_group(*part) for part in parts])


def probabilities(q: Tensor, k: Tensor, packing: Packing) -> list[Tensor]:
    """Return the attention of each sequence, (H, T, T)."""
    found: list[Tensor] = []
    parts = zip(_by_group(q, packing), _by_group(k, packing), packing.groups, strict=True)
    for queries, keys, group in parts:
        shape = (group.number, -1, group.length, group.length)
        weights = _softmax_scores(_heads_first(queries, group), _heads_first(keys, group))
        found.extend(weights.reshape(shape).unbind(0))
    return found


def has_flash(q: Tensor) -> bool:
    """Whether FlashAttention takes it: half precision, heads of 8 n features, a GPU from 8.0."""
    half = q.dtype in (paddle.float16, paddle.bfloat16)
    if not half or not q.place.is_gpu_place() or q.shape[-1] % 8 or q.shape[-1] > 256:
        return False
    return _capability(q.place.gpu_device_id()) >= 8


@cache
def _capability(gpu: int) -> int:
    return int(paddle.device.cuda.get_device_capability(gpu)[0])


def _flash(q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
    from paddle.nn.functional.flash_attention import flash_attn_unpadded

    parts = [x.contiguous() for x in (q, k, v)]
    spans = (packing.offsets, packing.offsets, packing.longest, packing.longest)
    return flash_attn_unpadded(*parts, *spans, scale=1 / math.sqrt(q.shape[-1]), training=False)[0]


def pieces(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Cut along the first axis. The gradient of many slices would be as many whole arrays."""
    return [x] if len(sizes) == 1 else x.split(list(sizes))


def whole(parts: Sequence[Tensor]) -> Tensor:
    """The opposite of `pieces`."""
    return parts[0] if len(parts) == 1 else paddle.concat(parts)


def even(total: int, size: int) -> list[int]:
    """Sizes of pieces that are all of one size, but for the last."""
    return [min(size, total - start) for start in range(0, total, size)]


def _by_group(x: Tensor, packing: Packing) -> list[Tensor]:
    return pieces(x, [group.number * group.length for group in packing.groups])


def _heads_first(x: Tensor, group: Group) -> Tensor:
    """Sequences of one length: (n * T, H, head) to (n * H, T, head)."""
    split = x.reshape([group.number, group.length, *x.shape[1:]]).transpose([0, 2, 1, 3])
    return split.reshape([-1, group.length, x.shape[-1]])


def _attend_group(q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
    parts = [_heads_first(x, group) for x in (q, k, v)]
    scores = GPU_SCORES if q.place.is_gpu_place() else CPU_SCORES
    sizes = even(len(parts[0]), max(1, scores // group.length**2))
    mixed = [_mix(*part) for part in zip(*(pieces(p, sizes) for p in parts), strict=True)]
    heads = whole(mixed).reshape([group.number, -1, group.length, q.shape[-1]])
    return heads.transpose([0, 2, 1, 3]).reshape([-1, *q.shape[1:]])


def _mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return paddle.matmul(_softmax_scores(q, k), v)


def _softmax_scores(q: Tensor, k: Tensor) -> Tensor:
    scores = paddle.matmul(q * (1 / math.sqrt(q.shape[-1])), k, transpose_y=True)
    return functional.softmax(scores, -1)
