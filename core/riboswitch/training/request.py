"""`Request`: what a run is asked to do, and `Result`: what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen, validators

from riboswitch.errors import UsageError
from riboswitch.interfaces import ModelEntry
from riboswitch.masking import Recipe
from riboswitch.training.corpus import Source
from riboswitch.training.settings import Optimization


def _at_least(lowest: float) -> Any:
    def check(_: object, attribute: Any, value: Any) -> None:
        if isinstance(value, bool) or not lowest <= value < 2**64:
            raise UsageError(f"{attribute.name} is {value!r}, and must be at least {lowest}.")

    return check


def _positive(_: object, attribute: Any, value: Any) -> None:
    if not 0 < value < 1e9:
        raise UsageError(f"{attribute.name} is {value!r}, and must be a number above 0.")


def _one_of(*names: str) -> Any:
    def check(_: object, attribute: Any, value: Any) -> None:
        if value not in names:
            raise UsageError(f"no {attribute.name} {value!r}.\nThere are: {', '.join(names)}.")

    return check


def _share(_: object, attribute: Any, value: Any) -> None:
    if not 0 <= value <= 1:
        raise UsageError(f"{attribute.name} is {value!r}, and must be from 0 to 1.")


@frozen(kw_only=True, eq=False)
class Request:
    """What to train, on what, and how.

    Attributes:
        entry: The model.
        output: The run's folder.
        source: The corpus.
        recipe: What is masked.
        optimization: AdamW and its rate.
        steps: Of the whole run; None for as many as the epochs have.
        epochs: Passes over the corpus, where `steps` is None.
        tokens: Of a micro-batch.
        accumulate: Micro-batches of a step, of all processes together.
        longest: Letters of a sequence; None for what the model takes, and 1022 at most.
        alpha: Weight of the type's loss beside that of the masked tokens.
        shown: Share of the sequences with a type that are prompted with it.
        pool: Where the type is predicted, `cls` or `mean`.
        weights: `random`, or a checkpoint to begin with.
        backend: Which, or `auto`.
        device: Which, or `auto`.
        dtype: `float32`, or `bfloat16` for products.
        seed: Of the weights, the order, the masks and dropout.
        workers: Threads that make batches.
        log_every: Steps between two lines of the log.
        held_out_every: Steps between two looks at the held-out sequences.
        save_every: Steps between two checkpoints.
        board: Whether to log for TensorBoard.
    """

    entry: ModelEntry
    output: Path = field(converter=Path)
    source: Source
    recipe: Recipe
    optimization: Optimization
    steps: int | None = field(default=None, validator=validators.optional(_at_least(1)))
    epochs: float = field(default=1.0, validator=_positive)
    tokens: int = field(default=16384, validator=_at_least(1))
    accumulate: int = field(default=1, validator=_at_least(1))
    longest: int | None = field(default=None, validator=validators.optional(_at_least(1)))
    alpha: float = field(default=1.0, validator=_at_least(0))
    shown: float = field(default=1.0, validator=_share)
    pool: str = field(default="cls", validator=_one_of("cls", "mean"))
    weights: str = "random"
    backend: str = "auto"
    device: str = "auto"
    dtype: str = field(default="float32", validator=_one_of("float32", "bfloat16"))
    seed: int = field(default=0, validator=_at_least(0))
    workers: int = field(default=1, validator=_at_least(1))
    log_every: int = field(default=10, validator=_at_least(1))
    held_out_every: int = field(default=500, validator=_at_least(1))
    save_every: int = field(default=500, validator=_at_least(1))
    board: bool = True


class Progress(Protocol):
    """Called after each step."""

    def __call__(self, done: int, steps: int, said: Mapping[str, Any]) -> None:
        """Steps done and in all, and what the last log line says."""


@frozen(eq=False)
class Result:
    """What a run came to.

    Attributes:
        model: Folder of the trained model; None when the run was stopped before its end.
        steps: Steps done.
        last: The last line of the log.
        held_out: The last look at the held-out sequences; empty where there are none.
        rank: The number of this process; only the first one has written anything.
        identity: What the run was.
        seconds: Of this call.
    """

    model: Path | None
    steps: int
    last: Mapping[str, Any]
    held_out: Mapping[str, Any]
    rank: int
    identity: Mapping[str, Any]
    seconds: float
