"""`riboswitch embed`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

from riboswitch.cli.options import add_command, add_model_options, by_default, load_arguments
from riboswitch.cli.progress import Bar

_EXAMPLES = """  riboswitch embed trna.fasta -o trna.npz --pool mean
  riboswitch embed trna.fasta -o trna.emb --model rnafm
  riboswitch embed reads.fastq.gz -o reads.npz --pool mean --weights rinalmo_micro_pretrained.pt
  zcat many.fa.gz | riboswitch embed - -o many.emb --model rnaernie --prompt tRNA --window 500
  riboswitch embed trna.fasta -o t.emb --model rinalmo-nano --weights random --dry-run"""


def add_parsers(commands: Any) -> None:
    """Add the command."""
    parser = add_command(
        commands, "embed", "Embed every sequence of a FASTA or FASTQ file.", _EXAMPLES
    )
    parser.add_argument("input", metavar="IN", help="FASTA or FASTQ, also .gz; - for stdin")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="a folder; with --pool a file, .npz or .parquet",
    )
    parser.add_argument(
        "--pool", choices=("mean", "max", "cls"), help="one vector of each sequence"
    )
    parser.add_argument(
        "--layer", metavar="N", type=int, default=-1, help="0 the embedding, -1 the last layer"
    )
    parser.add_argument(
        "--window",
        metavar="L",
        type=int,
        help="cut longer sequences into overlapping pieces of L residues",
    )
    parser.add_argument("--prompt", metavar="TYPE", help="announce a type of RNA (rnaernie)")
    add_model_options(parser)
    job = parser.add_argument_group("job")
    job.add_argument(
        "--workers", metavar="N", type=int, default=1, help="processes that share the cores"
    )
    job.add_argument(
        "--chunk-residues",
        metavar="N",
        type=int,
        help="residues computed and written at a time",
    )
    job.add_argument("--strict", action="store_true", help="compute nothing when a record is bad")
    job.add_argument("--overwrite", action="store_true", help="replace an earlier result")
    job.add_argument("--dry-run", action="store_true", help="say what it would take, and stop")
    job.add_argument("--json", action="store_true", help="print a summary for programs")
    job.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Embed, and say what was done."""
    from attrs import asdict, evolve

    from riboswitch.alphabet import unknown_message
    from riboswitch.cli.fetch import not_here, obtain_first
    from riboswitch.jobs.embed import Request, check_output, embed_file
    from riboswitch.jobs.estimate import estimate
    from riboswitch.jobs.plan import CHUNK_RESIDUES
    from riboswitch.limits import check_embed

    chunk = arguments.chunk_residues
    request = Request(
        source=arguments.input,
        output=arguments.output,
        load=load_arguments(arguments),
        pool=arguments.pool,
        layer=arguments.layer,
        window=arguments.window,
        prompt=arguments.prompt,
        chunk_residues=CHUNK_RESIDUES if chunk is None else chunk,
        workers=arguments.workers,
        strict=arguments.strict,
        overwrite=arguments.overwrite,
    )
    check_output(request)
    say = _Quiet() if arguments.quiet else _Say()
    if notice := by_default(arguments):
        say(notice)
    absent = not_here(arguments, request.load["name"])
    if absent is not None:  # what is wrong is said before gigabytes come
        has_prompt = request.prompt is not None
        check_embed(
            absent, pool=request.pool, layer=request.layer, window=request.window, prompt=has_prompt
        )
    if arguments.dry_run:
        if absent is not None:
            say("the released weights are not here: random ones of their size are timed")
            request = evolve(request, load={**request.load, "weights": "random"})
        found = estimate(request)
        print(json.dumps(asdict(found)) if arguments.json else found.text())
        return 3 if found.failed else 0
    obtain_first(arguments, request.load["name"], quiet=arguments.quiet)
    # What backends print is no data.
    with Bar(shown=not arguments.quiet) as bar, redirect_stdout(sys.stderr):
        result = embed_file(request, bar.show)
    summary = summarise(result, request)
    if unknown := Counter(summary["unknown"]):
        say(f"warning: {unknown_message(unknown, None, result.alphabet)}")
    if arguments.weights == "random":
        say("warning: the weights are random; the embeddings mean nothing")
    if result.failures:
        records = "record" if summary["failed"] == 1 else "records"
        say(f"{summary['failed']} {records} failed: see {result.failures}")
    say(_line(summary))
    if arguments.json:
        print(json.dumps(summary))
    return 3 if summary["failed"] else 0


def summarise(result: Any, request: Any) -> dict[str, Any]:
    """The summary that `--json` prints."""
    keys = "model licence backend framework device dtype weights weights_sha256 records_sha256"
    keys += " unknown pool riboswitch"
    return {
        "version": 1,
        "output": str(request.output),
        "records": result.plan.records + result.plan.failed,
        "written": result.plan.records,
        "failed": result.plan.failed,
        "failures": str(result.failures) if result.failures else None,
        "residues": result.plan.residues,
        "computed_residues": result.computed_residues,
        "seconds": round(result.seconds, 3),
        **{key: result.manifest[key] for key in keys.split()},
    }


def _line(summary: Mapping[str, Any]) -> str:
    speed = summary["computed_residues"] / max(summary["seconds"], 1e-9)
    took = f"{summary['seconds']:.1f} s ({speed:.0f} residues/s)"
    return (
        f"{summary['written']} of {summary['records']} records, {summary['residues']} residues "
        f"by {summary['model']} on {summary['backend']} into {summary['output']}: "
        f"{took if summary['computed_residues'] else 'there already, nothing computed'}"
    )


class _Say:
    def __call__(self, message: str) -> None:
        print(f"riboswitch: {message}", file=sys.stderr)


class _Quiet(_Say):
    def __call__(self, message: str) -> None:
        pass
