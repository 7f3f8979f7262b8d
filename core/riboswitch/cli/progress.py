"""A bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Bar:
    """Shows how much is done, how fast, and the time left, on stderr when it is a terminal."""

    def __init__(self, *, shown: bool, unit: str = " residues") -> None:
        self.shown = shown and sys.stderr.isatty()
        self.unit = unit
        self._bar: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int, note: str = "") -> None:
        """Show that so much of the whole is done, and a few words behind it."""
        if not self.shown:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, unit=self.unit, unit_scale=True)
        else:
            self._bar.update(done - self._bar.n)
        if note:
            self._bar.set_postfix_str(note, refresh=False)
