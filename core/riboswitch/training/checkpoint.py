"""Checkpoints of a run: whole folders that a rename makes visible, and no pickle in them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from riboswitch.conversion.write import save
from riboswitch.errors import StoreError, TrainingError
from riboswitch.files import replacing
from riboswitch.interfaces import Array, Draft, ModelEntry, Weights
from riboswitch.registry import registry
from riboswitch.weights import LazyWeights, finite

_NAME = re.compile(r"step-(\d{9})")
_KEPT = 2


@frozen(eq=False)
class Saved:
    """A checkpoint on disk.

    Attributes:
        folder: Where; `folder / "model"` is in our own layout and can be loaded by itself.
        steps: Steps done.
        run: What the run was, as `save_checkpoint` was told.
    """

    folder: Path
    steps: int
    run: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """The weights."""
        return self.folder / "model"

    def moments(self) -> dict[str, Array]:
        """AdamW's means."""
        from safetensors.numpy import load_file

        path = self.folder / "adamw.safetensors"
        try:
            return dict(load_file(path))
        except Exception as error:  # safetensors names several
            raise StoreError(
                f"{path} is damaged: {error}\nRemove {self.folder}: the one before is taken then."
            ) from error


def newest(folder: Path) -> Saved | None:
    """The last checkpoint of a run, or None.

    Raises:
        StoreError: It is damaged.
    """
    found = sorted(p for p in folder.glob("step-*") if _NAME.fullmatch(p.name))
    if not found:
        return None
    try:
        state = json.loads((found[-1] / "state.json").read_text("utf-8"))
        return Saved(found[-1], int(state["steps"]), state["run"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{found[-1]} is damaged: {error}\nRemove it: the one before is taken then."
        ) from error


def save_checkpoint(
    folder: Path,
    steps: int,
    run: Mapping[str, Any],
    entry: ModelEntry,
    weights: Weights,
    moments: Mapping[str, Array],
) -> None:
    """Write a checkpoint, wholly or not at all, and remove all but the last two.

    Raises:
        TrainingError: Weights are no finite numbers; nothing is written then.
        ResourceError: The disk is full; what was there is still there.
    """
    path = folder / f"step-{steps:09d}"
    with replacing(path, overwrite=False, ours={"model"}) as temporary:
        temporary.mkdir(parents=True)
        save_model(entry, weights, temporary / "model")
        save_moments(temporary / "adamw.safetensors", moments)
        text = json.dumps({"steps": steps, "run": run}, indent=1, allow_nan=False)
        (temporary / "state.json").write_text(text, "utf-8")
    older = sorted(p for p in folder.glob("step-*") if _NAME.fullmatch(p.name))[:-_KEPT]
    for old in older:
        shutil.rmtree(old, ignore_errors=True)


def save_model(entry: ModelEntry, weights: Weights, path: Path, dtype: str = "float32") -> None:
    """Write a model in our own layout.

    Raises:
        TrainingError: Its weights are no finite numbers; nothing is written then.
    """

    def read(name: str) -> Array:
        array = weights[name]
        if not finite(array):
            raise TrainingError(
                f"the weights are not finite any more: {name} has a number that is none.\n"
                "Take a lower learning rate, and begin anew in another folder: -o."
            )
        return array

    lazy = LazyWeights(weights, read, dict.fromkeys(weights, dtype))
    save(entry, lazy, path, "riboswitch")


def save_moments(path: Path, moments: Mapping[str, Array]) -> None:
    """Write arrays; each is read once."""
    tensors = {name: _Moment(moments[name]) for name in moments}
    registry().write_checkpoint(path, Draft(container="safetensors", tensors=tensors))


@frozen(eq=False)
class _Moment:
    """An array as a file's tensor."""

    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of its axes."""
        return self.array.shape

    @property
    def dtype(self) -> str:
        """NumPy's name of it."""
        return str(self.array.dtype)

    def read(self) -> Array:
        """The numbers."""
        return self.array
