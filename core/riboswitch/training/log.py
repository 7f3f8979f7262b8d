"""What a run says of itself: one JSON object a line, and the same for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from riboswitch.errors import UsageError
from riboswitch.files import storage_errors, write


class Log:
    """`log.jsonl` and `tensorboard/` in a run's folder; a context that closes both.

    Args:
        folder: Of the run.
        steps: Steps that are done; what was said of later ones before a kill is forgotten.
        board: Whether to write for TensorBoard too.
    """

    def __init__(self, folder: Path, steps: int, *, board: bool) -> None:
        self.path = folder / "log.jsonl"
        self._forget_after(steps)
        with storage_errors(self.path):
            self._file = self.path.open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard", steps) if board else None

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, kind: str, step: int, numbers: Mapping[str, Any]) -> None:
        """Add what one step has to say, `train` or `held_out`."""
        with storage_errors(self.path):
            self._file.write(json.dumps({"kind": kind, "step": step, **numbers}) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, number in numbers.items():
                if isinstance(number, int | float):
                    self._board.add_scalar(f"{kind}/{name}", number, step)

    def _forget_after(self, steps: int) -> None:
        if not self.path.is_file():
            return
        kept = [line for line in _lines(self.path) if json.loads(line)["step"] <= steps]
        write(self.path, "".join(f"{line}\n" for line in kept).encode(), self.path.parent)


def read_log(path: Path) -> list[dict[str, Any]]:
    """All lines of a run's `log.jsonl`; one that a kill has cut short is left out."""
    return [json.loads(line) for line in _lines(path)]


def last_line(folder: Path, kind: str) -> dict[str, Any]:
    """The last thing of one kind that a run's log says; empty where it says none."""
    path = folder / "log.jsonl"
    lines = read_log(path) if path.is_file() else []
    return ([{}] + [line for line in lines if line["kind"] == kind])[-1]


def _lines(path: Path) -> list[str]:
    text = path.read_text("utf-8")
    lines = text.splitlines()
    return lines if text.endswith("\n") else lines[:-1]


def _board(folder: Path, steps: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "Logs for TensorBoard need tensorboardX, which is not installed.\n"
            'pip install "riboswitch[pretrain]", or leave them out: --no-tensorboard.'
        ) from error
    return SummaryWriter(str(folder), purge_step=steps + 1 if steps else None)
