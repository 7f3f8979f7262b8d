"""Pre-training: the loop that every backend shares, and that a kill does not stop for good."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from riboswitch.errors import ResourceError, TrainingError, UsageError, warn
from riboswitch.opening import Opened
from riboswitch.training.batches import Batches
from riboswitch.training.beginning import beginning, given
from riboswitch.training.checkpoint import save_checkpoint, save_model
from riboswitch.training.corpus import Corpus, left_out_message, open_corpus
from riboswitch.training.examples import Example, Examples
from riboswitch.training.feeding import Feed
from riboswitch.training.identity import hashed, identity, last_of, must_be, told
from riboswitch.training.learner import Learner, TrainingBackend
from riboswitch.training.log import Log, check_board, last_line
from riboswitch.training.looking import Looks
from riboswitch.training.packing import pack
from riboswitch.training.placing import longest, placed
from riboswitch.training.provenance import check_content, check_same
from riboswitch.training.request import Progress, Request, Result
from riboswitch.training.running import running
from riboswitch.training.stop import Stop
from riboswitch.training.tally import Tally
from riboswitch.training.together import together

_POLL = 0.2  # seconds


def pretrain(request: Request, progress: Progress | None = None) -> Result:
    """Train a model on masked sequences, or go on with a run that was stopped.

    The same call goes on from the last checkpoint to the very same numbers. SIGTERM and ^C stop
    it after the step that is being made, or within a look at the held-out sequences, with a
    checkpoint.

    Raises:
        UsageError: An argument cannot be right, or the folder holds another run.
        BackendError: The backend is not installed, or does not train.
        CheckpointError: The weights to begin with are no checkpoint, are damaged or do not fit.
        SequenceError: The corpus cannot be read, or is empty.
        ResourceError: Memory or disk ran out; the same call goes on from the last checkpoint.
        StoreError: The folder is damaged.
        TrainingError: A loss or a weight is no finite number any more.
    """
    began = time.perf_counter()
    try:
        backend, device = placed(request)
        with running(request.output, backend.process()[0]):
            run = _Run(request, backend, device)
            with Stop() as stop:
                result = run.train(stop, progress or _silent)
    except MemoryError as error:
        raise ResourceError(
            f"memory ran out: {error}\nGive fewer --tokens and another folder; or take a machine "
            "with more memory, where the same command goes on from the last checkpoint."
        ) from error
    return evolve(result, seconds=time.perf_counter() - began)


class _Run:
    """One call of `pretrain`. What can be wrong is looked at before the corpus is packed."""

    def __init__(self, request: Request, backend: TrainingBackend, device: str) -> None:
        self.request = request
        self.entry = request.entry
        self.backend, self.device = backend, device
        self.rank, self.world = self.backend.process()
        if request.board:
            check_board()
        if self.rank == 0 and request.accumulate % self.world:
            warn(
                f"{self.world} processes share {request.accumulate} micro-batches of a step: some "
                f"have nothing to do.\nGive a multiple: --accumulate {self.world}."
            )
        self.longest = longest(request)
        self.identity = identity(request, self.longest)
        self.saved = last_of(request.output, self.identity)
        self._check_model()
        opened = given(request, self.saved, self.rank)
        self.learner = self._learner(opened)
        with together(self.learner):
            self._tell_weights(opened)
        self.corpus = self._corpus()
        self.identity["corpus"] = self.corpus.about["sha256"]
        if self.saved:
            must_be(request.output, self.saved, self.identity)
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
        self.steps = request.steps or self.batches.steps_of(request.epochs)
        self.feed = Feed(
            batches=self.batches,
            examples=self.examples,
            steps=self.steps,
            workers=request.workers,
            rank=self.rank,
            world=self.world,
        )
        self.looks = Looks(
            examples=self.examples,
            batches=self._batches(self.corpus.held_out, request.held_out_most).in_order(),
            learner=self.learner,
            alpha=request.alpha,
            rank=self.rank,
            world=self.world,
        )
        self._check_model(self.steps)
        surprise = request.optimization.surprise(self.steps)
        if surprise and self.rank == 0 and not self.saved:
            warn(surprise)

    def train(self, stop: Stop, progress: Progress) -> Result:
        """Make all steps that are left."""
        request, done = self.request, self.saved.steps if self.saved else 0
        with self._log(done) as log, ThreadPoolExecutor(request.workers) as pool:
            said, stopped = last_line(request.output, "train"), False
            held_out: Mapping[str, Any] = last_line(request.output, "held_out")
            if self._was_stopped_before_a_look(done, held_out):
                looked = self._look(done, log, stop)
                held_out, stopped = looked or held_out, looked is None
            for number, shards in self.feed.after(self.steps if stopped else done, pool):
                said, stopped = self._step(number, shards, stop)
                done = number
                if done % request.log_every == 0 or done == self.steps:
                    self._write(log, "train", said)
                if self.rank == 0:
                    progress(done, self.steps, said)
                written = stopped or done % request.save_every == 0 or done == self.steps
                if written:
                    self._save(done)
                if not stopped and self._is_due(done):
                    looked = self._look(done, log, stop)
                    held_out, stopped = looked or held_out, looked is None
                    if stopped and not written:
                        self._save(done)
                if stopped:
                    break
        whole = done == self.steps and not (stopped and self._is_due(done))
        model = self._finish() if whole else None
        return Result(model, done, said, held_out, self.rank, self.identity, 0.0)

    def _step(self, number: int, shards: list[Example], stop: Stop) -> tuple[dict[str, Any], bool]:
        """One step: the losses of all shards of all processes, weighted alike."""
        request, learner = self.request, self.learner
        words, types = (sum(s.count(t) for s in shards) for t in (False, True))
        counts = learner.total(np.array([words, types], np.float64))
        shares = 1 / max(counts[0], 1), request.alpha / max(counts[1], 1)
        tally = Tally()
        for i, shard in enumerate(shards):
            work = shard.weighted(*shares)
            tally.add(shard, learner.accumulate(work, last=i == len(shards) - 1))
        rate = request.optimization.rate(number, self.steps)
        norm = learner.step(rate)
        tally.stops = stop.asked
        said = tally.summary(learner, request.alpha)
        if not math.isfinite(said["loss"] + norm):
            raise TrainingError(
                f"the loss of step {number} is {said['loss']}, and the norm of its gradients "
                f"{norm}.\nTake a lower learning rate, and begin anew in another folder: -o."
            )
        said = {"step": number, **said, "rate": rate, "norm": norm}
        return said, tally.stops

    def _is_due(self, done: int) -> bool:
        """Whether the held-out sequences are looked at after a step."""
        due = done % self.request.held_out_every == 0 or done == self.steps
        return done > 0 and due and bool(self.looks)

    def _was_stopped_before_a_look(self, done: int, held_out: Mapping[str, Any]) -> bool:
        """As the first process says: it alone knows the log's end."""
        lacks = self.rank == 0 and (held_out.get("step") != done or held_out["loss"] is None)
        return self._is_due(done) and bool(self.learner.total(np.array([float(lacks)])))

    def _look(self, done: int, log: Log | None, stop: Stop) -> dict[str, Any] | None:
        """Look at the held-out sequences, and log it; None where that was stopped."""
        said = self.looks.look(done, stop)
        if said is not None:
            self._write(log, "held_out", said)
        return said

    def _write(self, log: Log | None, kind: str, said: Mapping[str, Any]) -> None:
        with together(self.learner):
            if log:
                log.write(kind, said)

    def _tell_weights(self, opened: Opened | None) -> None:
        """Say what the weights are that the run begins with, as its last checkpoint does."""
        if opened and self.rank == 0:
            self.identity["weights"] = told(opened)
        if self.saved:
            self.saved = hashed(self.saved) if self.rank == 0 else self.saved
            must_be(self.request.output, self.saved, self.identity)
            self.identity["weights"] = self.saved.run.get("weights")

    def _corpus(self) -> Corpus:
        """Pack the corpus, or wait until the first process has."""
        folder = self.request.output / "corpus"
        source, alphabet = self.request.source, self.entry.alphabet
        corpus = open_corpus(folder)
        compared = corpus is None or self.rank > 0
        while corpus is None:
            if self.rank == 0:
                corpus = pack(source, alphabet, folder)
                if message := left_out_message(corpus):
                    warn(message)
            else:
                time.sleep(_POLL)
                corpus = open_corpus(folder)
        with together(self.learner):
            if not compared:
                check_same(corpus, source, alphabet, folder)
                check_content(corpus, source, folder, begun=self.saved is not None)
        return corpus

    def _batches(self, wanted: NDArray[np.bool_], most: int | None = None) -> Batches:
        records, request = np.flatnonzero(wanted)[:most], self.request
        return Batches(
            records,
            self.examples.tokens(records),
            request.tokens,
            request.accumulate,
            request.seed,
        )

    def _learner(self, opened: Opened | None) -> Learner:
        request = self.request
        learner = self.backend.learner(
            self.entry.architecture,
            beginning(request, self.saved, opened),
            device=self.device,
            dtype=request.dtype,
            optimization=request.optimization,
        )
        if self.saved:
            learner.restore(self.saved.moments(), self.saved.steps)
        return learner

    @contextmanager
    def _log(self, done: int) -> Iterator[Log | None]:
        log = None
        with together(self.learner):
            if self.rank == 0:
                log = Log(self.request.output, done, board=self.request.board)
        with log or nullcontext():
            yield log

    def _save(self, done: int) -> None:
        """Let the first process write a checkpoint, and the others wait for it."""
        folder, learner = self.request.output / "checkpoints", self.learner
        with together(learner):
            if self.rank == 0:
                weights = learner.backbone.canonical()
                save_checkpoint(folder, done, self.identity, self.entry, weights, learner.state())

    def _check_model(self, steps: int | None = None) -> None:
        """Refuse a model that is there already, unless it is what this run of so many came to."""
        path = self.request.output / "model"
        if path.exists() and not (self.saved and self.saved.steps == (steps or self.saved.steps)):
            raise UsageError(f"{path} is there, and of another run.\nGive another folder: -o.")

    def _finish(self) -> Path:
        path = self.request.output / "model"
        with together(self.learner):
            if self.rank == 0 and not path.exists():
                save_model(self.entry, self.learner.backbone.canonical(), path)
        return path


def _silent(done: int, steps: int, said: Mapping[str, Any]) -> None:
    """Say nothing."""
