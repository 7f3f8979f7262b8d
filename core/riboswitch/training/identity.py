"""What a run is: all that its numbers depend on, and the refusal to go on with another one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import attrs
from attrs import evolve

from riboswitch.errors import RiboswitchError, UsageError
from riboswitch.masking import Recipe
from riboswitch.opening import Opened, open_model, seal
from riboswitch.training.checkpoint import Saved, newest
from riboswitch.training.differences import first_difference
from riboswitch.training.request import Request
from riboswitch.weights import weights_hash

_HASH = "sha256:"
_PLAN = 2
"""What a plan means. Before it was marked, `inverse-sqrt` went below its floor."""


def identity(request: Request, longest: int) -> dict[str, Any]:
    """All that the numbers of a run depend on, but for its corpus and the number of processes.

    Weights that are not random are named here; `told` says what they are.

    Args:
        request: What is asked for.
        longest: Letters of a sequence at most.
    """
    entry = request.entry
    return {
        "model": entry.name,
        "architecture": seal(entry.architecture, entry.alphabet),
        "weights": request.weights,
        "initial": entry.pretraining.initial,
        "held_out": request.source.held_out,
        "recipe": _recipe(request.recipe),
        "optimization": attrs.asdict(request.optimization),
        "plan": _PLAN,
        "steps": request.steps,
        "epochs": request.epochs,
        "tokens": request.tokens,
        "accumulate": request.accumulate,
        "longest": longest,
        "alpha": request.alpha,
        "shown": request.shown,
        "pool": request.pool,
        "dtype": request.dtype,
        "seed": request.seed,
    }


def told(opened: Opened) -> str:
    """What an identity says of weights: a hash, so that neither their path nor layout matters."""
    return f"{_HASH}{weights_hash(opened.weights)}"


def hashed(saved: Saved) -> Saved:
    """A checkpoint that notes a path of the weights with their hash, while they still open."""
    was = str(saved.run.get("weights"))
    if was == "random" or was.startswith(_HASH) or not Path(was).exists():
        return saved
    try:
        said = told(open_model(was))
    except (RiboswitchError, OSError):
        return saved
    return evolve(saved, run={**saved.run, "weights": said})


def last_of(folder: Path, run: dict[str, Any]) -> Saved | None:
    """The last checkpoint in a run's folder.

    Args:
        folder: Of the run.
        run: What the run should be; what it does not say is not compared.

    Raises:
        UsageError: It is of another run.
        StoreError: It is damaged.
    """
    saved = newest(folder / "checkpoints")
    if saved is not None:
        must_be(folder, saved, run)
    return saved


def must_be(folder: Path, saved: Saved, run: dict[str, Any]) -> None:
    """Raise `UsageError` when a checkpoint is of another run."""
    said = json.loads(json.dumps(run))
    have = {key: saved.run.get(key) for key in said}
    if have.get("plan", _PLAN) is None:
        have["plan"] = _PLAN
        _check_unmarked(folder, have.get("optimization"))
    have = _as_now(have, said)
    if found := first_difference(have, said):
        name, was, here = found
        raise UsageError(
            f"{folder} holds another run: its {name} is {was!r:.200}, and here it is "
            f"{here!r:.200}.\nGive another folder, or the same settings."
        )


def _check_unmarked(folder: Path, plan: Any) -> None:
    """Refuse a checkpoint whose rate another version would have gone on with otherwise."""
    if not isinstance(plan, dict) or plan.get("schedule") != "inverse-sqrt":
        return
    if floor := plan.get("floor"):
        raise UsageError(
            f"{folder} holds a run of an older version, in which the schedule inverse-sqrt went "
            f"below its floor of {floor!r:.200}; now it does not.\n"
            "Begin anew in another folder: -o."
        )


def _as_now(have: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says, where it cannot be compared or an older one said it otherwise."""
    was, here = (str(run.get("weights")) for run in (have, said))
    hashed = was.startswith(_HASH) and here.startswith(_HASH)
    if not hashed and "random" not in (was, here):  # a path, as all were, or that is gone
        have = {**have, "weights": said.get("weights")}
    plan = have.get("optimization")
    if isinstance(plan, dict) and plan.get("schedule") == "constant":  # any floor was let be
        have = {**have, "optimization": {**plan, "floor": 0.0}}
    return have


def _recipe(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says, and of its motifs a hash."""
    values = {f.name: getattr(recipe, f.name) for f in attrs.fields(Recipe) if f.name != "motifs"}
    motifs = recipe.motifs and [recipe.motifs.known, recipe.motifs.ranked]
    text = json.dumps(motifs, sort_keys=True)
    said: dict[str, Any] = json.loads(json.dumps(values))
    return {**said, "motifs": hashlib.sha256(text.encode()).hexdigest()[:16] if motifs else None}
