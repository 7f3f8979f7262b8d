"""`riboswitch plugins --check NAME`: whether something that is installed keeps its contract."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from riboswitch.errors import RiboswitchError, UsageError

if TYPE_CHECKING:
    from riboswitch.plugins import Plugin

Target = tuple[str, str]
"""What kind of thing, `backend`, `model`, `layout`, `container` or `opener`, and its name."""
MODULE = "riboswitch.testing.check"
VARIABLE = "RIBOSWITCH_CHECK"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--check`."""
    parser.add_argument(
        "--check",
        metavar="NAME",
        help="run the contract of a plugin or of one thing that it brings; needs pytest",
    )


def run(name: str) -> int:
    """Print a line for each test; 0 if all is well, 4 if the contract is broken.

    Raises:
        UsageError: There is nothing of that name, or pytest is not installed.
    """
    _need_pytest()
    targets = find(name)
    report = _collect_and_run(targets)
    _print_notes(targets)
    counts = [(report.passed, "passed"), (report.failed, "failed"), (report.skipped, "skipped")]
    print(f"{name}: {', '.join(f'{count} {what}' for count, what in counts)}")
    return 0 if report.passed and not report.failed else RiboswitchError.exit_code


def find(name: str) -> list[Target]:
    """Return what a name stands for: all that a plugin announces, or one thing.

    Raises:
        UsageError: There is nothing of that name, or it is not installed or disabled.
    """
    from riboswitch.registry import registry
    from riboswitch.testing.openers import containers

    reg = registry()
    kinds: dict[str, Mapping[str, object]]
    kinds = {"backend": reg.backends, "model": reg.models, "layout": reg.layouts}
    kinds["container"] = containers()
    plugins: dict[str, Plugin] = {}
    for plugin in reg.plugins:
        plugins.setdefault(plugin.name, plugin)
    brought = _brought(plugins[name]) if name in plugins else []
    named = [(kind, name) for kind, entries in kinds.items() if name in entries]
    for backend in (one for kind, one in [*brought, *named] if kind == "backend"):
        reg.backend(backend)  # says what is missing
    if name in plugins and not brought and not named:
        raise _nothing(plugins[name])
    if not brought and not named:
        raise _unknown(name, [*plugins, *(n for entries in kinds.values() for n in entries)])
    return [*dict.fromkeys([*brought, *named])]


def _brought(plugin: Plugin) -> list[Target]:
    """All that a plugin brings: what it announces, and the files that it opens and writes."""
    from riboswitch.plugins import State
    from riboswitch.registry import registry
    from riboswitch.testing.openers import containers_of

    if plugin.state in (State.DISABLED, State.LEFT_OUT):
        error = UsageError if plugin.state is State.DISABLED else RiboswitchError
        raise error(f"The plugin {plugin.name!r} is left out: {plugin.told}")
    files = [("container", name) for name in containers_of(plugin.name)]
    if not files and "riboswitch_open_checkpoint" in plugin.hooks:
        files = [("opener", plugin.name)]
    return [*registry().announced(plugin.name), *files]


def _nothing(plugin: Plugin) -> RiboswitchError:
    if plugin.problems:
        return RiboswitchError(f"What the plugin {plugin.name!r} brings is left out: {plugin.told}")
    return UsageError(f"The plugin {plugin.name!r} brings nothing that can be checked.")


def _unknown(name: str, known: list[str]) -> UsageError:
    near = get_close_matches(name, known, 1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    return UsageError(
        f"There is no plugin, backend, model, layout or container {name!r}.\n"
        f"{hint}There are: {', '.join(dict.fromkeys(known))}"
    )


def _print_notes(targets: list[Target]) -> None:
    """Say what could not be checked, and why."""
    from riboswitch.testing.check import note_of

    for kind, name in targets:
        if note := note_of(kind, name):
            print(f"note  {kind}_{name}: {note}")


class _Reporter:
    """A pytest plugin that prints a line for each test, and why one fails."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test, or what comes before and after it."""
        name = report.nodeid.partition("::")[2].removeprefix("Test_").replace("::test_", ": ", 1)
        if report.failed:
            self._fail(name, report)
        elif report.skipped:
            self.skipped += 1
            print(f"skip  {name}")
        elif report.when == "call":
            self.passed += 1
            print(f"pass  {name}", flush=True)

    def pytest_collectreport(self, report: Any) -> None:
        """Something that cannot even be collected."""
        if report.failed:
            self._fail(report.nodeid, report)

    def _fail(self, name: str, report: Any) -> None:
        self.failed += 1
        crash = getattr(report.longrepr, "reprcrash", None)
        message = str(crash.message if crash else report.longrepr)
        print(f"FAIL  {name}", *message.splitlines(), sep="\n      ", flush=True)


def _need_pytest() -> None:
    try:
        import pytest  # noqa: F401  # it is asked for before anything is looked up
    except ModuleNotFoundError as error:
        raise UsageError(
            "Contracts are run by pytest, which is not installed.\n"
            'Install it: pip install "riboswitch[testing]"'
        ) from error


def _collect_and_run(targets: list[Target]) -> _Reporter:
    import pytest

    report = _Reporter()
    with TemporaryDirectory() as folder, _told(targets):
        options = ["-p", "no:cacheprovider", "-p", "no:terminal", "--noconftest"]
        places = ["-c", os.devnull, f"--rootdir={folder}", f"--basetemp={folder}/tests"]
        code = pytest.main([*options, *places, "--pyargs", MODULE], plugins=[report])
    if code == pytest.ExitCode.INTERRUPTED and not report.failed:
        raise KeyboardInterrupt
    return report


@contextmanager
def _told(targets: list[Target]) -> Iterator[None]:
    """Tell the module that is collected what to check, and leave no compiled files behind."""
    before, environment = sys.dont_write_bytecode, dict(os.environ)
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):  # they might leave tests out
        os.environ.pop(name, None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ[VARIABLE], sys.dont_write_bytecode = json.dumps(targets), True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        os.environ.clear()
        os.environ.update(environment)
