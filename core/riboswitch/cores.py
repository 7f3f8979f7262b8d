"""How many cores there are to use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock


def num_cores() -> int:
    """Cores that this process may use; `OMP_NUM_THREADS` lowers it."""
    have = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(have, int(asked))) if asked.isdigit() else have


class Threads:
    """How many cores one call of a framework may use, where it must be told for each call.

    Args:
        cores: As many, unless somebody asked for a single one.
        tell: Tells the framework, for the calling thread.
    """

    def __init__(self, cores: int, tell: Callable[[int], None]) -> None:
        self.cores = cores
        self._tell = tell
        self._single = 0
        self._lock = Lock()

    def apply(self) -> None:
        """Tell the framework what holds at this moment."""
        with self._lock:
            self._tell(1 if self._single else self.cores)

    @contextmanager
    def single(self) -> Iterator[None]:
        """Allow one core for each call, until the last of those who ask for it has left."""
        with self._lock:
            self._single += 1
        try:
            yield
        finally:
            with self._lock:
                self._single -= 1
