"""Pre-training: the loop that every backend shares, and that a kill does not stop for good."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
from attrs import evolve, field, frozen, validators
from numpy.typing import NDArray

from riboswitch.errors import BackendError, TrainingError, UsageError
from riboswitch.interfaces import ModelEntry, Weights
from riboswitch.loading import place
from riboswitch.masking import Origin, Recipe
from riboswitch.opening import open_model, seal
from riboswitch.registry import registry
from riboswitch.training.batches import Batches
from riboswitch.training.checkpoint import Saved, newest, save_checkpoint, save_model
from riboswitch.training.corpus import Corpus, Source, open_corpus, pack
from riboswitch.training.examples import Example, Examples
from riboswitch.training.learner import Learner, Predicted, TrainingBackend
from riboswitch.training.log import Log
from riboswitch.training.settings import Optimization
from riboswitch.weights import random_weights

HELD_OUT_EPOCH = 2**63
"""The epoch whose masks held-out sequences have: never one of training."""
_POLL = 0.2  # seconds


def _at_least(lowest: float) -> Any:
    def check(_: object, attribute: Any, value: Any) -> None:
        if isinstance(value, bool) or value < lowest:
            raise UsageError(f"{attribute.name} is {value!r}, and must be at least {lowest}.")

    return check


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
    epochs: float = field(default=1.0, validator=_at_least(0))
    tokens: int = field(default=16384, validator=_at_least(1))
    accumulate: int = field(default=1, validator=_at_least(1))
    longest: int | None = field(default=None, validator=validators.optional(_at_least(1)))
    alpha: float = field(default=1.0, validator=_at_least(0))
    shown: float = field(default=1.0, validator=_at_least(0))
    pool: str = field(default="cls", validator=validators.in_(("cls", "mean")))
    weights: str = "random"
    backend: str = "auto"
    device: str = "auto"
    dtype: str = field(default="float32", validator=validators.in_(("float32", "bfloat16")))
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
        identity: What the run was.
        seconds: Of this call.
    """

    model: Path | None
    steps: int
    last: Mapping[str, Any]
    held_out: Mapping[str, Any]
    identity: Mapping[str, Any]
    seconds: float


def pretrain(request: Request, progress: Progress | None = None) -> Result:
    """Train a model on masked sequences, or go on with a run that was stopped.

    The same call goes on from the last checkpoint to the very same numbers. SIGTERM and ^C stop
    it after the step that is being made, with a checkpoint.

    Raises:
        UsageError: An argument cannot be right, or the folder holds another run.
        BackendError: The backend is not installed, or does not train.
        SequenceError: The corpus cannot be read, or is empty.
        ResourceError: Memory or disk ran out; the same call goes on from the last checkpoint.
        StoreError: The folder is damaged.
    """
    began = time.perf_counter()
    run = _Run(request)
    with _Stop() as stop:
        result = run.train(stop, progress or _silent)
    return evolve(result, seconds=time.perf_counter() - began)


class _Run:
    """One call of `pretrain`."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.entry = request.entry
        self.backend, self.device = _place(request)
        self.rank, self.world = self.backend.process()
        self.longest = _longest(request)
        self.corpus = self._corpus()
        self.identity = self._identify()
        self.saved = self._resume()
        self.examples = Examples(
            corpus=self.corpus,
            alphabet=self.entry.alphabet,
            recipe=request.recipe,
            seed=request.seed,
            longest=self.longest,
            shown=request.shown,
            pool=request.pool,
        )
        self.batches = self._batches(~self.corpus.held_out)
        self.looks = self._batches(self.corpus.held_out).in_order()
        self.steps = request.steps or self._steps_of(request.epochs)
        self.learner = self._learner()

    def train(self, stop: _Stop, progress: Progress) -> Result:
        """Make all steps that are left."""
        request, done = self.request, self.saved.steps if self.saved else 0
        said: Mapping[str, Any] = {}
        held_out: Mapping[str, Any] = {}
        stopped = False
        with self._log(done) as log, ThreadPoolExecutor(request.workers) as pool:
            for number, shards in self._prefetched(pool, done):
                said, stopped = self._step(number, shards, stop)
                done = number
                if log and (done % request.log_every == 0 or done == self.steps):
                    log.write("train", done, said)
                progress(done, self.steps, said)
                if self.looks and (done % request.held_out_every == 0 or done == self.steps):
                    held_out = self._look()
                    if log:
                        log.write("held_out", done, held_out)
                if stopped or done % request.save_every == 0 or done == self.steps:
                    self._save(done)
                if stopped:
                    break
        model = self._finish() if done == self.steps else None
        return Result(model, done, said, held_out, self.identity, 0.0)

    def _step(
        self, number: int, shards: list[Example], stop: _Stop
    ) -> tuple[dict[str, Any], bool]:
        """One step: the losses of all shards of all processes, weighted alike."""
        request, learner = self.request, self.learner
        words, types = (sum(s.count(t) for s in shards) for t in (False, True))
        counts = learner.total(np.array([words, types, stop.asked], np.float64))
        shares = 1 / max(counts[0], 1), request.alpha / max(counts[1], 1)
        tally = _Tally()
        for i, shard in enumerate(shards):
            work = shard.weighted(*shares)
            tally.add(shard, learner.accumulate(work, last=i == len(shards) - 1))
        rate = request.optimization.rate(number, self.steps)
        norm = learner.step(rate)
        said = tally.summary(learner, request.alpha)
        if not math.isfinite(said["loss"] + norm):
            raise TrainingError(
                f"the loss of step {number} is {said['loss']}, and the norm of its gradients "
                f"{norm}.\nTake a lower learning rate, and begin anew."
            )
        return {**said, "rate": rate, "norm": norm}, counts[2] > 0

    def _look(self) -> dict[str, Any]:
        """Losses and accuracies on the held-out sequences."""
        tally = _Tally()
        for records in self.looks[self.rank :: self.world]:
            example = self.examples.make(records, HELD_OUT_EPOCH)
            tally.add(example, self.learner.evaluate(example.work))
        return tally.summary(self.learner, self.request.alpha)

    def _steps_of(self, epochs: float) -> int:
        """Steps that so many epochs have, which may differ by a few."""
        whole = int(epochs)
        steps: float = sum(len(self.batches.epoch(epoch)) for epoch in range(whole))
        if epochs > whole:
            steps += (epochs - whole) * len(self.batches.epoch(whole))
        return max(1, math.ceil(steps))

    def _left(self, done: int) -> Iterator[tuple[int, int, list[NDArray[np.int64]]]]:
        """Number, epoch and all micro-batches of each step that is left."""
        number, epoch = 0, 0
        while number < self.steps:
            steps = self.batches.epoch(epoch)
            for number, step in enumerate(steps, number + 1):
                if done < number <= self.steps:
                    yield number, epoch, step
            epoch += 1

    def _prefetched(
        self, pool: ThreadPoolExecutor, done: int
    ) -> Iterator[tuple[int, list[Example]]]:
        """Make the examples of the next steps while the learner works."""

        def make(step: list[NDArray[np.int64]], epoch: int) -> list[Example]:
            mine = [self.examples.make(s, epoch) for s in step[self.rank :: self.world]]
            # Who has none computes another's, which then counts for nothing.
            return mine or [self.examples.make(step[0], epoch).muted()]

        left = self._left(done)
        waiting: list[tuple[int, Future[list[Example]]]] = []
        try:
            while True:
                for number, epoch, step in islice(left, 2 * self.request.workers - len(waiting)):
                    waiting.append((number, pool.submit(make, step, epoch)))
                if not waiting:
                    return
                number, future = waiting.pop(0)
                yield number, future.result()
        finally:
            for _, future in waiting:
                future.cancel()

    def _corpus(self) -> Corpus:
        """Pack the corpus, or wait until the first process has."""
        folder = self.request.output / "corpus"
        while (corpus := open_corpus(folder)) is None:
            if self.rank == 0:
                return pack(self.request.source, self.entry.alphabet, folder)
            time.sleep(_POLL)
        return corpus

    def _identify(self) -> dict[str, Any]:
        """All that the numbers of a run depend on, but for the number of processes."""
        request = self.request
        return {
            "model": self.entry.name,
            "architecture": seal(self.entry.architecture, self.entry.alphabet),
            "weights": request.weights,
            "corpus": self.corpus.about["sha256"],
            "held_out": request.source.held_out,
            "recipe": _recipe_hash(request.recipe),
            "optimization": attrs.asdict(request.optimization),
            "steps": request.steps,
            "epochs": request.epochs,
            "tokens": request.tokens,
            "accumulate": request.accumulate,
            "longest": self.longest,
            "alpha": request.alpha,
            "shown": request.shown,
            "pool": request.pool,
            "dtype": request.dtype,
            "seed": request.seed,
        }

    def _resume(self) -> Saved | None:
        """The last checkpoint, if it is of this very run."""
        saved = newest(self.request.output / "checkpoints")
        if saved is None:
            return None
        said = json.loads(json.dumps(self.identity))
        changed = [key for key in said if said[key] != saved.run.get(key)]
        if changed:
            key = changed[0]
            raise UsageError(
                f"{self.request.output} holds another run: its {key} is {saved.run.get(key)!r}, "
                f"and here it is {said[key]!r}.\nGive another folder, or the same settings."
            )
        return saved

    def _batches(self, wanted: NDArray[np.bool_]) -> Batches:
        records, request = np.flatnonzero(wanted), self.request
        return Batches(
            records,
            self.examples.tokens(records),
            request.tokens,
            request.accumulate,
            request.seed,
        )

    def _learner(self) -> Learner:
        request = self.request
        weights: Weights
        if self.saved:
            weights = open_model(self.saved.model, self.entry.name).weights
        elif request.weights == "random":
            weights = random_weights(self.entry.architecture, request.seed)
        else:
            weights = open_model(Path(request.weights), self.entry.name).weights
        learner = self.backend.learner(
            self.entry.architecture,
            weights,
            device=self.device,
            dtype=request.dtype,
            optimization=request.optimization,
        )
        if self.saved:
            learner.restore(self.saved.moments(), self.saved.steps)
        return learner

    @contextmanager
    def _log(self, done: int) -> Iterator[Log | None]:
        if self.rank:
            yield None
            return
        with Log(self.request.output, done, board=self.request.board) as log:
            yield log

    def _save(self, done: int) -> None:
        if self.rank:
            return
        folder = self.request.output / "checkpoints"
        if (folder / f"step-{done:09d}").exists():
            return
        weights = self.learner.backbone.canonical()
        save_checkpoint(folder, done, self.identity, self.entry, weights, self.learner.state())

    def _finish(self) -> Path:
        path = self.request.output / "model"
        if self.rank == 0 and not path.exists():
            save_model(self.entry, self.learner.backbone.canonical(), path)
        return path


class _Tally:
    """Losses and hits by why a token was to be predicted."""

    def __init__(self) -> None:
        self.losses, self.hits, self.counts = (np.zeros(len(Origin)) for _ in range(3))
        self.tokens = 0

    def add(self, example: Example, predicted: Predicted) -> None:
        """Count one micro-batch."""
        kinds = example.origins
        size = len(Origin)
        if example.counts:
            self.losses += np.bincount(kinds, predicted.losses, size)
            self.hits += np.bincount(kinds, predicted.hits, size)
            self.counts += np.bincount(kinds, minlength=size)
            self.tokens += len(example.work.batch.ids)

    def summary(self, learner: Learner, alpha: float) -> dict[str, Any]:
        """Means over all processes: the loss and its parts, and accuracy by strategy."""
        parts = np.concatenate([self.losses, self.hits, self.counts, [float(self.tokens)]])
        *means, (tokens,) = np.split(learner.total(parts), [len(Origin) * i for i in (1, 2, 3)])
        losses, hits, counts = means
        words = np.arange(len(Origin)) != Origin.TYPE
        said = {"mlm": _ratio(losses[words].sum(), counts[words].sum())}
        said["accuracy"] = _ratio(hits[words].sum(), counts[words].sum())
        said["loss"] = said["mlm"]
        if counts[Origin.TYPE]:
            said["cls"] = _ratio(losses[Origin.TYPE], counts[Origin.TYPE])
            said["loss"] += alpha * said["cls"]
        for kind in Origin:
            if counts[kind]:
                said[f"accuracy_{kind.name.lower()}"] = _ratio(hits[kind], counts[kind])
        return {**said, "tokens": int(tokens)}


class _Stop:
    """Takes SIGTERM and ^C as the wish to stop after the step; the second ^C stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _place(request: Request) -> tuple[TrainingBackend, str]:
    """The backend and its device."""
    backend, device, dtype = place(
        request.entry, request.backend, request.device, request.dtype, trains=True
    )
    if not isinstance(backend, TrainingBackend):
        raise BackendError(
            f"The backend {backend.name!r} says that it trains and has no learner.\n"
            "Update or uninstall it, or take another one."
        )
    if not request.entry.architecture.lm_head:
        raise UsageError(f"{request.entry.name} has no head that predicts tokens.")
    return backend, device


def _longest(request: Request) -> int:
    """Letters that fit into the model, with the special tokens and a prompt."""
    alphabet, limit = request.entry.alphabet, request.entry.architecture.max_tokens
    special = 4 if alphabet.ind and request.source.types and request.shown else 2
    words = 1022 if limit is None else min(1022, limit - special)
    most = (words - 1) * alphabet.stride + alphabet.k
    if request.longest is None:
        return most
    if not alphabet.k <= request.longest <= (most if limit is not None else request.longest):
        raise UsageError(
            f"longest is {request.longest}, and {request.entry.name} takes {alphabet.k} to {most} "
            "letters."
        )
    return request.longest - request.longest % alphabet.stride


def _recipe_hash(recipe: Recipe) -> str:
    values = {f.name: getattr(recipe, f.name) for f in attrs.fields(Recipe) if f.name != "motifs"}
    motifs = recipe.motifs and [recipe.motifs.known, recipe.motifs.ranked]
    text = json.dumps([values, motifs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _silent(done: int, steps: int, said: Mapping[str, Any]) -> None:
    """Say nothing."""


