"""What the installed plugins offer, by name; each is asked when its answer is first needed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, TypeVar

from riboswitch.architecture import Architecture
from riboswitch.errors import (
    BackendError,
    CheckpointError,
    PluginError,
    RiboswitchError,
    UnrecognisedError,
    UsageError,
    guarded,
)
from riboswitch.interfaces import (
    DTYPES,
    Backend,
    BackendEntry,
    Checkpoint,
    Draft,
    Layout,
    ModelEntry,
)
from riboswitch.plugins import DISABLE, LOCK, Plugin, Plugins, State, installed

_TRAINERS = 'pip install "riboswitch[torch,pretrain]" or "riboswitch[paddle,pretrain]"'
T = TypeVar("T", BackendEntry, ModelEntry, Layout)


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
        self._asked: set[int] = set()

    def __getitem__(self, name: str) -> T:
        while name not in self._found and self._ask_next():
            pass
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        shown = 0
        while self._has(shown):
            for name in list(self._found)[shown:]:
                yield name
                shown += 1

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _has(self, count: int) -> bool:
        """Whether there are more than so many."""
        with LOCK:
            while count >= len(self._found) and self._ask_next():
                pass
            return count < len(self._found)

    def _ask_next(self) -> bool:
        """Ask one more plugin; False when there is none."""
        with LOCK:
            left = (i for i in range(len(self._plugins)) if i not in self._asked)
            if (number := next(left, None)) is None:
                return False
            plugin = self._plugins[number]
            if (
                plugin.state is State.IMPORTING
            ):  # it asks itself what there is, while it is imported
                return False
            self._asked.add(number)
            try:
                announced = self._plugins.announced(plugin, self._hook, self._kind)
            except BaseException:  # ^C: whoever asks next asks it again
                self._asked.discard(number)
                raise
            for entry in announced:
                if first := self.owners.get(entry.name):
                    taken = f"the name {entry.name!r} is taken by the {first}"
                    self._plugins.report(plugin, f"{self._hook}: {taken}", state=State.IN_PART)
                else:
                    self._found[entry.name], self.owners[entry.name] = entry, plugin
        self._plugins.flush()
        return True


class Registry:
    """What the plugins offer. Made at first use, never at import."""

    def __init__(self, points: list[EntryPoint]) -> None:
        self._plugins = Plugins(points)
        self._backends = Entries(self._plugins, "riboswitch_backends", BackendEntry)
        self.models = Entries(self._plugins, "riboswitch_models", ModelEntry)
        self.layouts = Entries(self._plugins, "riboswitch_layouts", Layout)
        self._started: dict[str, Backend] = {}

    @property
    def plugins(self) -> list[Plugin]:
        """Every installed plugin, each imported and asked for all that it announces."""
        for entries in (self._backends, self.models, self.layouts):
            len(entries)
        found = list(self._plugins)
        self._plugins.flush()
        return found

    @property
    def backends(self) -> dict[str, BackendEntry]:
        """Backends by name, highest priority first."""
        return dict(sorted(self._backends.items(), key=lambda item: -item[1].priority))

    @property
    def auto(self) -> str:
        """The backend that `auto` takes for a model that all of them can compute."""
        return next(iter(self.able()), "numpy")

    def able(self, architecture: Architecture | None = None, *, trains: bool = False) -> list[str]:
        """Installed backends that can compute an architecture, highest priority first."""
        fit = {n: entry for n, entry in self.backends.items() if entry.trains or not trains}
        here = {name: entry for name, entry in fit.items() if not missing(entry)}
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
        return self._named(name, self.models, "model")

    def layout(self, name: str) -> Layout:
        """Return a layout or raise `UsageError` with the nearest name."""
        return self._named(name, self.layouts, "layout")

    def backend(
        self,
        name: str = "auto",
        architecture: Architecture | None = None,
        *,
        trains: bool = False,
    ) -> Backend:
        """Import a backend and return it; `auto` is the best one that is installed.

        Args:
            name: Of the backend.
            architecture: What it must be able to compute.
            trains: Whether it must be able to train.

        Raises:
            BackendError: It is unknown, its framework is missing, or it cannot compute that.
        """
        if name == "auto":
            return self._best(architecture, trains=trains)
        entry = self._named(name, self._backends, "backend")
        if trains and not entry.trains:
            able = self.able(architecture, trains=True)
            raise BackendError(
                f"The backend {name!r} computes and does not train.\n"
                f"Take one that does: {', '.join(able) or _TRAINERS}"
            )
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
        return self._start(entry)

    def owner(self, entry: BackendEntry | ModelEntry | Layout) -> Plugin | None:
        """The plugin that brought something."""
        kinds: dict[type, Entries[Any]]
        kinds = {BackendEntry: self._backends, ModelEntry: self.models, Layout: self.layouts}
        return kinds[type(entry)].owners.get(entry.name)

    def blame(self, entry: BackendEntry | Layout, problem: str) -> None:
        """Report what is wrong with something that a plugin brought."""
        if owner := self.owner(entry):
            self._plugins.report(owner, f"{entry.name}: {problem}")
            self._plugins.flush()

    def fault(self, backend: Backend, problem: str) -> BackendError:
        """The error that names a backend, its package and version, and what is wrong with it."""
        return _fault(backend.name, self._backends.owners.get(backend.name), problem)

    def _best(self, architecture: Architecture | None, *, trains: bool = False) -> Backend:
        """The first one that starts and says where it runs; who does not is reported."""
        failed: BackendError | None = None
        for name in self.able(architecture, trains=trains):
            entry = self._backends[name]
            try:
                backend = self._start(entry)
                dtypes_of(backend, devices_of(backend)[0])
            except BackendError as error:
                failed = failed or error
                self.blame(entry, str(error).partition("\n")[0])
            else:
                return backend
        if failed:
            raise failed
        if trains:
            raise BackendError(f"No backend that trains is installed.\nTake one: {_TRAINERS}")
        return self._start(self._named("numpy", self._backends, "backend"))

    def _start(self, entry: BackendEntry) -> Backend:
        with LOCK:  # two threads that start Paddle at once leave it broken
            if entry.name not in self._started:
                self._started[entry.name] = _started(entry, self._backends.owners[entry.name])
        return self._started[entry.name]

    def _named(self, name: str, entries: Mapping[str, T], kind: str) -> T:
        if name in entries:
            return entries[name]
        near = get_close_matches(name, entries, 1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        out = [f"{p.name} ({p.told})" for p in self._plugins if p.state is not State.LOADED]
        left = f"\nPlugins left out: {'; '.join(out)}" if out else ""
        error = BackendError if kind == "backend" else UsageError
        have = ", ".join(entries) or "none"
        raise error(f"There is no {kind} {name!r}.{left}\n{hint}There are: {have}")

    def open_checkpoint(self, path: Path) -> Checkpoint:
        """Open a file or folder by the first plugin that can.

        Else say what the first one says that recognises it.
        """
        refusal: RiboswitchError | None = None
        failed = ""
        for plugin, function in self._plugins.calls("riboswitch_open_checkpoint"):
            try:
                with guarded():
                    checkpoint = function(path=path)
            except RiboswitchError as error:
                if refusal is None or isinstance(refusal, UnrecognisedError):
                    refusal = error
                continue
            except PluginError as error:
                failed = failed or f" The {plugin} fails: {error}."
                self._plugins.report(plugin, f"riboswitch_open_checkpoint: {error}")
                self._plugins.flush()
                continue
            if isinstance(checkpoint, Checkpoint):
                return checkpoint
            if checkpoint is not None:
                nonsense = f"expected a Checkpoint or None, got {type(checkpoint).__name__}"
                self._plugins.report(plugin, f"riboswitch_open_checkpoint: {nonsense}")
                self._plugins.flush()
        if refusal:
            raise refusal
        raise CheckpointError(
            f"{path} is no checkpoint that an installed plugin can open.{failed}\n"
            "See `riboswitch plugins` for what is installed."
        )

    def write_checkpoint(self, path: Path, draft: Draft) -> None:
        """Write a file of tensors by the first plugin that writes such containers."""
        failed: tuple[Plugin, PluginError] | None = None
        for plugin, function in self._plugins.calls("riboswitch_write_checkpoint"):
            try:
                with guarded(OSError, RuntimeError):  # what reading the tensors may raise
                    if function(path=path, draft=draft):
                        return
            except PluginError as error:
                failed = failed or (plugin, error)
                path.unlink(missing_ok=True)
                self._plugins.report(plugin, f"riboswitch_write_checkpoint: {error}")
                self._plugins.flush()
        if failed:
            plugin, fault = failed
            raise CheckpointError(
                f"The {plugin} fails to write: {fault}\nUpdate or uninstall {plugin.package}."
            ) from fault
        raise CheckpointError(
            f"No installed plugin writes the container {draft.container!r}.\n"
            "See `riboswitch plugins` for what is installed."
        )


def _started(entry: BackendEntry, owner: Plugin) -> Backend:
    try:
        with guarded():
            backend = entry.load()
            if not isinstance(backend, Backend):
                raise TypeError(f"its load returned {type(backend).__name__}, which is no Backend")
            return backend
    except PluginError as error:
        raise BackendError(
            f"The backend {entry.name!r} of {owner.package} {owner.version} fails to start: "
            f"{error}\nReinstall it: {entry.install}"
        ) from error


def missing(entry: BackendEntry) -> list[str]:
    """Modules that a backend requires and that cannot be found; nothing is imported."""
    return [module for module in entry.requires if not _findable(module)]


def refusal(entry: BackendEntry, architecture: Architecture) -> str | None:
    """Say why a backend cannot compute an architecture; None when it can."""
    try:
        with guarded():
            reason = entry.refuses(architecture)
            if reason is None or isinstance(reason, str):
                return reason
            raise TypeError(f"refuses returned {type(reason).__name__}")
    except (PluginError, RiboswitchError) as error:
        registry().blame(entry, f"it fails to say what it refuses: {error}")
        return f"its plugin fails to say: {error}"


def devices_of(backend: Backend) -> tuple[str, ...]:
    """Devices that a backend declares, the one for `auto` first.

    Raises:
        BackendError: It declares none, or fails to.
    """
    return _declared(backend, "devices", backend.devices)


def dtypes_of(backend: Backend, device: str) -> tuple[str, ...]:
    """Dtypes that a backend declares for a device, the one for `auto` first.

    Raises:
        BackendError: It declares none, or fails to.
    """
    return _declared(backend, "dtypes", lambda: backend.dtypes(device))


def _declared(
    backend: Backend, what: str, function: Callable[[], tuple[str, ...]]
) -> tuple[str, ...]:
    try:
        with guarded():
            said = function()
            names = (said,) if isinstance(said, str) else tuple(said)
            strange = not names or not all(isinstance(name, str) for name in names)
            if strange or isinstance(said, str) or (what == "dtypes" and {*names} - {*DTYPES}):
                raise ValueError(f"{said!r:.80}")
            return names
    except PluginError as error:
        raise registry().fault(backend, f"does not say its {what}: {error}") from error


def _fault(name: str, owner: Plugin | None, problem: str) -> BackendError:
    whose = f" of {owner.package} {owner.version}" if owner else ""
    update = f"Update or uninstall {owner.package}" if owner else "Update or uninstall it"
    cure = f"{update}, take another backend" + (f", or set {DISABLE}={owner.name}" if owner else "")
    return BackendError(f"The backend {name!r}{whose} {problem}\n{cure}.")


def _findable(module: str) -> bool:
    """Whether a module's package is there. To look into that would import it."""
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except Exception:  # half of it is missing, or somebody's finder is broken
        return False


@cache
def _made() -> Registry:
    return Registry(installed())


def registry() -> Registry:
    """The registry of this process."""
    with LOCK:
        return _made()
