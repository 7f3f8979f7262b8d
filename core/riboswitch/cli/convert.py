"""`riboswitch convert`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from riboswitch.cli.options import add_command, pairs

_EXAMPLES = """  riboswitch convert RNA-FM_pretrained.pth rnafm --to riboswitch
  riboswitch convert rnafm rnafm-hf --to multimolecule --verify
  riboswitch convert rinalmo_micro_pretrained.pt micro.pt --to rinalmo-plain --json"""


def add_parsers(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "convert", "Write a checkpoint again in another layout.", _EXAMPLES
    )
    parser.add_argument("source", metavar="SRC", help="a file or folder in any known layout")
    parser.add_argument("target", metavar="DST", help="a new file or folder, as the layout is")
    parser.add_argument(
        "--to",
        metavar="LAYOUT",
        required=True,
        help="riboswitch, rnafm, rinalmo, rinalmo-plain, rnaernie, multimolecule or a plugin's",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare every number, and what both compute of real sequences",
    )
    parser.add_argument(
        "--architecture",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="what the source does not say of itself, e.g. num_heads=4",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is at DST")
    parser.add_argument("--json", action="store_true", help="print a report for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert, and say what was done."""
    from attrs import asdict

    from riboswitch.conversion.convert import convert
    from riboswitch.conversion.write import by_donor

    report = convert(
        arguments.source,
        arguments.target,
        arguments.to,
        architecture=pairs(arguments.architecture),
        verify=arguments.verify,
        overwrite=arguments.overwrite,
    )
    if arguments.json:
        print(json.dumps({"version": 1, **asdict(report)}))
        return 0
    print(f"{report.source} ({report.source_layout}) -> {report.target} ({report.target_layout})")
    print(f"model        {report.model}, {report.parameters:,} parameters")
    print(f"licence      {report.licence}")
    print(f"weights      sha256 {report.weights_sha256}")
    for loss in report.lost:
        print(f"lost         {loss}")
    for old, new in by_donor(report.borrowed):
        print(f"borrowed     from {old}: {' '.join(new)}")
    if report.difference:
        found = report.difference
        logits = "" if found.logits is None else f", logits {found.logits:.2g}"
        print(f"difference   representation {found.representation:.2g}{logits}")
    return 0
