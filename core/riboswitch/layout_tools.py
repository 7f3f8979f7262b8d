"""What the author of a layout needs: rules for whole modules, sizes from shapes, refusals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve

from riboswitch.alphabet import Alphabet
from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Checkpoint, ModelEntry, Rule
from riboswitch.registry import registry


def modules(pairs: Mapping[str, str], *, kinds: str = "weight bias") -> list[Rule]:
    """Rules for modules that have the same parameters under two names."""
    return [
        Rule(canonical=f"{ours}.{kind}", file=f"{theirs}.{kind}")
        for ours, theirs in pairs.items()
        for kind in kinds.split()
    ]


def shape(checkpoint: Checkpoint, name: str, axes: int) -> tuple[int, ...]:
    """Shape of a tensor that the layout cannot do without."""
    if name not in checkpoint.tensors:
        raise CheckpointError(f"{checkpoint.path} lacks {name}.\nIt is incomplete.")
    found = checkpoint.tensors[name].shape
    if len(found) != axes:
        raise CheckpointError(f"{checkpoint.path}: {name} has the shape {found}, not {axes} axes.")
    return found


def num_layers(names: Iterable[str], pattern: str) -> int:
    """Highest layer number in names that match, plus one."""
    found = [int(m[1]) for n in names if (m := re.match(pattern, n)) and len(m[1]) < 8]
    return max(found, default=-1) + 1


def has(checkpoint: Checkpoint, prefix: str) -> bool:
    """Whether any tensor's name begins so."""
    return any(name.startswith(prefix) for name in checkpoint.tensors)


def released_alphabet(entry: ModelEntry) -> Alphabet:
    """The vocabulary of a family's released weights, which its own programs expect."""
    return next(e.alphabet for e in registry().models.values() if e.family == entry.family)


def of_family(entry: ModelEntry, *families: str) -> None:
    """Raise `CheckpointError` for a model of another family."""
    if entry.family not in families:
        raise CheckpointError(f"it is of the family {entry.family!r}, not {' or '.join(families)}.")


def without_pooler(entry: ModelEntry) -> ModelEntry:
    """The model as a layout holds it that has no place for a pooler."""
    return evolve(entry, architecture=entry.architecture.evolve({"pooler": False}))


def with_alphabet(entry: ModelEntry, alphabet: Alphabet) -> ModelEntry:
    """The model with another vocabulary."""
    sizes = {"vocab_size": len(alphabet), "mask_id": alphabet.mask_id}
    return evolve(entry, alphabet=alphabet, architecture=entry.architecture.evolve(sizes))


def number(config: Mapping[str, Any], key: str) -> dict[str, int]:
    """Take a positive whole number from a config, or nothing when it is not there."""
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"its config says {key} = {value!r}, which is no positive number.")
    return {key: value}
