"""What this package announces."""

from __future__ import annotations

from riboswitch import impl
from riboswitch.interfaces import Layout, ModelEntry
from riboswitch_splicebert.family import MODELS
from riboswitch_splicebert.layout import LAYOUT


@impl
def riboswitch_models() -> list[ModelEntry]:
    """The three that were released."""
    return [*MODELS]


@impl
def riboswitch_layouts() -> list[Layout]:
    """The folder that their authors' program reads and writes."""
    return [LAYOUT]
