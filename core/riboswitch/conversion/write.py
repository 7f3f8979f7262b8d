"""Write a model in a layout, wholly or not at all, and read back what was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import attrs
from attrs import frozen

from riboswitch.conversion.plan import WritePlan, make_plan
from riboswitch.errors import CheckpointError, warn
from riboswitch.files import replacing
from riboswitch.interfaces import ModelEntry
from riboswitch.layouts import checkpoint_weights, recognise
from riboswitch.opening import nearest
from riboswitch.registry import registry
from riboswitch.weights import LazyWeights

UNSAID = ("num_heads",)
"""What a layout may leave out: it must be said again when the file is loaded."""


T = TypeVar("T")


@frozen(eq=False)
class ReadBack:
    """What a new file says of itself.

    Attributes:
        weights: Canonical ones, as they are in it.
        losses: What the layout does not say of the model, one sentence each.
    """

    weights: LazyWeights
    losses: tuple[str, ...]


def save(
    entry: ModelEntry, weights: LazyWeights, path: Path, layout: str, *, overwrite: bool = False
) -> None:
    """Write a model in a layout; what is lost is named in one warning.

    Raises:
        UsageError: There is no such layout, or something is at `path` already.
        CheckpointError: The layout cannot hold this model.
        ResourceError: The disk is full.
        StoreError: `path` cannot be written.
    """
    plan = make_plan(entry, weights, layout)
    losses = write(plan, path, lambda back: back.losses, overwrite=overwrite)
    warn_of_losses(path, (*plan.losses, *losses), plan.borrowed)


def write(
    plan: WritePlan, path: Path, check: Callable[[ReadBack], T], *, overwrite: bool = False
) -> T:
    """Write beside `path`, read it back, and let it become `path`.

    Args:
        plan: What to write.
        path: Where to; a file or folder, as the layout is.
        check: Looks at what was read back; if it raises, nothing is at `path`.
        overwrite: Whether what is there may be replaced.

    Returns:
        What `check` returns. Nothing may keep the file mapped that it was shown.
    """
    ours = {plan.form.file, *plan.form.texts} if plan.form.file else set()
    with replacing(path, overwrite=overwrite, ours=ours) as temporary:
        _write(plan, temporary)
        return check(_read_back(plan, temporary))


def warn_of_losses(path: Path, losses: tuple[str, ...], borrowed: Mapping[str, str]) -> None:
    """Name what did not survive, and tokens that had to borrow the numbers of others."""
    said = [f"not in it: {'; '.join(losses)}"] if losses else []
    said += [f"borrowed from {old}: {' '.join(new)}" for old, new in by_donor(borrowed)]
    if said:
        warn(f"{path}: {'. '.join(said)}")


def by_donor(borrowed: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Old tokens, and the new ones that take their numbers."""
    donors = dict.fromkeys(borrowed.values())
    return [(old, [new for new, donor in borrowed.items() if donor == old]) for old in donors]


def _write(plan: WritePlan, path: Path) -> None:
    form = plan.form
    if form.file is None:
        registry().write_checkpoint(path, plan.draft)
        return
    path.mkdir()
    for name, text in form.texts.items():
        (path / name).write_bytes(text.encode())
    registry().write_checkpoint(path / form.file, plan.draft)


def _read_back(plan: WritePlan, path: Path) -> ReadBack:
    """Open a new file as a stranger would and compare what it says with what it should."""
    reg, held = registry(), plan.entry
    layout, checkpoint, found = recognise(reg.open_checkpoint(path), reg.layouts)
    if layout.name != plan.layout.name:
        raise _cannot(plan, f"it is recognised as the layout {layout.name!r}, which is asked first")
    if found.family != held.family:
        raise _cannot(plan, f"it would be taken for a model of the family {found.family!r}")
    unsaid = {n: getattr(held.architecture, n) for n in UNSAID if n not in found.changes}
    base = nearest(path, found)
    said = base.architecture.evolve({**found.changes, **unsaid})
    for name in attrs.fields_dict(type(said)):
        have, had = getattr(said, name), getattr(held.architecture, name)
        if have != had:
            raise _cannot(plan, f"its {name} would become {have!r} instead of {had!r}")
    if (found.alphabet or base.alphabet) != held.alphabet:
        raise _cannot(plan, "its alphabet would become another one")
    weights = checkpoint_weights(checkpoint, layout, held.architecture)
    assumed = {n: v for n, v in unsaid.items() if getattr(base.architecture, n) != v}
    losses = [f"{n} = {v}, to be given again when it is loaded" for n, v in assumed.items()]
    if (found.licence or base.licence) != held.licence:
        losses.append(f"the licence, which is: {held.licence}")
    return ReadBack(weights, tuple(losses))


def _cannot(plan: WritePlan, problem: str) -> CheckpointError:
    return CheckpointError(
        f"The layout {plan.layout.name!r} cannot hold this {plan.entry.name!r}: {problem}.\n"
        "The layout riboswitch holds any model."
    )
