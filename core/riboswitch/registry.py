"""What the installed plugins offer, by name; each is asked when its answer is first needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from riboswitch.architecture import Architecture
from riboswitch.errors import (
    BackendError,
    CheckpointError,
    RiboswitchError,
    UnrecognisedError,
    UsageError,
    said,
)
from riboswitch.interfaces import Backend, BackendEntry, Checkpoint, Draft, Layout, ModelEntry
from riboswitch.plugins import Plugin, Plugins, installed

T = TypeVar("T", BackendEntry, ModelEntry, Layout)
BUGS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a mistake in a plugin's table or function raises."""


class Entries(Mapping[str, T]):
    """What the plugins announce by one hook, by name. It grows while one looks for a name.

    Attributes:
        owners: The plugins that brought what has been found so far.
    """

    def __init__(self, plugins: Plugins, hook: str, kind: type[T]) -> None:
        self.owners: dict[str, Plugin] = {}
        self._found: dict[str, T] = {}
        self._kind: type[T] = kind
        self._plugins, self._hook = plugins, hook
        self._asked = 0
        self._lock = RLock()

    def __getitem__(self, name: str) -> T:
        while name not in self._found and self._ask_next():
            pass
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        shown = 0
        while shown < len(self._found) or self._ask_next():
            for name in list(self._found)[shown:]:
                yield name
                shown += 1

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _ask_next(self) -> bool:
        """Ask one more plugin; False when there is none."""
        with self._lock:
            if self._asked == len(self._plugins):
                return False
            self._asked += 1
            plugin = self._plugins[self._asked - 1]
            for entry in self._plugins.announced(plugin, self._hook, self._kind):
                if first := self.owners.get(entry.name):
                    taken = f"the name {entry.name!r} is taken by the {first}"
                    self._plugins.report(plugin, f"{self._hook}: {taken}")
                else:
                    self._found[entry.name], self.owners[entry.name] = entry, plugin
            return True


class Registry:
    """What the plugins offer. Made at first use, never at import."""

    def __init__(self, points: list[EntryPoint]) -> None:
        self._plugins = Plugins(points)
        self._backends = Entries(self._plugins, "riboswitch_backends", BackendEntry)
        self.models = Entries(self._plugins, "riboswitch_models", ModelEntry)
        self.layouts = Entries(self._plugins, "riboswitch_layouts", Layout)
        self._started: dict[str, Backend] = {}
        self._starting = RLock()

    @property
    def plugins(self) -> list[Plugin]:
        """Every installed plugin, each imported and asked for all that it announces."""
        for entries in (self._backends, self.models, self.layouts):
            len(entries)
        return list(self._plugins)

    @property
    def backends(self) -> dict[str, BackendEntry]:
        """Backends by name, highest priority first."""
        return dict(sorted(self._backends.items(), key=lambda item: -item[1].priority))

    @property
    def auto(self) -> str:
        """The backend that `auto` takes for a model that all of them can compute."""
        return next(iter(self.able()), "numpy")

    def able(self, architecture: Architecture | None = None) -> list[str]:
        """Installed backends that can compute an architecture, highest priority first."""
        here = {name: entry for name, entry in self.backends.items() if not missing(entry)}
        return [n for n, e in here.items() if architecture is None or not refusal(e, architecture)]

    def announced(self, plugin: str) -> list[tuple[str, str]]:
        """Kind (`backend`, `model`, `layout`) and name of all that one plugin brings."""
        kinds: dict[str, Entries[Any]]
        kinds = {"backend": self._backends, "model": self.models, "layout": self.layouts}
        return [
            (kind, name)
            for kind, entries in kinds.items()
            for name in entries
            if entries.owners[name].name == plugin
        ]

    def model(self, name: str) -> ModelEntry:
        """Return a model or raise `UsageError` with the nearest name."""
        return _named(name, self.models, "model")

    def layout(self, name: str) -> Layout:
        """Return a layout or raise `UsageError` with the nearest name."""
        return _named(name, self.layouts, "layout")

    def backend(self, name: str = "auto", architecture: Architecture | None = None) -> Backend:
        """Import a backend and return it; `auto` is the best one that is installed.

        Args:
            name: Of the backend.
            architecture: What it must be able to compute.

        Raises:
            BackendError: It is unknown, its framework is missing, or it cannot compute that.
        """
        if name == "auto":
            name = next(iter(self.able(architecture)), "numpy")
        entry = _named(name, self._backends, "backend")
        if architecture and (reason := refusal(entry, architecture)):
            able = self.able(architecture)
            raise BackendError(
                f"The backend {name!r} cannot compute this model: {reason}.\n"
                f"Take one that can: {', '.join(able) or 'none is installed'}"
            )
        if lacking := missing(entry):
            raise BackendError(
                f"The backend {name!r} needs {', '.join(lacking)}, which is not installed.\n"
                f"Install it: {entry.install}"
            )
        with self._starting:  # two threads that start Paddle at once leave it broken
            if name not in self._started:
                self._started[name] = _start(entry, self._backends.owners[name])
        return self._started[name]

    def open_checkpoint(self, path: Path) -> Checkpoint:
        """Open a file or folder by the first plugin that can.

        Else say what the first one says that recognises it.
        """
        refusal: RiboswitchError | None = None
        for plugin, function in self._plugins.calls("riboswitch_open_checkpoint"):
            try:
                checkpoint = function(path=path)
            except RiboswitchError as error:
                if refusal is None or isinstance(refusal, UnrecognisedError):
                    refusal = error
                continue
            except Exception as error:
                self._plugins.report(plugin, f"riboswitch_open_checkpoint: {said(error)}")
                continue
            if isinstance(checkpoint, Checkpoint):
                return checkpoint
            if checkpoint is not None:
                nonsense = f"expected a Checkpoint or None, got {type(checkpoint).__name__}"
                self._plugins.report(plugin, f"riboswitch_open_checkpoint: {nonsense}")
        if refusal:
            raise refusal
        raise CheckpointError(
            f"{path} is no checkpoint that an installed plugin can open.\n"
            "See `riboswitch plugins` for what is installed."
        )

    def write_checkpoint(self, path: Path, draft: Draft) -> None:
        """Write a file of tensors by the first plugin that writes such containers."""
        for plugin, function in self._plugins.calls("riboswitch_write_checkpoint"):
            try:
                if function(path=path, draft=draft):
                    return
            except BUGS as error:
                raise CheckpointError(
                    f"The {plugin} fails to write: {said(error)}\n"
                    f"Update or uninstall {plugin.package}."
                ) from error
        raise CheckpointError(
            f"No installed plugin writes the container {draft.container!r}.\n"
            "See `riboswitch plugins` for what is installed."
        )


def _start(entry: BackendEntry, owner: Plugin) -> Backend:
    try:
        backend = entry.load()
        if not isinstance(backend, Backend):
            raise TypeError(f"its load returned {type(backend).__name__}, which is no Backend")
        return backend
    except RiboswitchError:
        raise
    except (Exception, SystemExit) as error:
        raise BackendError(
            f"The backend {entry.name!r} of {owner.package} {owner.version} fails to start: "
            f"{said(error)}\nReinstall it: {entry.install}"
        ) from error


def missing(entry: BackendEntry) -> list[str]:
    """Modules that a backend requires and that cannot be found; nothing is imported."""
    return [module for module in entry.requires if not _findable(module)]


def refusal(entry: BackendEntry, architecture: Architecture) -> str | None:
    """Say why a backend cannot compute an architecture; None when it can."""
    try:
        return entry.refuses(architecture)
    except Exception as error:  # a stranger's, which must not stop the others
        return f"its plugin fails to say: {said(error)}"


def _findable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its parent is missing, or half of it
        return False


@cache
def registry() -> Registry:
    """The registry of this process."""
    return Registry(installed())


def _named(name: str, entries: Mapping[str, T], kind: str) -> T:
    if name in entries:
        return entries[name]
    near = get_close_matches(name, entries, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    error = BackendError if kind == "backend" else UsageError
    raise error(f"There is no {kind} {name!r}.\n{hint}There are: {', '.join(entries)}")
