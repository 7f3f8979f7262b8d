"""Guarded discovery: a plugin is imported when its answer is first needed; a broken one is named.

Whatever is wrong with a plugin is reported once, with its package, version and a cure, and harms
nobody else.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from enum import Enum
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from threading import RLock
from types import FunctionType
from typing import Any, TypeVar

import pluggy
from attrs import define, field

from riboswitch import hookspecs
from riboswitch._version import __version__
from riboswitch.errors import (
    PluginError,
    PluginWarning,
    RiboswitchError,
    guarded,
    one_line,
    said,
    warn,
)

T = TypeVar("T")
DISABLE = "RIBOSWITCH_DISABLE_PLUGINS"
OURS = "riboswitch"
SLOW = 1.0
"""Seconds that a plugin may take to be imported and to answer before it is said aloud."""
LOCK = RLock()
"""The one of discovery: a plugin's code may ask for what others bring."""
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("riboswitch_"))


class State(Enum):
    """How far a plugin has come."""

    WAITING = "waiting"
    IMPORTING = "importing"
    LOADED = "loaded"
    IN_PART = "loaded in part"
    LEFT_OUT = "left out"
    DISABLED = "disabled"


@define(eq=False)
class Plugin:
    """One installed plugin.

    Attributes:
        point: How it is announced.
        package: The distribution that announces it, and its version.
        version: See `package`.
        state: `WAITING` until its answer is needed, `IMPORTING`, then `LOADED`; `IN_PART` where
            something that it announces is left out, `LEFT_OUT` where all of it is.
        problems: What is wrong with it, each in one line.
        functions: Its hooks.
        seconds: Spent on importing it and on its announcements.
    """

    point: EntryPoint
    package: str
    version: str
    state: State = State.WAITING
    problems: list[str] = field(factory=list)
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

    @property
    def told(self) -> str:
        """Its state in words, or what is wrong with it."""
        return "; ".join(self.problems) or self.state.value

    def __str__(self) -> str:
        return f"plugin {self.name!r} of {self.package} {self.version}"


class Plugins(Sequence[Plugin]):
    """All that are installed, ours first, then the others by name."""

    def __init__(self, points: list[EntryPoint]) -> None:
        self._found = [Plugin(point, *_origin(point)) for point in points]
        self._disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
        chosen = [plugin for plugin in self._found if _full_name(plugin) not in self._disabled]
        self._first = {plugin.name: plugin for plugin in reversed(chosen)}
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._unsaid: list[str] = []
        if unknown := self._disabled.difference(*(_names(plugin) for plugin in self._found)):
            here = ", ".join(plugin.name for plugin in self._found)
            names = ", ".join(sorted(unknown))
            self._unsaid.append(f"{DISABLE} names no plugin: {names}.\nThere are: {here}")

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: Any) -> Any:
        """A plugin, imported."""
        plugin = self._found[index]
        with LOCK:
            if plugin.state is State.WAITING:
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
        except (PluginError, RiboswitchError, MemoryError) as error:
            self.report(plugin, f"{hook}: {_first_line(error)}", state=State.IN_PART)
            return []

    def report(
        self, plugin: Plugin, problem: str, cure: str = "", *, state: State | None = None
    ) -> None:
        """Note what is wrong with a plugin, for its state and for the next `flush`, once.

        Args:
            plugin: Whose fault it is.
            problem: What it did, and the error: "describe: KeyError: 'x'". One that differs in
                the last part alone is the same.
            cure: Instead of an update.
            state: That it has now, if another.
        """
        plugin.state = state or plugin.state
        if any(_kind(problem) == _kind(other) for other in plugin.problems):
            return
        plugin.problems.append(problem)
        out = " is left out" if plugin.state is State.LEFT_OUT else ""
        self._note(plugin, f"{out}: {problem}", cure)

    def flush(self) -> None:
        """Warn of what was noted; where warnings are errors, of one thing with each call."""
        while self._unsaid:
            warn(self._unsaid.pop(0), PluginWarning)

    def _load(self, plugin: Plugin) -> None:
        first = self._first.get(plugin.name, plugin)
        if self._disabled & _names(plugin, also=first is plugin):
            plugin.state = State.DISABLED
            return
        if first is not plugin:
            taken = f"the name {plugin.name!r} of its entry point is taken by the {first}"
            cure = f"Tell the author of {plugin.package}, or uninstall it"
            self.report(plugin, taken, cure, state=State.LEFT_OUT)
            return
        plugin.state = State.IMPORTING
        try:
            with self._timed(plugin), guarded():
                if made_for := _other_version(plugin.point.dist):
                    problem = f"it was made for riboswitch {made_for}, and this is {__version__}"
                    cure = f"Update {plugin.package} or riboswitch"
                    self.report(plugin, problem, cure, state=State.LEFT_OUT)
                    return
                module = _imported(plugin.point)
                self._manager.register(module, plugin.name)
                plugin.functions = _functions(self._manager, module)
                plugin.state = State.LOADED
        except (PluginError, RiboswitchError, MemoryError) as error:
            self.report(plugin, _first_line(error), state=State.LEFT_OUT)
        except BaseException:  # ^C: whoever asks next begins anew
            plugin.state = State.WAITING
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            raise

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
        first = self._first.get(plugin.name, plugin) is plugin
        name = plugin.name if first else _full_name(plugin)
        self._unsaid.append(f"{plugin}{what}.\n{cure}, or set {DISABLE}={name}.")


def installed() -> list[EntryPoint]:
    """The entry points of all plugins, ours first, then the others by name."""
    try:
        points = list(entry_points(group=hookspecs.PROJECT))
    except Exception:  # one distribution's list cannot be read: the others' can
        points = [point for found in distributions() for point in _points(found)]
    points = list({(_origin(point), point.name, point.value): point for point in points}.values())
    return sorted(points, key=lambda point: (_origin(point)[0] != OURS, point.name))


def _kind(problem: str) -> list[str]:
    return problem.split(": ")[:2]


def _full_name(plugin: Plugin) -> str:
    return f"{plugin.package}:{plugin.name}"


def _names(plugin: Plugin, *, also: bool = True) -> set[str]:
    """By what it can be disabled: of two of one name, the first one by that name alone too."""
    return {_full_name(plugin), *([plugin.name] if also else [])}


def _first_line(error: Exception) -> str:
    """What an error says, without the cure: it is meant for users, not for the author."""
    return one_line(str(error).partition("\n")[0] or said(error))


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
    found: dict[str, Callable[..., Any]] = {
        caller.name: one.function
        for caller in callers
        for one in caller.get_hookimpls()
        if one.plugin is module
    }
    for name, function in found.items():
        _check_arguments(name, function)
    return found


def _check_arguments(name: str, function: Callable[..., Any]) -> None:
    """Pluggy lets a hook take fewer arguments than it is given."""
    wanted = inspect.signature(getattr(hookspecs, name)).parameters
    try:
        inspect.signature(function).bind(**dict.fromkeys(wanted))
    except TypeError as error:
        raise TypeError(f"{name} takes the arguments ({', '.join(wanted)}): {error}") from error


def _checked(entry: object, kind: type[T]) -> T:
    if not isinstance(entry, kind):
        raise TypeError(f"expected a {kind.__name__}, got {type(entry).__name__}")
    if not isinstance(getattr(entry, "name", None), str):
        raise TypeError(f"a {type(entry).__name__} without a name")
    return entry
