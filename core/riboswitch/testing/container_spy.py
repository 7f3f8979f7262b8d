"""Tensors that count how often they are read and how many are kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from riboswitch.interfaces import Array


class Spied:
    """A tensor of float32 that is made when it is read, or raises an error."""

    shape, dtype = (5, 3), "float32"

    def __init__(self, error: BaseException | None = None) -> None:
        self.reads = 0
        self._error = error
        self.watch: Callable[[Array], object] = id

    def numbers(self) -> Array:
        """What is read, for comparing."""
        return np.arange(15, dtype="f4").reshape(5, 3)

    def read(self) -> Array:
        """The numbers."""
        if self._error is not None:
            raise self._error
        self.reads += 1
        array = np.array(self.numbers())
        self.watch(array)
        return array


@contextmanager
def alive_at_once(spied: Iterable[Spied]) -> Iterator[Callable[[], int]]:
    """Count arrays of these tensors that are in memory at once; give the highest number."""
    alive = most = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def watch(array: Array) -> None:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        weakref.finalize(array, gone)

    for each in spied:
        each.watch = watch
    yield lambda: most
