"""Attention over packed sequences, by the best kernel that is there.

On CUDA in half precision: flash-attn's variable-length kernel, or PyTorch's own
(`torch.nn.attention.varlen`, from 2.10 on). Elsewhere: scaled-dot-product attention over runs
of sequences of equal length. None of them computes padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from riboswitch.batch import Group, TokenBatch

Varlen: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]


class Packing:
    """Where the sequences of a packed batch stand, on the device.

    Attributes:
        groups: Runs of equal length.
        offsets: int32 (n + 1,).
        positions: int64 (total,).
        longest: Tokens of the longest sequence.
    """

    def __init__(self, batch: TokenBatch, device: torch.device) -> None:
        self.groups: list[Group] = batch.groups()
        self.offsets = torch.from_numpy(batch.offsets).to(device, torch.int32)
        self.positions = torch.from_numpy(batch.positions).to(device)
        self.longest = int(batch.lengths.max())


def attend(q: Tensor, k: Tensor, v: Tensor, packing: Packing) -> Tensor:
    """Mix values within each sequence.

    Args:
        q: Queries (total, H, head), packed and sorted by length.
        k: Keys, likewise.
        v: Values, likewise.
        packing: The sequences.

    Returns:
        (total, H, head).
    """
    if _suits_varlen(q) and (kernel := varlen_kernel()):
        return kernel(q, k, v, packing.offsets, packing.longest)
    if len(packing.groups) == 1:
        return _attend_group(packing.groups[0], q, k, v)
    # Cut once: the gradients of n slices would be n arrays of the whole size.
    sizes = [group.number * group.length for group in packing.groups]
    rows = zip(packing.groups, *(torch.split(x, sizes) for x in (q, k, v)), strict=True)
    return torch.cat([_attend_group(*each) for each in rows])


def _suits_varlen(q: Tensor) -> bool:
    """What FlashAttention asks for: half precision, heads of eights, an Ampere GPU or later."""
    return (
        q.is_cuda
        and q.dtype in (torch.float16, torch.bfloat16)
        and q.shape[-1] % 8 == 0
        and q.shape[-1] <= 256
        and torch.cuda.get_device_capability(q.device) >= (8, 0)
    )


def probabilities(q: Tensor, k: Tensor, packing: Packing) -> list[Tensor]:
    """Return the attention of each sequence, (H, T, T)."""
    found: list[Tensor] = []
    for group in packing.groups:
        rows = slice(group.start, group.start + group.number * group.length)
        scores = _heads_first(q[rows], group) @ _heads_first(k[rows], group).transpose(-1, -2)
        found.extend((scores / math.sqrt(q.shape[-1])).softmax(-1))
    return found


@cache
def varlen_kernel() -> Varlen | None:
    """The variable-length kernel that is installed, or None."""
    return _flash_attn() or _torch_varlen()


def _flash_attn() -> Varlen | None:
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        return None

    def kernel(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, longest: int) -> Tensor:
        mixed: Tensor = flash_attn_varlen_func(q, k, v, offsets, offsets, longest, longest)
        return mixed

    return kernel


def _torch_varlen() -> Varlen | None:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None

    def kernel(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, longest: int) -> Tensor:
        mixed = varlen_attn(q, k, v, offsets, offsets, longest, longest)
        return mixed if isinstance(mixed, Tensor) else mixed[0]

    return kernel


def _heads_first(rows: Tensor, group: Group) -> Tensor:
    """Sequences of one length: (n * T, H, head) to (n, H, T, head)."""
    return rows.view(group.number, group.length, *rows.shape[1:]).transpose(1, 2)


def _attend_group(group: Group, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (_heads_first(rows, group) for rows in (q, k, v))
    mixed = functional.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).flatten(0, 1)
