"""`riboswitch fetch`, and the fetch before another command."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from riboswitch.cli.options import add_command
from riboswitch.cli.progress import Bar

if TYPE_CHECKING:
    from pathlib import Path

    from riboswitch.interfaces import ModelEntry

_EXAMPLES = """  riboswitch fetch rnafm
  riboswitch fetch rinalmo-micro --check
  RIBOSWITCH_CACHE=/data/weights riboswitch fetch rinalmo-giga --quiet"""


def add_parsers(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "fetch", "Fetch a model's released weights, and print where they lie.", _EXAMPLES
    )
    parser.add_argument("model", metavar="MODEL", help="see `riboswitch models`")
    parser.add_argument(
        "--check", action="store_true", help="fetch nothing; read the file through and compare it"
    )
    parser.add_argument("--force", action="store_true", help="fetch also what is here already")
    parser.add_argument("--json", action="store_true", help="print what is known of the file")
    parser.add_argument("--quiet", action="store_true", help="no licence, no progress")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fetch or check, and print the path."""
    from riboswitch.errors import UsageError
    from riboswitch.registry import registry
    from riboswitch.released import check, released_path

    if arguments.check and arguments.force:
        raise UsageError("--check fetches nothing.\nGive --check or --force, not both.")
    entry = registry().model(arguments.model)
    if arguments.check:
        record = check(entry)
        path = released_path(entry)
        if not arguments.quiet:
            print(f"riboswitch: {entry.name} is whole: SHA-256 {record.sha256}", file=sys.stderr)
    else:
        path = obtain(entry, force=arguments.force, quiet=arguments.quiet)
    print(json.dumps(_summary(entry, path)) if arguments.json else path)
    return 0


def obtain(entry: ModelEntry, *, force: bool = False, quiet: bool = False) -> Path:
    """Fetch weights that are not here, with a line about whose they are, and a bar."""
    from riboswitch.released import fetch

    if not quiet and entry.released:
        where = f"weights of {entry.name} by their authors, from {entry.released.url}"
        print(f"riboswitch: {where}; licence: {entry.licence}", file=sys.stderr)
    with Bar(shown=not quiet, unit="B") as bar:
        return fetch(entry, force=force, report=bar.show)


def not_here(arguments: argparse.Namespace, name: str) -> ModelEntry | None:
    """The model whose released weights a command wants, and which are not here.

    Raises:
        BackendError: The backend that is asked for cannot compute it.
    """
    from riboswitch.registry import registry
    from riboswitch.released import is_here

    if arguments.weights != "released":
        return None
    entry = registry().model(name)
    registry().backend(arguments.backend, entry.architecture)
    return None if is_here(entry) else entry


def obtain_first(arguments: argparse.Namespace, name: str, *, quiet: bool = False) -> None:
    """Fetch, before a command loads them, released weights that are not here."""
    if (entry := not_here(arguments, name)) is not None:
        obtain(entry, quiet=quiet)


def _summary(entry: ModelEntry, path: Path) -> dict[str, Any]:
    """What `--json` prints; null where a file was put there by hand."""
    from riboswitch.released import read_provenance

    record = read_provenance(path)
    known = ("url", "revision", "sha256", "size", "date")
    return {
        "version": 1,
        "model": entry.name,
        "path": str(path),
        "licence": entry.licence,
        **{name: getattr(record, name, None) for name in known},
    }
