"""Pre-training: the loop that every backend shares, and that a kill does not stop for good."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from riboswitch.errors import BackendError, ResourceError, TrainingError, UsageError, warn
from riboswitch.interfaces import Weights
from riboswitch.loading import place
from riboswitch.masking import Recipe
from riboswitch.opening import open_model, seal
from riboswitch.training.batches import Batches
from riboswitch.training.checkpoint import Saved, newest, save_checkpoint, save_model
from riboswitch.training.corpus import Corpus, check_same, open_corpus, pack
from riboswitch.training.examples import Example, Examples
from riboswitch.training.initial import initial_weights
from riboswitch.training.learner import Learner, TrainingBackend
from riboswitch.training.log import Log, last_line
from riboswitch.training.request import Progress, Request, Result
from riboswitch.training.running import launched, running
from riboswitch.training.stop import Stop
from riboswitch.training.tally import Tally

HELD_OUT_EPOCH = 2**63
"""The epoch whose masks held-out sequences have, and which is never one of training."""
_POLL = 0.2  # seconds


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
    try:
        with running(request.output, _place(request)[0].process()[0]):
            run = _Run(request)
            with Stop() as stop:
                result = run.train(stop, progress or _silent)
    except MemoryError as error:
        raise ResourceError(
            f"memory ran out: {error}\nGive fewer --tokens and another folder; or take a machine "
            "with more memory, where the same command goes on from the last checkpoint."
        ) from error
    return evolve(result, seconds=time.perf_counter() - began)


class _Run:
    """One call of `pretrain`."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.entry = request.entry
        self.backend, self.device = _place(request)
        self.rank, self.world = self.backend.process()
        if self.rank == 0 and request.accumulate % self.world:
            warn(
                f"{self.world} processes share {request.accumulate} micro-batches of a step: some "
                f"have nothing to do.\nGive a multiple: --accumulate {self.world}."
            )
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
        self._check_model()
        self.learner = self._learner()

    def train(self, stop: Stop, progress: Progress) -> Result:
        """Make all steps that are left."""
        request, done = self.request, self.saved.steps if self.saved else 0
        stopped = False
        with self._log(done) as log, ThreadPoolExecutor(request.workers) as pool:
            said, held_out = (last_line(request.output, kind) for kind in ("train", "held_out"))
            for number, shards in self._prefetched(pool, done):
                said, stopped = self._step(number, shards, stop)
                done = number
                if log and (done % request.log_every == 0 or done == self.steps):
                    log.write("train", done, said)
                if self.rank == 0:
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
        return Result(model, done, said, held_out, self.rank, self.identity, 0.0)

    def _step(self, number: int, shards: list[Example], stop: Stop) -> tuple[dict[str, Any], bool]:
        """One step: the losses of all shards of all processes, weighted alike."""
        request, learner = self.request, self.learner
        words, types = (sum(s.count(t) for s in shards) for t in (False, True))
        counts = learner.total(np.array([words, types, stop.asked], np.float64))
        shares = 1 / max(counts[0], 1), request.alpha / max(counts[1], 1)
        tally = Tally()
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
        tally = Tally()
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
        before, epoch = 0, 0
        while before < self.steps:
            steps = self.batches.epoch(epoch)
            for number, step in enumerate(steps, before + 1):
                if done < number <= self.steps:
                    yield number, epoch, step
            before, epoch = before + len(steps), epoch + 1

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
        source, alphabet = self.request.source, self.entry.alphabet
        while (corpus := open_corpus(folder)) is None:
            if self.rank == 0:
                return pack(source, alphabet, folder)
            time.sleep(_POLL)
        check_same(corpus, source, alphabet, folder)
        return corpus

    def _identify(self) -> dict[str, Any]:
        """All that the numbers of a run depend on, but for the number of processes."""
        request = self.request
        return {
            "model": self.entry.name,
            "architecture": seal(self.entry.architecture, self.entry.alphabet),
            "weights": request.weights,
            "initial": self.entry.pretraining.initial,
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
        learner = self.backend.learner(
            self.entry.architecture,
            self._weights(),
            device=self.device,
            dtype=request.dtype,
            optimization=request.optimization,
        )
        if self.saved:
            learner.restore(self.saved.moments(), self.saved.steps)
        return learner

    def _weights(self) -> Weights:
        """Where this call begins."""
        if not self.saved and self.request.weights == "random":
            initial = self.entry.pretraining.initial
            return initial_weights(self.entry.architecture, self.request.seed, initial)
        path = self.saved.model if self.saved else Path(self.request.weights)
        opened = open_model(path)
        if opened.entry.alphabet != self.entry.alphabet:
            raise UsageError(
                f"{path} has another alphabet than {self.entry.name}.\n"
                f"Name its own model, or one that resembles it: {opened.entry.name}."
            )
        have, wanted = (attrs.asdict(e.architecture) for e in (opened.entry, self.entry))
        if differ := [name for name in wanted if have[name] != wanted[name]]:
            name = differ[0]
            raise UsageError(
                f"{path} holds another architecture: its {name} is {have[name]}, and that of "
                f"{self.entry.name} {wanted[name]}.\nDescribe it in a YAML file: --model FILE.yaml."
            )
        return opened.weights

    @contextmanager
    def _log(self, done: int) -> Iterator[Log | None]:
        if self.rank:
            yield None
            return
        with Log(self.request.output, done, board=self.request.board) as log:
            yield log

    def _save(self, done: int) -> None:
        """Let the first process write a checkpoint, and the others wait for it."""
        if self.rank == 0:
            folder, weights = self.request.output / "checkpoints", self.learner.backbone.canonical()
            save_checkpoint(folder, done, self.identity, self.entry, weights, self.learner.state())
        self._meet()

    def _check_model(self) -> None:
        """Refuse a model that is there already, unless it is what this run came to."""
        path = self.request.output / "model"
        if path.exists() and not (self.saved and self.saved.steps == self.steps):
            raise UsageError(f"{path} is there, and of another run.\nGive another folder: -o.")

    def _finish(self) -> Path:
        path = self.request.output / "model"
        if self.rank == 0 and not path.exists():
            save_model(self.entry, self.learner.backbone.canonical(), path)
        self._meet()
        return path

    def _meet(self) -> None:
        """Wait for all processes."""
        self.learner.total(np.zeros(1))


def _place(request: Request) -> tuple[TrainingBackend, str]:
    """The backend and its device."""
    backend, device, _ = place(
        request.entry, request.backend, request.device, request.dtype, trains=True
    )
    if isinstance(backend, TrainingBackend) and launched() > backend.process()[1]:
        raise BackendError(
            f"A launcher started {launched()} processes, and the backend {backend.name!r} does not "
            "know of them.\nGive the backend of that launcher: torch with torchrun, paddle with "
            "paddle.distributed.launch."
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


def _silent(done: int, steps: int, said: Mapping[str, Any]) -> None:
    """Say nothing."""
