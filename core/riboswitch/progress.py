"""How long work tells who waits for it how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and the whole, in bytes or residues, again and again."""
