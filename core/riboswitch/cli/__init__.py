"""The command line: data on stdout, everything else on stderr, exit codes that mean something."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from riboswitch._version import __version__
from riboswitch.cli import convert, embed, fetch, fill_mask, inventory, pretrain
from riboswitch.errors import ResourceError, RiboswitchError, RiboswitchWarning, UsageError

_EPILOG = """exit codes:
  0 all well, 2 wrong use, 3 some records failed, 4 unreadable input or a broken contract,
  5 out of memory or disk, 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", RiboswitchWarning)
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # takes less
            code: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where it was", 130)
    except BrokenPipeError:
        _drop_stdout()  # nobody reads any more
        return 0
    except OSError as error:
        if error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror}", UsageError.exit_code)
        _drop_stdout()
        return _fail(f"stdout cannot be written: {error}", ResourceError.exit_code)
    except RiboswitchError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        return _fail("memory ran out.\nUse a smaller model, or --window.", ResourceError.exit_code)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="riboswitch",
        description="RNA language models on NumPy, PyTorch and Paddle behind one interface.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"riboswitch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (embed, convert, fetch, fill_mask, pretrain, inventory):
        command.add_parsers(commands)
    return parser


def _drop_stdout() -> None:
    """Keep the interpreter from flushing, at its end, what cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> int:
    print(f"riboswitch: {message}", file=sys.stderr)
    return code


def _show_warning(message: Any, category: type[Warning], *_: Any) -> None:
    kind = "warning" if issubclass(category, RiboswitchWarning) else category.__name__
    print(f"riboswitch: {kind}: {message}", file=sys.stderr)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
