"""`riboswitch fill-mask`."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from typing import Any

from riboswitch.cli.options import add_command, add_model_options, by_default, load_arguments

_EXAMPLES = """  riboswitch fill-mask 'GGGAAA<mask>CCC' --weights RNA-FM_pretrained.pth
  riboswitch fill-mask 'GGG<mask>AAA' --top 2 --json"""


def add_parsers(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "fill-mask", "Say what may stand at the <mask> of a sequence.", _EXAMPLES
    )
    parser.add_argument("sequence", metavar="SEQUENCE", help="with one <mask>")
    parser.add_argument("--top", metavar="K", type=int, default=5, help="how many to show")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print token, probability and sequence, tab-separated, best first."""
    from riboswitch.cli.fetch import obtain_first
    from riboswitch.loading import load

    options = load_arguments(arguments)
    if notice := by_default(arguments):
        print(f"riboswitch: {notice}", file=sys.stderr)
    obtain_first(arguments, options["name"])
    with redirect_stdout(sys.stderr):  # what backends print is no data
        fills = load(**options).fill_mask(arguments.sequence, arguments.top)
    if arguments.weights == "random":
        print("riboswitch: warning: the weights are random; this means nothing", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"version": 1, "fills": [fill._asdict() for fill in fills]}))
        return 0
    for fill in fills:
        print(f"{fill.token}\t{fill.probability:.4f}\t{fill.sequence}")
    return 0
