"""What this package announces."""

from __future__ import annotations

from pathlib import Path

from riboswitch.hookspecs import impl
from riboswitch.interfaces import Checkpoint, Layout


@impl
def riboswitch_layouts() -> list[Layout]:
    """The layouts of the released weights and of MultiMolecule."""
    from riboswitch_adapters.layouts import multimolecule, rinalmo, rnaernie, rnafm

    return [rnafm.LAYOUT, rinalmo.LAYOUT, rnaernie.LAYOUT, multimolecule.LAYOUT]


@impl
def riboswitch_open_checkpoint(path: Path) -> Checkpoint | None:
    """Open torch, Paddle and safetensors files, and folders that hold one."""
    from riboswitch_adapters.checkpoints import open_checkpoint

    return open_checkpoint(path)
