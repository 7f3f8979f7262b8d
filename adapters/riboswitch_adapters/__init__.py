"""Checkpoints of other programs: containers, and two-way tables of their names; tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from riboswitch.conversion.convert import convert

__all__ = ["convert"]


def __getattr__(name: str) -> Any:
    # Not at once: plugins are loaded by the registry, which `convert` needs.
    if name != "convert":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from riboswitch.conversion.convert import convert

    return convert
