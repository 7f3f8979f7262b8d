"""`convert`: a checkpoint in one layout becomes one in another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from riboswitch.conversion.plan import make_plan
from riboswitch.conversion.verify import Difference, verify_files
from riboswitch.conversion.write import ReadBack, warn_of_losses, write
from riboswitch.layouts import left_behind
from riboswitch.opening import open_model
from riboswitch.weights import weights_hash


@frozen(kw_only=True)
class Conversion:
    """What a conversion did.

    Attributes:
        source: Path of what was read.
        target: Path of what was written.
        source_layout: Name of its layout.
        target_layout: Name of the other one.
        model: Name of the model.
        licence: Of the weights; it goes with them.
        parameters: Numbers in the canonical weights of the result.
        weights_sha256: Their hash: the same for the same weights in any layout.
        lost: What did not survive, one sentence each.
        borrowed: Tokens that only the new vocabulary has, and whose numbers they take.
        difference: What `verify` found; None when it was not asked for.
    """

    source: str
    target: str
    source_layout: str
    target_layout: str
    model: str
    licence: str
    parameters: int
    weights_sha256: str
    lost: tuple[str, ...]
    borrowed: Mapping[str, str]
    difference: Difference | None = None


def convert(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    to: str,
    *,
    architecture: Mapping[str, Any] | None = None,
    verify: bool = False,
    overwrite: bool = False,
) -> Conversion:
    """Write a checkpoint again in another layout, tensor by tensor and bit for bit.

    Args:
        src: A file or folder in any known layout.
        dst: Where to; a file or a folder, as the layout is. Seen whole or not at all.
        to: Name of a layout that is written: see `docs/checkpoints.md`.
        architecture: What the source does not say of itself, such as `num_heads`.
        verify: Compare every number that was written, and what both files compute of real
            sequences.
        overwrite: Replace what is at `dst`.

    Returns:
        A report; what is lost stands in it, and in one `RiboswitchWarning`.

    Raises:
        UsageError: There is no such layout, or something is at `dst` already.
        CheckpointError: The source is none, is damaged, or holds what the layout cannot.
        ResourceError: The disk is full.
        StoreError: `dst` cannot be written.
    """
    opened = open_model(src, architecture=architecture)
    plan = make_plan(opened.entry, opened.weights, to)
    behind = left_behind(opened.checkpoint, opened.layout, opened.entry.architecture)

    def check(back: ReadBack) -> tuple[tuple[str, ...], str, Difference | None]:
        difference = verify_files(opened, plan, back) if verify else None
        return back.losses, weights_hash(plan.weights), difference

    unsaid, digest, difference = write(plan, Path(dst), check, overwrite=overwrite)
    lost = (*behind, *plan.losses, *unsaid)
    warn_of_losses(Path(dst), lost, plan.borrowed)
    return Conversion(
        source=os.fspath(src),
        target=os.fspath(dst),
        source_layout=opened.layout.name,
        target_layout=to,
        model=opened.entry.name,
        licence=opened.entry.licence,
        parameters=plan.entry.architecture.num_parameters(),
        weights_sha256=digest,
        lost=lost,
        borrowed=plan.borrowed,
        difference=difference,
    )
