"""Guarded discovery: a plugin is imported when its answer is first needed; a broken one is named.

Whatever is wrong with a plugin is reported once, with its package, version and a cure, and harms
nobody else.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from threading import RLock
from types import FunctionType
from typing import Any, TypeVar

import pluggy
from attrs import define, field

from riboswitch import hookspecs
from riboswitch._version import __version__
from riboswitch.errors import PluginError, PluginWarning, RiboswitchError, guarded, said, warn

T = TypeVar("T")
DISABLE = "RIBOSWITCH_DISABLE_PLUGINS"
OURS = "riboswitch"
SLOW = 1.0
"""Seconds that a plugin may take to be imported and to answer before it is said aloud."""
LOCK = RLock()
"""The one of discovery: a plugin's code may ask for what others bring."""
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("riboswitch_"))


@define(eq=False)
class Plugin:
    """One installed plugin.

    Attributes:
        point: How it is announced.
        package: The distribution that announces it, and its version.
        version: See `package`.
        state: `waiting` until its answer is needed, `importing`, then `loaded`, `disabled` or what
            is wrong.
        functions: Its hooks.
        seconds: Spent on importing it and on its announcements.
    """

    point: EntryPoint
    package: str
    version: str
    state: str = "waiting"
    functions: dict[str, Callable[..., Any]] = field(factory=dict)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """Of the entry point, as in `RIBOSWITCH_DISABLE_PLUGINS`."""
        return self.point.name

    @property
    def hooks(self) -> list[str]:
        """Names of the hooks that it implements."""
        return sorted(self.functions)

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.package} {self.version}"


class Plugins(Sequence[Plugin]):
    """All that are installed, ours first, then the others by name."""

    def __init__(self, points: list[EntryPoint]) -> None:
        self._found = [Plugin(point, *_origin(point)) for point in points]
        self._disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._reported: set[tuple[int, str]] = set()
        self._unsaid: list[str] = []
        if unknown := self._disabled - {plugin.name for plugin in self._found}:
            here = ", ".join(plugin.name for plugin in self._found)
            names = ", ".join(sorted(unknown))
            self._unsaid.append(f"{DISABLE} names no plugin: {names}.\nThere are: {here}")

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: Any) -> Any:
        """A plugin, imported."""
        plugin = self._found[index]
        with LOCK:
            if plugin.state == "waiting":
                self._load(plugin)
        return plugin

    def calls(self, hook: str) -> Iterator[tuple[Plugin, Callable[..., Any]]]:
        """Each plugin that has a hook, and its function."""
        for plugin in self:
            self.flush()
            if hook in plugin.functions:
                yield plugin, plugin.functions[hook]

    def announced(self, plugin: Plugin, hook: str, kind: type[T]) -> list[T]:
        """What a plugin announces by a hook, or nothing when not all of it makes sense."""
        if hook not in plugin.functions:
            return []
        try:
            with self._timed(plugin), guarded():
                return [_checked(entry, kind) for entry in plugin.functions[hook]()]
        except (PluginError, RiboswitchError) as error:
            self.report(plugin, f"{hook}: {error}")
            return []

    def report(self, plugin: Plugin, problem: str, cure: str = "") -> None:
        """Note what is wrong with a plugin, as its state and for the next `flush`, once."""
        if (id(plugin), problem) in self._reported:
            return
        self._reported.add((id(plugin), problem))
        plain = plugin.state in ("importing", "loaded")
        plugin.state = problem if plain else f"{plugin.state}; {problem}"
        self._note(plugin, f": {problem}" if plugin.functions else f" is left out: {problem}", cure)

    def flush(self) -> None:
        """Warn of what was noted; where warnings are errors, of one thing with each call."""
        while self._unsaid:
            warn(self._unsaid.pop(0), PluginWarning)

    def _load(self, plugin: Plugin) -> None:
        if plugin.name in self._disabled:
            plugin.state = "disabled"
            return
        plugin.state = "importing"
        try:
            with self._timed(plugin), guarded():
                if made_for := _other_version(plugin.point.dist):
                    problem = f"it was made for riboswitch {made_for}, and this is {__version__}"
                    self.report(plugin, problem, f"Update {plugin.package} or riboswitch")
                    return
                module = _imported(plugin.point)
                self._manager.register(module, plugin.name)
                plugin.functions = _functions(self._manager, module)
                plugin.state = "loaded"
        except (PluginError, RiboswitchError) as error:
            self.report(plugin, str(error))

    @contextmanager
    def _timed(self, plugin: Plugin) -> Iterator[None]:
        """Count the seconds; what a plugin prints is no data of ours."""
        start, before = time.perf_counter(), plugin.seconds
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            plugin.seconds += time.perf_counter() - start
            if before < SLOW <= plugin.seconds:
                slow = f" is slow: it took {plugin.seconds:.1f} s to say what it brings.\n"
                why = "What it imports and computes at the top of its module belongs into functions"
                self._note(plugin, slow + why, "Tell its author")

    def _note(self, plugin: Plugin, what: str, cure: str) -> None:
        cure = cure or f"Update or uninstall {plugin.package}"
        self._unsaid.append(f"{plugin}{what}.\n{cure}, or set {DISABLE}={plugin.name}.")


def installed() -> list[EntryPoint]:
    """The entry points of all plugins, ours first, then the others by name."""
    try:
        points = list(entry_points(group=hookspecs.PROJECT))
    except Exception:  # one distribution's list cannot be read: the others' can
        points = [point for found in distributions() for point in _points(found)]
    return sorted(points, key=lambda point: (_origin(point)[0] != OURS, point.name))


def _points(found: Distribution) -> list[EntryPoint]:
    try:
        return [point for point in found.entry_points if point.group == hookspecs.PROJECT]
    except Exception as error:
        warn(
            f"the entry points of {found.name} {found.version} cannot be read: {said(error)}.\n"
            f"Reinstall {found.name}.",
            PluginWarning,
        )
        return []


def _origin(point: EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "?", "?"
    return point.dist.name or str(point.dist.locate_file("")), point.dist.version or "?"


def _imported(point: EntryPoint) -> Any:
    if not point.pattern.match(point.value):
        raise ValueError(f"its entry point {point.value!r} is no name of a module")
    return point.load()


def _other_version(dist: Distribution | None) -> str | None:
    """The versions of riboswitch that a distribution asks for, unless this is one of them."""
    if dist is None or dist.name == OURS:
        return None
    from packaging.requirements import InvalidRequirement, Requirement

    for line in dist.requires or ():
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if wanted.name.lower() == OURS and applies:
            fits = wanted.specifier.contains(__version__, prereleases=True)
            return None if fits else str(wanted.specifier)
    return None


def _functions(manager: pluggy.PluginManager, module: Any) -> dict[str, Callable[..., Any]]:
    """A plugin's hooks by name; one that does not exist, or is not marked, is an error."""
    callers = manager.get_hookcallers(module) or []
    for caller in callers:
        if not caller.has_spec():
            near = get_close_matches(caller.name, HOOKS, 1)
            raise AttributeError(f"no hook {caller.name!r}; did you mean {near or [*HOOKS]}?")
    for name, value in vars(module).items() if hasattr(module, "__dict__") else ():
        hidden = name.startswith("riboswitch_") and isinstance(value, FunctionType)
        if hidden and not hasattr(value, f"{hookspecs.PROJECT}_impl"):
            raise AttributeError(f"{name} is not marked as a hook: put @riboswitch.impl before it")
    if not callers:
        raise AttributeError(f"{module!r} implements no hook: it is no plugin")
    return {
        caller.name: one.function
        for caller in callers
        for one in caller.get_hookimpls()
        if one.plugin is module
    }


def _checked(entry: object, kind: type[T]) -> T:
    if not isinstance(entry, kind):
        raise TypeError(f"expected a {kind.__name__}, got {type(entry).__name__}")
    if not isinstance(getattr(entry, "name", None), str):
        raise TypeError(f"a {type(entry).__name__} without a name")
    return entry
