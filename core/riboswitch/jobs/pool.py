"""Several processes for one job. What travels to them is the number of a chunk."""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from riboswitch.cores import num_cores
from riboswitch.errors import ResourceError, RiboswitchWarning, StoreError
from riboswitch.jobs.plan import Chunk, Plan
from riboswitch.jobs.work import run_chunk
from riboswitch.loading import load
from riboswitch.model import Model
from riboswitch.weights import weights_hash


class _Job(NamedTuple):
    model: Model
    plan: Plan
    work: Path
    target: Path


_job: list[_Job | Exception] = []  # what this worker process works on


def run_in_processes(
    arguments: Mapping[str, Any], folders: tuple[Path, Path], chunks: list[Chunk], workers: int
) -> Iterator[Chunk]:
    """Compute chunks in `workers` processes, and yield each as it is done.

    Args:
        arguments: Of `load`.
        folders: The work folder and the chunks' folder.
        chunks: What to compute.
        workers: How many processes; they share the cores.

    Raises:
        ResourceError: A process died.
    """
    workers = min(workers, len(chunks))
    with _shared_cores(workers):
        pool = ProcessPoolExecutor(
            workers,
            multiprocessing.get_context("spawn"),
            _begin,
            (dict(arguments), *folders),
        )
        try:
            yield from _collect(pool, chunks, 2 * workers)
        except BrokenProcessPool as error:
            raise ResourceError(
                "A worker process died or could not start; perhaps memory ran out.\n"
                "Give the same command again, with fewer --workers: it goes on where it was."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _collect(pool: ProcessPoolExecutor, chunks: list[Chunk], ahead: int) -> Iterator[Chunk]:
    """Keep a few chunks waiting for the workers, never the whole list."""
    todo = iter(chunks)
    running: set[Future[Chunk]] = set()
    while True:
        for chunk in todo:
            running.add(pool.submit(_compute, chunk))
            if len(running) >= ahead:
                break
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _begin(arguments: dict[str, Any], work: Path, target: Path) -> None:
    """Load the model; an error waits for the first chunk, which can carry it to the parent."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        _job[:] = [_prepare(arguments, work, target)]
    except Exception as error:
        _job[:] = [error]


def _prepare(arguments: dict[str, Any], work: Path, target: Path) -> _Job:
    found = Plan.read(work)
    if found is None:
        raise StoreError(f"{work} has no plan.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RiboswitchWarning)  # the first process has said it
        model = load(**arguments)
    if weights_hash(model.weights) != found.settings.weights_sha256:
        raise StoreError("The weights were changed after the job had begun.\nStart it again.")
    return _Job(model, found, work, target)


def _compute(chunk: Chunk) -> Chunk:
    job = _job[0]
    if isinstance(job, Exception):
        raise job
    run_chunk(job.model, job.plan, chunk, job.work, job.target)
    return chunk


def _die_with_parent() -> None:
    """A killed parent cannot stop its workers, so they watch it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _shared_cores(workers: int) -> Iterator[None]:
    """Give each process its share of the cores through the variable that all libraries read."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(max(1, num_cores() // workers))
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
