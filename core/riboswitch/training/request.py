"""`Request`: what a run is asked to do, and `Result`: what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from riboswitch.checks import (
    flag,
    instance,
    number,
    one_of,
    optional,
    plain_numbers,
    share,
    spelt,
    text,
    whole,
)
from riboswitch.errors import UsageError
from riboswitch.interfaces import ModelEntry
from riboswitch.masking import Recipe
from riboswitch.optimization import Optimization
from riboswitch.training.corpus import Source

_several = whole(1)
_entry = instance(ModelEntry, "Give riboswitch.training.models.model_entry('rnaernie').")
_source = instance(Source, "Make one: riboswitch.training.corpus.Source(files=['rna.fa']).")
_recipe = instance(Recipe, "Give riboswitch.masking.recipe('bert').")
_optimization = instance(Optimization, "Make one: riboswitch.optimization.Optimization(peak=1e-4).")


def _folder(value: Any) -> Any:
    return Path(value) if isinstance(value, (str, os.PathLike)) else value


@frozen(kw_only=True, eq=False, field_transformer=plain_numbers)
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
        longest: Letters of a sequence; None for what the model takes, and 1022 words at most.
        alpha: Weight of the type's loss beside that of the masked tokens.
        shown: Share of the sequences with a type that are prompted with it.
        pool: Where the type is predicted, `cls` or `mean`.
        weights: `random`, `released`, or the path of a checkpoint to begin with.
        backend: Which, or `auto`.
        device: Which, or `auto`.
        dtype: `float32`, or `bfloat16` for products.
        seed: Of the weights, the order, the masks and dropout.
        workers: Threads that make batches.
        log_every: Steps between two lines of the log.
        held_out_every: Steps between two looks at the held-out sequences.
        held_out_most: Sequences that a look goes over, the first ones of the corpus.
        save_every: Steps between two checkpoints.
        board: Whether to log for TensorBoard.
    """

    entry: ModelEntry = field(validator=_entry)
    output: Path = field(converter=_folder, validator=instance(Path, "Give the path of a folder."))
    source: Source = field(validator=_source)
    recipe: Recipe = field(validator=_recipe)
    optimization: Optimization = field(validator=_optimization)
    steps: int | None = field(default=None, validator=optional(_several))
    epochs: float = field(default=1.0, validator=number(0, 1e9, above=True))
    tokens: int = field(default=16384, validator=_several)
    accumulate: int = field(default=1, validator=_several)
    longest: int | None = field(default=None, validator=optional(_several))
    alpha: float = field(default=1.0, validator=number(0, 1e9))
    shown: float = field(default=1.0, validator=share)
    pool: str = field(default="cls", validator=one_of("cls", "mean"))
    weights: str = field(default="random", converter=spelt, validator=text)
    backend: str = field(default="auto", validator=text)
    device: str = field(default="auto", validator=text)
    dtype: str = field(default="float32", validator=one_of("float32", "bfloat16"))
    seed: int = field(default=0, validator=whole(0, 2**64 - 1))
    workers: int = field(default=1, validator=whole(1, 1024))
    log_every: int = field(default=10, validator=_several)
    held_out_every: int = field(default=500, validator=_several)
    held_out_most: int = field(default=10_000, validator=_several)
    save_every: int = field(default=500, validator=_several)
    board: bool = field(default=True, validator=flag)

    def __attrs_post_init__(self) -> None:
        if not self.recipe.rate and not (self.recipe.predict_type and self.source.types):
            raise UsageError(
                "the rate of the recipe is 0, and no types are predicted: there is nothing to "
                "learn.\nGive another rate, as `rate: 0.15` in its file."
            )


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
