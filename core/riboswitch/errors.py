"""Every failure that a user can cause is a `RiboswitchError`.

A message says what was asked, what was found and, on its last line, the cure.
"""

from __future__ import annotations


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


class StoreError(RiboswitchError):
    """Embeddings on disk that are missing, incomplete or damaged."""


class ResourceError(RiboswitchError):
    """Memory or disk that ran out."""

    exit_code = 5


class RiboswitchWarning(UserWarning):
    """Something was lost or assumed, and the work goes on."""


class UnknownLetterWarning(RiboswitchWarning):
    """Letters became the unknown token."""


class PluginWarning(RiboswitchWarning):
    """A plugin was left out because it is broken."""
