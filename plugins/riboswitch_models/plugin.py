"""What this package announces."""

from __future__ import annotations

from riboswitch.hookspecs import impl
from riboswitch.interfaces import ModelEntry
from riboswitch_models import ribotiny, rinalmo, rnaernie, rnafm


@impl
def riboswitch_models() -> list[ModelEntry]:
    """RNA-FM, mRNA-FM, RiNALMo, RNAErnie and our own small one."""
    return [*rnafm.MODELS, *rinalmo.MODELS, *rnaernie.MODELS, *ribotiny.MODELS]
