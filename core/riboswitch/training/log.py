"""What a run says of itself: one JSON object a line, and the same for TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from riboswitch.errors import StoreError, UsageError
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
        self._board = _Board(folder / "tensorboard", steps) if board else None
        with storage_errors(self.path):
            self._file = self.path.open("a", encoding="utf-8")

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # all that was written is flushed already
            self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, kind: str, said: Mapping[str, Any]) -> None:
        """Add what one `step` has to say, `train` or `held_out`."""
        with storage_errors(self.path):
            self._file.write(_line({"kind": kind, **said}))
            self._file.flush()
        if self._board is not None:
            self._board.write(kind, said)

    def _forget_after(self, steps: int) -> None:
        if not self.path.is_file():
            return
        kept = [line for line in read_log(self.path) if line["step"] <= steps]
        text = "".join(map(_line, kept))
        write(self.path, text.encode(), self.path.parent)


def _line(said: Mapping[str, Any]) -> str:
    return json.dumps(said, allow_nan=False) + "\n"


def check_board() -> None:
    """Raise `UsageError` where logs for TensorBoard cannot be written."""
    if find_spec("tensorboardX") is None:
        raise UsageError(
            "Logs for TensorBoard need tensorboardX, which is not installed.\n"
            'pip install "riboswitch[pretrain]", or leave them out: --no-tensorboard.'
        )


class _Board:
    """TensorBoard's events, written at once.

    tensorboardX's own writer is a thread, which a full disk ends, and which is then waited for.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        self.path, self._event, self._summary = folder, event_pb2, summary_pb2
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(folder / "events"))
            begun = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(steps + 1, session_log=begun)  # forget what was said of later steps

    def write(self, kind: str, said: Mapping[str, Any]) -> None:
        """Add one value for each number."""
        values = [
            self._summary.Summary.Value(tag=f"{kind}/{name}", simple_value=number)
            for name, number in said.items()
            if name != "step"
        ]
        with storage_errors(self.path):
            self._add(said["step"], summary=self._summary.Summary(value=values))

    def close(self) -> None:
        """Close the file; everything is in it."""
        with suppress(OSError):
            self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        event = self._event.Event(wall_time=time.time(), step=step, **content)
        self._writer.write_event(event)
        self._writer.flush()


def read_log(path: Path) -> list[dict[str, Any]]:
    """All lines of a run's `log.jsonl`; one that a kill has cut short is left out.

    NaN, which older runs wrote though JSON has none, is None.

    Raises:
        StoreError: It is no such log.
    """
    try:
        text = path.read_text("utf-8")
        whole = text[: text.rfind("\n") + 1]
        lines: list[dict[str, Any]] = [
            json.loads(line, parse_constant=lambda _: None) for line in whole.splitlines()
        ]
        if not all(isinstance(line["step"], int) and line["kind"] for line in lines):
            raise ValueError("a line has no step")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StoreError(
            f"{path} is no log of a run, or damaged: {error}\nRename it, and it is begun anew."
        ) from error
    return lines


def last_line(folder: Path, kind: str) -> dict[str, Any]:
    """The last thing of one kind that a run's log says; empty where it says none."""
    path = folder / "log.jsonl"
    lines = read_log(path) if path.is_file() else []
    found = [line for line in lines if line["kind"] == kind]
    return {name: value for name, value in found[-1].items() if name != "kind"} if found else {}
