"""Write a model in a layout, wholly or not at all, and read back what was written."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
from attrs import frozen

from riboswitch.conversion.plan import Plan, make_plan
from riboswitch.errors import CheckpointError, RiboswitchWarning, UsageError
from riboswitch.files import replacing
from riboswitch.interfaces import ModelEntry
from riboswitch.layouts import checkpoint_weights, recognise
from riboswitch.opening import nearest
from riboswitch.registry import registry
from riboswitch.weights import LazyWeights

UNSAID = ("num_heads",)
"""What a layout may leave out: it must be said again when the file is loaded."""


@frozen(eq=False)
class ReadBack:
    """What a new file says of itself.

    Attributes:
        path: Where it lies for now.
        weights: Canonical ones, as they are in it.
        losses: What the layout does not say of the model, one sentence each.
    """

    path: Path
    weights: LazyWeights
    losses: tuple[str, ...]


def save(entry: ModelEntry, weights: LazyWeights, path: Path, to: str) -> None:
    """Write a model in a layout; what is lost is named in one warning.

    Raises:
        UsageError: There is no such layout, or something is at `path` already.
        CheckpointError: The layout cannot hold this model.
        ResourceError: The disk is full.
    """
    plan = make_plan(entry, weights, to)
    with written(plan, path) as back:
        losses = (*plan.losses, *back.losses)
    warn_of_losses(path, losses, plan.borrowed)


@contextmanager
def written(plan: Plan, path: Path, *, overwrite: bool = False) -> Iterator[ReadBack]:
    """Write beside `path` and read it back; when the block ends well, it becomes `path`."""
    _must_be_free(plan, path, overwrite=overwrite)
    with replacing(path) as temporary:
        _write(plan, temporary)
        yield _read_back(plan, temporary)


def warn_of_losses(path: Path, losses: tuple[str, ...], borrowed: Mapping[str, str]) -> None:
    """Name what did not survive, and tokens that had to be made of others."""
    said = [f"not in it: {'; '.join(losses)}"] if losses else []
    said += [f"with the numbers of {old}: {' '.join(new)}" for old, new in by_donor(borrowed)]
    if said:
        warnings.warn(f"{path}: {'. '.join(said)}", RiboswitchWarning, stacklevel=3)


def by_donor(borrowed: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Old tokens, and the new ones that take their numbers."""
    donors = dict.fromkeys(borrowed.values())
    return [(old, [new for new, donor in borrowed.items() if donor == old]) for old in donors]


def _must_be_free(plan: Plan, path: Path, *, overwrite: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise UsageError(f"{path} is there already.\nGive another name, or --overwrite.")
    ours = {plan.form.file, *plan.form.texts}
    folder = path.is_dir()
    if folder != (plan.form.file is not None) or (
        folder and not {p.name for p in path.iterdir()} <= ours
    ):
        raise UsageError(f"{path} is no checkpoint in the layout {plan.layout.name!r}.\n"
                         "Remove it yourself, or give another name.")  # fmt: skip


def _write(plan: Plan, path: Path) -> None:
    form = plan.form
    if form.file is None:
        registry().write_checkpoint(path, plan.draft)
        return
    path.mkdir()
    for name, text in form.texts.items():
        (path / name).write_text(text, "utf-8")
    registry().write_checkpoint(path / form.file, plan.draft)


def _read_back(plan: Plan, path: Path) -> ReadBack:
    """Open a new file as a stranger would and compare what it says with what it should."""
    reg, held = registry(), plan.entry
    layout, checkpoint, found = recognise(reg.open_checkpoint(path), reg.layouts)
    unsaid = {n: getattr(held.architecture, n) for n in UNSAID if n not in found.changes}
    base = nearest(path, found)
    said = base.architecture.evolve({**found.changes, **unsaid})
    for name in attrs.fields_dict(type(said)):
        have, had = getattr(said, name), getattr(held.architecture, name)
        if have != had:
            raise _cannot(plan, f"its {name} would become {have!r} instead of {had!r}")
    if (found.alphabet or base.alphabet) != held.alphabet:
        raise _cannot(plan, "its alphabet would become another one")
    if (layout.name, found.family) != (plan.layout.name, held.family):
        raise _cannot(plan, f"it would be taken for {found.family} in {layout.name}")
    weights = checkpoint_weights(checkpoint, layout, held.architecture)
    assumed = {n: v for n, v in unsaid.items() if getattr(base.architecture, n) != v}
    losses = tuple(f"{n} = {v}, to be given again when it is loaded" for n, v in assumed.items())
    return ReadBack(path, weights, losses)


def _cannot(plan: Plan, problem: str) -> CheckpointError:
    return CheckpointError(
        f"The layout {plan.layout.name!r} cannot hold this {plan.entry.name!r}: {problem}.\n"
        "The layout riboswitch holds any model."
    )
