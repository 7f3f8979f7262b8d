"""`riboswitch models`, `plugins` and `doctor`: what is here."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from riboswitch._version import __version__
from riboswitch.cli import check
from riboswitch.cli.options import add_command
from riboswitch.errors import RiboswitchError

if TYPE_CHECKING:
    from riboswitch.interfaces import BackendEntry

_JSON = "print JSON"


def add_parsers(commands: Any) -> None:
    """Add the three commands."""
    for name, summary, run in (
        ("models", "List the models that can be loaded.", models),
        ("plugins", "List the installed plugins and their state.", plugins),
        ("doctor", "Say what is installed, and what to install for the rest.", doctor),
    ):
        parser = add_command(
            commands, name, summary, f"  riboswitch {name}\n  riboswitch {name} --json"
        )
        parser.add_argument("--json", action="store_true", help=_JSON)
        parser.set_defaults(run=run)
        if run is plugins:
            check.add_option(parser)


def models(arguments: argparse.Namespace) -> int:
    """A line for each model."""
    from riboswitch.limits import max_residues
    from riboswitch.registry import registry

    rows = [
        {
            "name": entry.name,
            "parameters": entry.architecture.num_parameters(),
            "hidden_size": entry.architecture.hidden_size,
            "layers": entry.architecture.num_layers,
            "max_residues": max_residues(entry),
            "weights": entry.released.url if entry.released else None,
            "licence": entry.licence,
        }
        for entry in registry().models.values()
    ]
    titles = ("model", "parameters", "size", "layers", "longest", "released weights", "licence")
    return _show(arguments, "models", rows, titles)


def plugins(arguments: argparse.Namespace) -> int:
    """A line for each plugin; with `--check`, a line for each test of a contract."""
    from riboswitch.registry import registry

    if arguments.check is not None:
        return check.run(arguments.check)

    rows = [
        {
            "name": plugin.name,
            "package": plugin.package,
            "version": plugin.version,
            "seconds": round(plugin.seconds, 3),
            "hooks": ", ".join(plugin.hooks),
            "state": plugin.told,
        }
        for plugin in registry().plugins
    ]
    titles = ("plugin", "package", "version", "seconds", "hooks", "state")
    return _show(arguments, "plugins", rows, titles)


def doctor(arguments: argparse.Namespace) -> int:
    """What works here, which backend `auto` takes, and how to get the others."""
    from riboswitch.registry import missing, registry

    reg = registry()
    with redirect_stdout(sys.stderr):  # what backends print is no data
        rows = [_examine(entry, missing(entry)) for entry in reg.backends.values()]
        auto = reg.auto
    if arguments.json:
        print(json.dumps({"version": 1, "auto": auto, "backends": rows, **_system()}))
        return 0
    for key, value in _system().items():
        print(f"{key:<11}{value}")
    print(f"{'auto':<11}backend {auto}\n")
    _table(rows, ("backend", "models", "state", "framework", "devices", "dtypes", "cure"))
    return 0


def _system() -> dict[str, str]:
    from riboswitch.released import cache_folder

    return {
        "riboswitch": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cache": str(cache_folder()),
    }


def _examine(entry: BackendEntry, lacking: list[str]) -> dict[str, str]:
    from riboswitch.registry import devices_of, dtypes_of, registry

    row = {"name": entry.name, "models": _models(entry), "state": "not installed"}
    row |= {"framework": "", "devices": "", "dtypes": ""}
    if lacking:
        return {**row, "cure": entry.install}
    try:
        backend = registry().backend(entry.name)
        devices = devices_of(backend)
        dtypes = dtypes_of(backend, devices[0])
    except RiboswitchError as error:
        return {**row, "state": "broken", "cure": str(error).replace("\n", " ")}
    return {
        **row,
        "state": "works",
        "framework": backend.version,
        "devices": ", ".join(devices),
        "dtypes": ", ".join(dtypes),
        "cure": "",
    }


def _models(backend: BackendEntry) -> str:
    """The registered models that a backend can compute."""
    from riboswitch.registry import refusal, registry

    entries = registry().models.values()
    able = [e.name for e in entries if not refusal(backend, e.architecture)]
    return "all" if len(able) == len(entries) else ", ".join(able) or "none"


def _show(
    arguments: argparse.Namespace, key: str, rows: list[dict[str, Any]], titles: tuple[str, ...]
) -> int:
    if arguments.json:
        print(json.dumps({"version": 1, key: rows}))
    else:
        _table(rows, titles)
    return 0


def _table(rows: list[dict[str, Any]], titles: tuple[str, ...]) -> None:
    """Columns as wide as their widest cell; None is a dash."""
    cells = [titles, *(tuple("-" if v is None else str(v) for v in row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())
