"""What this package announces."""

from __future__ import annotations

from riboswitch.hookspecs import impl
from riboswitch.interfaces import ModelEntry
from riboswitch_models import rinalmo, rnaernie, rnafm


@impl
def riboswitch_models() -> list[ModelEntry]:
    """RNA-FM, mRNA-FM, RiNALMo and RNAErnie."""
    return [*rnafm.MODELS, *rinalmo.MODELS, *rnaernie.MODELS]
