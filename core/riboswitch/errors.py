"""Every failure that a user can cause is a `RiboswitchError`.

A message says what was asked, what was found and, on its last line, the cure.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class RiboswitchError(Exception):
    """The root of all errors raised on purpose. `exit_code` is the command line's."""

    exit_code = 4


class UsageError(RiboswitchError, ValueError):
    """Arguments that cannot be right: an unknown model, backend, layer or option."""

    exit_code = 2


class BackendError(UsageError):
    """A backend that is unknown, not installed or unable to do what was asked."""


class SequenceError(RiboswitchError, ValueError):
    """Sequences that cannot be read or that the model cannot take."""


class RecordsFailedError(SequenceError):
    """Some records cannot be computed, and it was asked that all be, or none can."""

    exit_code = 3


class CheckpointError(RiboswitchError):
    """A file that is no checkpoint, is damaged, is hostile or does not fit the model."""


class UnrecognisedError(CheckpointError):
    """A file of a kind that is not known: another plugin may know it better."""


class StoreError(RiboswitchError):
    """Files that cannot be written, or embeddings that are missing, incomplete or damaged."""


class TrainingError(RiboswitchError):
    """Training that came to numbers that are none."""


class ResourceError(RiboswitchError):
    """Memory or disk that ran out."""

    exit_code = 5


class PluginError(Exception):
    """What the code of a plugin raised by mistake, in one line that is safe to print."""


@contextmanager
def guarded(*passing: type[BaseException], computing: bool = False) -> Iterator[None]:
    """Run what a plugin brought; what it raises by mistake becomes a `PluginError`.

    Args:
        passing: What it may raise beside our own errors and `MemoryError`.
        computing: Whether this may take long: then what is no `Exception`, such as `SystemExit`,
            passes, for a signal handler of the user's may have raised it.
    """
    ours = (RiboswitchError, RiboswitchWarning, PluginError)
    users = (KeyboardInterrupt, GeneratorExit, MemoryError)
    try:
        yield
    except BaseException as error:  # SystemExit and pytest's own are no Exceptions
        stops = computing and not isinstance(error, Exception)
        if stops or isinstance(error, (*ours, *users, *passing)):
            raise
        raise PluginError(said(error)) from error


def said(error: BaseException) -> str:
    """An error in one line that is safe to print."""
    first = error.args[0] if error.args else None
    told = first if isinstance(first, str) and len(error.args) > 1 else error  # attrs gives tuples
    try:
        text = f"{type(error).__name__}: {told}"
    except Exception:  # a stranger's error that cannot even be printed
        text = type(error).__name__
    return one_line(text)


def one_line(text: str) -> str:
    """A text of somebody else's in one line that is safe to print."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))[:300]


def warn(message: str, category: type[Warning] | None = None) -> None:
    """Give a warning that points at the first caller outside of our packages.

    Args:
        message: What was lost or assumed and, on the last line, the cure.
        category: `RiboswitchWarning` unless another is given.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("riboswitch"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category or RiboswitchWarning, stacklevel=level)


class RiboswitchWarning(UserWarning):
    """Something was lost or assumed, and the work goes on."""


class UnknownLetterWarning(RiboswitchWarning):
    """Letters became the unknown token."""


class PluginWarning(RiboswitchWarning):
    """Something is wrong with a plugin: it is broken, slow or another version's."""
