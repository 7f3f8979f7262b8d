"""Our own layout: canonical names in `model.safetensors`, all else in `riboswitch.json`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import attrs

from riboswitch.alphabet import Alphabet
from riboswitch.architecture import Architecture
from riboswitch.errors import CheckpointError, UsageError
from riboswitch.interfaces import Checkpoint, Description, Form, Layout, ModelEntry, Rule

CONFIG = "riboswitch.json"
VERSION = 1
_FIELDS = ("model", "family", "licence", "architecture", "alphabet")


def describe(checkpoint: Checkpoint) -> Description | None:
    """Everything stands in the JSON.

    Raises:
        CheckpointError: It is of a later version, or damaged.
    """
    config = checkpoint.config
    if config.get("layout") != "riboswitch":
        return None
    if type(config.get("version")) is not int or config["version"] != VERSION:
        raise CheckpointError(
            f"{checkpoint.path} is of version {config.get('version')!r} of this layout.\n"
            "Update riboswitch: pip install -U riboswitch"
        )
    if config.get("sha256") != _digest(config):
        raise CheckpointError(
            f"{checkpoint.path}: {CONFIG} was changed or is damaged.\n"
            "Convert the source again; sizes are overridden by architecture={…} when it is loaded."
        )
    if lacking := [name for name in _FIELDS if name not in config]:
        raise CheckpointError(f"{checkpoint.path}: {CONFIG} lacks {', '.join(lacking)}.")
    return Description(
        family=_text(checkpoint, "family"),
        changes=_table(checkpoint, "architecture"),
        alphabet=_alphabet(checkpoint),
        licence=_text(checkpoint, "licence"),
        model=_text(checkpoint, "model"),
    )


def rules(architecture: Architecture, checkpoint: Checkpoint) -> list[Rule]:
    """The names are the canonical ones.

    In the file, matrices to be joined stand side by side, so that they can be mapped as one, and
    single numbers come last, so that all else stays aligned.
    """
    del checkpoint
    shapes = architecture.parameter_shapes()
    order = {name: i for i, name in enumerate(shapes)}

    def place(name: str) -> tuple[bool, str, str, int]:
        owner, _, kind = name.rpartition(".")
        joined = owner.rpartition(".")[2] in ("query", "key", "value")
        home = owner.rpartition(".")[0] if joined else name
        return not shapes[name], home, kind if joined else "", order[name]

    return [Rule(canonical=name, file=name) for name in sorted(shapes, key=place)]


def form(entry: ModelEntry) -> Form:
    """A folder of two files."""
    config: dict[str, Any] = {
        "layout": "riboswitch",
        "version": VERSION,
        "model": entry.name,
        "family": entry.family,
        "licence": entry.licence,
        "source": entry.source,
        "architecture": attrs.asdict(entry.architecture),
        "alphabet": attrs.asdict(entry.alphabet),
    }
    config["sha256"] = _digest(config)
    text = json.dumps(config, indent=1, ensure_ascii=False) + "\n"
    return Form(container="safetensors", file="model.safetensors", texts={CONFIG: text})


def _digest(config: Mapping[str, Any]) -> str:
    """SHA-256 of all else that the JSON says."""
    rest = {key: value for key, value in config.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _alphabet(checkpoint: Checkpoint) -> Alphabet:
    try:
        return Alphabet(**_table(checkpoint, "alphabet"))
    except (TypeError, UsageError) as error:
        raise CheckpointError(f"{checkpoint.path}: its alphabet cannot be: {error}") from error


def _table(checkpoint: Checkpoint, key: str) -> Mapping[str, Any]:
    found = checkpoint.config[key]
    if not isinstance(found, dict):
        raise CheckpointError(f"{checkpoint.path}: {key} in {CONFIG} is no table.")
    return found


def _text(checkpoint: Checkpoint, key: str) -> str:
    found = checkpoint.config[key]
    if not isinstance(found, str) or not found.isprintable():
        raise CheckpointError(f"{checkpoint.path}: {key} in {CONFIG} is no printable text.")
    return found


LAYOUT = Layout(name="riboswitch", plain=str, describe=describe, rules=rules, form=form)
