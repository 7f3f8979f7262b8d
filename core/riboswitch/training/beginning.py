"""The weights with which a call of `pretrain` begins."""

from __future__ import annotations

from pathlib import Path

import attrs

from riboswitch.errors import UsageError
from riboswitch.interfaces import Weights
from riboswitch.opening import open_model
from riboswitch.training.checkpoint import Saved
from riboswitch.training.initial import initial_weights
from riboswitch.training.request import Request


def beginning(request: Request, saved: Saved | None) -> Weights:
    """Those of the last checkpoint, of the file that is asked for, or random ones.

    Raises:
        UsageError: The file holds another alphabet or architecture than the model's.
        CheckpointError: It is no checkpoint, or damaged.
    """
    entry = request.entry
    if not saved and request.weights == "random":
        return initial_weights(entry.architecture, request.seed, entry.pretraining.initial)
    path = saved.model if saved else Path(request.weights)
    opened = open_model(path)
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
