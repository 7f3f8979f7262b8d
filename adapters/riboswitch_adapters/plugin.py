"""What this package announces."""

from __future__ import annotations

from pathlib import Path

from riboswitch.hookspecs import impl
from riboswitch.interfaces import Checkpoint, Draft, Layout


@impl
def riboswitch_layouts() -> list[Layout]:
    """Our own, those of the released weights, and MultiMolecule's."""
    from riboswitch_adapters.layouts import multimolecule, riboswitch, rinalmo, rnaernie, rnafm

    own, others = riboswitch.LAYOUT, (rnaernie.LAYOUT, multimolecule.LAYOUT)
    return [own, rnafm.LAYOUT, *rinalmo.LAYOUTS, *others]


@impl
def riboswitch_open_checkpoint(path: Path) -> Checkpoint | None:
    """Open torch, Paddle and safetensors files, and folders that hold one."""
    from riboswitch_adapters.checkpoints import open_checkpoint

    return open_checkpoint(path)


@impl
def riboswitch_write_checkpoint(path: Path, draft: Draft) -> bool | None:
    """Write torch, Paddle and safetensors files."""
    from riboswitch_adapters.checkpoints import write_checkpoint

    return write_checkpoint(path, draft)
