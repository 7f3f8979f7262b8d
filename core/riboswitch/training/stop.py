"""`Stop`: signals that end a run after the step that is being made."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Stop:
    """Takes SIGTERM and ^C as the wish to stop after the step; a second ^C stops at once.

    Launchers and schedulers repeat SIGTERM within a second.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: object = None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
