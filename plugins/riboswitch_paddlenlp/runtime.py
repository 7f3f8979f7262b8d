"""How PaddleNLP is started and Paddle kept in hand.

Plugins do not import each other, so the few lines about Paddle's cores and devices stand here
once more; the Paddle backend has them with what else it needs.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

_OMP = "OMP_NUM_THREADS"


@contextmanager
def quiet_import() -> Iterator[None]:
    """Import PaddleNLP inside: without its many warnings and its log of what else it found.

    Paddle sets `OMP_NUM_THREADS` to 1 for the whole process where nobody has set it; it is set
    back.
    """
    before, level = os.environ.get(_OMP), logging.root.manager.disable
    os.environ[_OMP] = "1"
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        os.environ.pop(_OMP)
        os.environ |= {} if before is None else {_OMP: before}


def use_cores(cores: int) -> None:
    """Tell Paddle how many cores a call may use, and that it is to compute at once.

    OpenMP's number belongs to the calling thread and MKL's to the process, so each call of the
    encoder tells it anew. Every thread but the one that imported Paddle is in static mode, when
    that was not the main one.
    """
    import paddle
    from paddle.base import core

    core.set_num_threads(cores)
    if not paddle.in_dynamic_mode():
        paddle.disable_static()


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Make a GPU the current one, as its kernels need; the CPU's do without."""
    if device == "cpu":
        yield
        return
    import paddle

    before = paddle.get_device()
    paddle.set_device(device)
    try:
        yield
    finally:
        if before != device:
            paddle.set_device(before)


class Turns:
    """Calls of one kind run side by side; a call of another kind waits for them.

    PaddleNLP notes on its layers whether a call is to hand out attentions, so that calls which
    want them cannot run beside calls which do not.
    """

    def __init__(self) -> None:
        self._free = Condition()
        self._kind = False
        self._running = 0

    @contextmanager
    def of(self, kind: bool) -> Iterator[None]:
        """Run inside when no call of the other kind does."""
        with self._free:
            self._free.wait_for(lambda: not self._running or self._kind == kind)
            self._kind, self._running = kind, self._running + 1
        try:
            yield
        finally:
            with self._free:
                self._running -= 1
                self._free.notify_all()
