"""The weights with which a call of `pretrain` begins."""

from __future__ import annotations

from pathlib import Path

import attrs

from riboswitch.errors import UsageError, warn
from riboswitch.interfaces import Weights
from riboswitch.opening import Opened, open_model
from riboswitch.released import fetch, is_here
from riboswitch.training.checkpoint import Saved
from riboswitch.training.initial import initial_weights
from riboswitch.training.request import Request


def given(request: Request, saved: Saved | None, rank: int = 0) -> Opened | None:
    """Open the weights that are asked for.

    Args:
        request: What is asked for.
        saved: The last checkpoint.
        rank: Of this process; the first one tells of a path that is gone.

    Returns:
        None for random ones, and for what is not there where a checkpoint makes it needless.

    Raises:
        UsageError: Nobody released weights of this model.
        CheckpointError: They are no checkpoint, damaged, or cannot be fetched.
    """
    if request.weights == "random":
        return None
    if request.weights == "released":
        entry = request.entry
        needless = saved and entry.released and not is_here(entry)
        return None if needless else open_model(fetch(entry), entry.name)
    path = Path(request.weights)
    if saved is None or path.exists():
        return open_model(path)
    if rank == 0:
        warn(
            f"{path} is not there: the run goes on from its last checkpoint.\n"
            "If others were meant, give their path, and another folder: -o."
        )
    return None


def beginning(request: Request, saved: Saved | None, opened: Opened | None) -> Weights:
    """Those of the last checkpoint, those that are asked for, or random ones.

    Args:
        request: What is asked for.
        saved: The last checkpoint.
        opened: What `given` returned.

    Raises:
        UsageError: They have another alphabet or architecture than the model.
        CheckpointError: The checkpoint is damaged.
    """
    entry = request.entry
    if saved:
        opened = open_model(saved.model)
    if opened is None:
        return initial_weights(entry.architecture, request.seed, entry.pretraining.initial)
    path = saved.model if saved else request.weights
    if opened.entry.alphabet != entry.alphabet:
        raise UsageError(
            f"{path} has another alphabet than {entry.name}.\n"
            f"Name its own model, or one that resembles it: {opened.entry.name}."
        )
    have, wanted = (attrs.asdict(e.architecture) for e in (opened.entry, entry))
    if differ := [name for name in wanted if have[name] != wanted[name]]:
        name = differ[0]
        raise UsageError(
            f"{path} holds another architecture: its {name} is {have[name]}, and that of "
            f"{entry.name} {wanted[name]}.\nDescribe it in a YAML file: --model FILE.yaml."
        )
    return opened.weights
