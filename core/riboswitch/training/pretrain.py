"""Pre-training: the loop that every backend shares, and that a kill does not stop for good."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from riboswitch.errors import ResourceError, TrainingError, UsageError, warn
from riboswitch.training.batches import Batches
from riboswitch.training.beginning import beginning
from riboswitch.training.checkpoint import save_checkpoint, save_model
from riboswitch.training.corpus import Corpus, check_same, left_out_message, open_corpus
from riboswitch.training.examples import Example, Examples
from riboswitch.training.identity import identity, last_of, must_be
from riboswitch.training.learner import Learner, TrainingBackend
from riboswitch.training.log import Log, check_board, last_line
from riboswitch.training.packing import pack
from riboswitch.training.placing import longest, placed
from riboswitch.training.request import Progress, Request, Result
from riboswitch.training.running import running
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
        self.learner = self._learner()
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
        self.looks = self._batches(self.corpus.held_out).in_order()
        self.steps = request.steps or self._steps_of(request.epochs)
        self._check_model(self.steps)
        self._check_rates()

    def train(self, stop: Stop, progress: Progress) -> Result:
        """Make all steps that are left."""
        request, done = self.request, self.saved.steps if self.saved else 0
        stopped = False
        with self._log(done) as log, ThreadPoolExecutor(request.workers) as pool:
            said, held_out = (last_line(request.output, kind) for kind in ("train", "held_out"))
            if self._was_stopped_before_a_look(done, held_out):
                held_out = self._look(done, log)
            for number, shards in self._prefetched(pool, done):
                said, stopped = self._step(number, shards, stop)
                done = number
                if log and (done % request.log_every == 0 or done == self.steps):
                    log.write("train", said)
                if self.rank == 0:
                    progress(done, self.steps, said)
                if stopped or done % request.save_every == 0 or done == self.steps:
                    self._save(done)
                if stopped:
                    break
                if self._is_due(done):
                    held_out = self._look(done, log)
            if stopped and done == self.steps and self._is_due(done):
                held_out = self._look(done, log)
        model = self._finish() if done == self.steps else None
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
                f"{norm}.\nTake a lower learning rate, and begin anew."
            )
        said = {"step": number, **said, "rate": rate, "norm": norm}
        return said, tally.stops

    def _is_due(self, done: int) -> bool:
        """Whether the held-out sequences are looked at after a step."""
        due = done % self.request.held_out_every == 0 or done == self.steps
        return done > 0 and due and bool(self.looks)

    def _was_stopped_before_a_look(self, done: int, held_out: Mapping[str, Any]) -> bool:
        """As the first process says: it alone knows the log's end."""
        lacks = self.rank == 0 and held_out.get("step") != done
        return self._is_due(done) and bool(self.learner.total(np.array([float(lacks)])))

    def _look(self, done: int, log: Log | None) -> dict[str, Any]:
        """Losses and accuracies on the held-out sequences."""
        tally = Tally()
        for records in self.looks[self.rank :: self.world]:
            example = self.examples.make(records, HELD_OUT_EPOCH)
            tally.add(example, self.learner.evaluate(example.work))
        said = {"step": done, **tally.summary(self.learner, self.request.alpha)}
        if log:
            log.write("held_out", said)
        return said

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
                corpus = pack(source, alphabet, folder)
                if message := left_out_message(corpus):
                    warn(message)
                return corpus
            time.sleep(_POLL)
        check_same(corpus, source, alphabet, folder)
        return corpus

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
            beginning(request, self.saved),
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
        """Let the first process write a checkpoint, and the others wait for it."""
        if self.rank == 0:
            folder, weights = self.request.output / "checkpoints", self.learner.backbone.canonical()
            save_checkpoint(folder, done, self.identity, self.entry, weights, self.learner.state())
        self._meet()

    def _check_model(self, steps: int | None = None) -> None:
        """Refuse a model that is there already, unless it is what this run of so many came to."""
        path = self.request.output / "model"
        if path.exists() and not (self.saved and self.saved.steps == (steps or self.saved.steps)):
            raise UsageError(f"{path} is there, and of another run.\nGive another folder: -o.")

    def _check_rates(self) -> None:
        """Warn where a plan for long runs leaves a short one with next to no rate."""
        optimization = self.request.optimization
        warmup = optimization.warmup_steps(self.steps)
        if self.rank == 0 and not self.saved and warmup >= self.steps > 1:
            warn(
                f"the rate warms up for {warmup:.0f} steps, and the run has {self.steps}: it never "
                f"reaches {optimization.peak:g}.\nGive a shorter one, as a share: --warmup 0.05."
            )

    def _finish(self) -> Path:
        path = self.request.output / "model"
        if self.rank == 0 and not path.exists():
            save_model(self.entry, self.learner.backbone.canonical(), path)
        self._meet()
        return path

    def _meet(self) -> None:
        """Wait for all processes."""
        self.learner.total(np.zeros(1))


def _silent(done: int, steps: int, said: Mapping[str, Any]) -> None:
    """Say nothing."""
