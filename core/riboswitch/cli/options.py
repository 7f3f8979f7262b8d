"""Options that several commands share."""

from __future__ import annotations

import argparse
import json
from typing import Any

from riboswitch.errors import UsageError

DEFAULT = "ribotiny"  # its weights come with the package


def add_command(commands: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    """Add a subcommand whose help ends with examples."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Options that say which model to load, where and how."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="M",
        help=f"see `riboswitch models`; default: what the weights hold, or {DEFAULT}",
    )
    group.add_argument(
        "--weights",
        metavar="W",
        default="released",
        help="a file or folder, `released` (default) or `random`",
    )
    group.add_argument("--backend", metavar="B", default="auto", help="see `riboswitch doctor`")
    group.add_argument("--device", metavar="D", default="auto", help="cpu, cuda, gpu, …")
    group.add_argument(
        "--dtype", metavar="T", default="auto", help="float32, bfloat16, float16, float64"
    )
    group.add_argument("--seed", metavar="N", type=int, default=0, help="of random weights")
    group.add_argument(
        "--architecture",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override what the checkpoint says, e.g. num_heads=4",
    )


def by_default(arguments: argparse.Namespace) -> str | None:
    """What to say when nobody named a model or weights."""
    if arguments.model is not None or arguments.weights != "released":
        return None
    return (
        f"no --model is given, so it is {DEFAULT}, a small one that comes with the package; "
        "`riboswitch models` lists the others"
    )


def load_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Turn the options into arguments of `riboswitch.load`."""
    return {
        "name": arguments.model or _name(arguments.weights),
        "backend": arguments.backend,
        "weights": arguments.weights,
        "device": arguments.device,
        "dtype": arguments.dtype,
        "seed": arguments.seed,
        "architecture": pairs(arguments.architecture),
    }


def _name(weights: str) -> str:
    """The model of weights that are given without one."""
    if weights == "released":
        return DEFAULT
    if weights == "random":
        raise UsageError("Random weights of which model?\nGive --model (see `riboswitch models`).")
    from riboswitch.opening import identify

    return identify(weights)


def pairs(texts: list[str]) -> dict[str, Any]:
    """Turn KEY=VALUE texts into a dict; a value is JSON where it can be."""
    return dict(_pair(text) for text in texts)


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--architecture takes KEY=VALUE, not {text!r}.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
