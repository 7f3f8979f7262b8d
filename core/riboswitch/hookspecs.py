"""Every hook that a plugin may implement. A plugin is a module with some of these functions.

Announce it under the entry-point group `riboswitch`. A plugin is imported when it is first its
turn, ours first, then the others by name: for a model, a backend or a layout by name, the plugins
are asked until one brings it; for a list, or for `auto`, all are. So a plugin's module must be
light and import no framework: put that into functions. State in the package's dependencies which
versions of riboswitch it was made for: elsewhere it is left out, with a warning that says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pluggy

from riboswitch.interfaces import BackendEntry, Checkpoint, Draft, Layout, ModelEntry

PROJECT = "riboswitch"
spec = pluggy.HookspecMarker(PROJECT)
impl = pluggy.HookimplMarker(PROJECT)


@spec
def riboswitch_backends() -> Iterable[BackendEntry]:  # type: ignore[empty-body]  # a specification
    """Announce backends: encoders that interpret any architecture."""


@spec
def riboswitch_models() -> Iterable[ModelEntry]:  # type: ignore[empty-body]  # a specification
    """Announce models: families as data."""


@spec
def riboswitch_layouts() -> Iterable[Layout]:  # type: ignore[empty-body]  # a specification
    """Announce checkpoint layouts: tables between a file's names and the canonical ones."""


@spec
def riboswitch_open_checkpoint(path: Path) -> Checkpoint | None:
    """Open a file or folder, reading names and shapes only; None when it is of another kind.

    Our own opener is asked first, and whoever opens it first has it. When all refuse, the first
    error is shown that is no `UnrecognisedError`. The path may be a folder, or not be there.

    Raises:
        CheckpointError: It is of this kind, and damaged or hostile.
    """


@spec
def riboswitch_write_checkpoint(path: Path, draft: Draft) -> bool | None:
    """Write a new file at `path` and return True; None when the container is another's.

    `path` is always that of a file. Each tensor is to be read once, written and let go. The
    caller makes the write atomic: `path` is a temporary name, and nothing need be cleaned up
    after an error.
    """
