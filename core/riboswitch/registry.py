"""Guarded discovery: what the installed plugins offer, by name; a broken one harms nobody."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

import pluggy
from attrs import define, evolve, field

from riboswitch import hookspecs
from riboswitch.architecture import Architecture
from riboswitch.errors import (
    BackendError,
    CheckpointError,
    PluginWarning,
    RiboswitchError,
    UnrecognisedError,
    UsageError,
)
from riboswitch.interfaces import Backend, BackendEntry, Checkpoint, Draft, Layout, ModelEntry

T = TypeVar("T", BackendEntry, ModelEntry, Layout)
DISABLE = "RIBOSWITCH_DISABLE_PLUGINS"
BUGS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a mistake in a plugin's table or function raises."""


@define
class PluginState:
    """One installed plugin: `state` is `loaded`, `disabled` or the error that it raised."""

    name: str
    package: str
    version: str
    state: str = "loaded"
    hooks: list[str] = field(factory=list)


class Registry:
    """What the plugins offer. Made at first use, never at import."""

    def __init__(self, points: list[EntryPoint]) -> None:
        self._points = points
        self.plugins: list[PluginState] = []
        self._started: dict[str, Backend] = {}
        self._starting = RLock()

    @cached_property
    def manager(self) -> pluggy.PluginManager:
        """The plugin manager, with every plugin that can be imported."""
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")}
        for point in self._points:
            self.plugins.append(self._register(manager, point, disabled))
        return manager

    @cached_property
    def backends(self) -> dict[str, BackendEntry]:
        """Backends by name, highest priority first."""
        found = self._collect("riboswitch_backends", BackendEntry)
        return dict(sorted(found.items(), key=lambda item: -item[1].priority))

    @cached_property
    def models(self) -> dict[str, ModelEntry]:
        """Models by name."""
        return self._collect("riboswitch_models", ModelEntry)

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """Checkpoint layouts by name."""
        return self._collect("riboswitch_layouts", Layout)

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
        hooks: dict[str, Mapping[str, object]]
        hooks = {"backend": self.backends, "model": self.models, "layout": self.layouts}
        return [
            (kind, entry.name)
            for kind, entries in hooks.items()
            for owner, function in self._calls(f"riboswitch_{kind}s")
            if owner == plugin
            for entry in function()
            if entry.name in entries
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
        able = self.able(architecture)
        if name == "auto":
            name = next(iter(able), "numpy")
        entry = _named(name, self.backends, "backend")
        if architecture and (reason := refusal(entry, architecture)):
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
                self._started[name] = _start(entry)
        return self._started[name]

    def open_checkpoint(self, path: Path) -> Checkpoint:
        """Open a file or folder by the first plugin that can.

        Else say what the first one says that recognises it.
        """
        refusal: RiboswitchError | None = None
        for plugin, function in self._calls("riboswitch_open_checkpoint"):
            try:
                checkpoint = function(path=path)
            except RiboswitchError as error:
                if refusal is None or isinstance(refusal, UnrecognisedError):
                    refusal = error
                continue
            except Exception as error:
                self._report(plugin, f"riboswitch_open_checkpoint: {type(error).__name__}: {error}")
                continue
            if isinstance(checkpoint, Checkpoint):
                return checkpoint
        if refusal:
            raise refusal
        raise CheckpointError(
            f"{path} is no checkpoint that an installed plugin can open.\n"
            "See `riboswitch plugins` for what is installed."
        )

    def write_checkpoint(self, path: Path, draft: Draft) -> None:
        """Write a file of tensors by the first plugin that writes such containers."""
        for plugin, function in self._calls("riboswitch_write_checkpoint"):
            try:
                if function(path=path, draft=draft):
                    return
            except BUGS as error:
                raise CheckpointError(
                    f"The plugin {plugin!r} fails to write: {type(error).__name__}: {error}\n"
                    "Update or uninstall it."
                ) from error
        raise CheckpointError(
            f"No installed plugin writes the container {draft.container!r}.\n"
            "See `riboswitch plugins` for what is installed."
        )

    def _calls(self, hook: str) -> Iterator[tuple[str, Callable[..., Any]]]:
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            yield implementation.plugin_name, implementation.function

    def _collect(self, hook: str, kind: type[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        for plugin, function in self._calls(hook):
            try:
                entries = [_checked(entry, kind) for entry in function()]
            except Exception as error:
                self._report(plugin, f"{hook}: {type(error).__name__}: {error}")
                continue
            for entry in entries:
                if entry.name in found:
                    self._report(plugin, f"{hook}: the name {entry.name!r} is taken")
                found.setdefault(entry.name, entry)
        return found

    def _register(
        self, manager: pluggy.PluginManager, point: EntryPoint, disabled: set[str]
    ) -> PluginState:
        dist = point.dist
        state = PluginState(point.name, dist.name if dist else "?", dist.version if dist else "?")
        if point.name in disabled:
            return evolve(state, state="disabled")
        module = None
        try:
            module = point.load()
            manager.register(module, point.name)
            state.hooks = _hooks(manager, module)
        except Exception as error:
            if module is not None and manager.is_registered(module):
                manager.unregister(module)
            state.state = f"{type(error).__name__}: {error}"
            _warn(state)
        return state

    def _report(self, plugin: str, message: str) -> None:
        known = (state for state in self.plugins if state.name == plugin)
        state = next(known, PluginState(plugin, "?", "?"))
        state.state = message
        _warn(state)


def _start(entry: BackendEntry) -> Backend:
    try:
        return entry.load()
    except RiboswitchError:
        raise
    except Exception as error:
        raise BackendError(
            f"The backend {entry.name!r} fails to start: {type(error).__name__}: {error}\n"
            f"Reinstall it: {entry.install}"
        ) from error


def missing(entry: BackendEntry) -> list[str]:
    """Modules that a backend requires and that cannot be found; nothing is imported."""
    return [module for module in entry.requires if not _findable(module)]


def refusal(entry: BackendEntry, architecture: Architecture) -> str | None:
    """Say why a backend cannot compute an architecture; None when it can."""
    try:
        return entry.refuses(architecture)
    except Exception as error:  # a stranger's, which must not stop the others
        return f"its plugin fails to say: {type(error).__name__}: {error}"


def _findable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # its parent is missing, or half of it
        return False


def _hooks(manager: pluggy.PluginManager, module: object) -> list[str]:
    """Names of a plugin's hooks; one that does not exist is an error with the nearest name."""
    callers = manager.get_hookcallers(module) or []
    if unknown := [caller.name for caller in callers if not caller.has_spec()]:
        known = [name for name in vars(hookspecs) if name.startswith("riboswitch_")]
        near = get_close_matches(unknown[0], known, 1)
        raise AttributeError(f"no hook {unknown[0]!r}; did you mean {near or known}?")
    return [caller.name for caller in callers]


@cache
def registry() -> Registry:
    """The registry of this process: our own plugins first, then the others by name."""
    points = sorted(
        entry_points(group=hookspecs.PROJECT),
        key=lambda p: (p.dist is None or p.dist.name != "riboswitch", p.name),
    )
    return Registry(points)


def _named(name: str, entries: dict[str, T], kind: str) -> T:
    if name in entries:
        return entries[name]
    near = get_close_matches(name, entries, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    error = BackendError if kind == "backend" else UsageError
    raise error(f"There is no {kind} {name!r}.\n{hint}There are: {', '.join(entries)}")


def _checked(entry: object, kind: type[T]) -> T:
    if not isinstance(entry, kind):
        raise TypeError(f"expected a {kind.__name__}, got {type(entry).__name__}")
    return entry


def _warn(state: PluginState) -> None:
    warnings.warn(
        f"plugin {state.name!r} of {state.package} {state.version} is left out: {state.state}\n"
        f"Update or uninstall it, or set {DISABLE}={state.name}.",
        PluginWarning,
        stacklevel=2,
    )
