"""`riboswitch pretrain`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from riboswitch.cli.options import add_command
from riboswitch.cli.progress import Bar

_EXAMPLES = """  riboswitch pretrain --corpus rna.fasta.gz -o run --model rnaernie --steps 20000
  riboswitch pretrain --corpus a.fa b.fa.gz -o run --model small.yaml --recipe bert --epochs 3
  riboswitch pretrain --corpus nc.fa -o run --model ribotiny --types '(tRNA|miRNA)$' --pool mean
  torchrun --nproc-per-node 4 -m riboswitch pretrain --corpus rna.fa -o run \\
    --model rinalmo-nano --accumulate 4"""


def add_parsers(commands: Any) -> None:
    """Add the command. What has a default in `Request` or `Source` has None here."""
    parser = add_command(
        commands, "pretrain", "Train a model on masked sequences, or go on with it.", _EXAMPLES
    )
    parser.formatter_class = _Help
    parser.add_argument("-o", "--output", metavar="DIR", required=True, help="the run's folder")
    _add_corpus(parser.add_argument_group("corpus"))
    _add_model(parser.add_argument_group("model"))
    _add_training(
        parser.add_argument_group(
            "training: rates, decay and dropout that are not given are the model's"
        )
    )
    run_ = parser.add_argument_group("run")
    run_.add_argument("--workers", metavar="N", type=int, help="threads making batches")
    for name, what in (
        ("log", "lines of the log"),
        ("held-out", "looks at held-out sequences"),
        ("save", "checkpoints"),
    ):
        flag = f"--{name}-every"
        run_.add_argument(flag, metavar="N", type=int, help=f"steps between two {what}")
    run_.add_argument("--no-tensorboard", action="store_true", help="write log.jsonl alone")
    run_.add_argument("--json", action="store_true", help="print a summary for programs")
    run_.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.set_defaults(run=run)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Tells defaults, read from where they stand: that takes a while, and is for `-h` alone."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = _defaults().get(action.dest)
        if action.help is None or default in (None, "") or isinstance(default, bool):
            return action.help
        shown = f"{default:g}" if isinstance(default, float) else default
        return f"{action.help} (default: {shown})"


def _defaults() -> dict[str, Any]:
    """Of the arguments, by name."""
    import attrs

    from riboswitch.training.corpus import Source
    from riboswitch.training.request import Request

    fields = (*attrs.fields(Source), *attrs.fields(Request))
    simple = (str, int, float)
    return {field.name: field.default for field in fields if isinstance(field.default, simple)}


def _add_corpus(group: Any) -> None:
    group.add_argument(
        "--corpus", metavar="FASTA", nargs="+", required=True, help="FASTA or FASTQ, also .gz"
    )
    group.add_argument(
        "--exclude", metavar="FASTA", nargs="+", default=[], help="leave out what equals these"
    )
    group.add_argument("--held-out", metavar="SHARE", type=float, help="share not trained on")
    group.add_argument("--held-out-most", metavar="N", type=int, help="of these that a look takes")
    group.add_argument(
        "--types", metavar="REGEX", help="its group 1 is the type of RNA in a header"
    )
    group.add_argument(
        "--longest", metavar="L", type=int, help="letters; more are cut (default: 1022 words)"
    )


def _add_model(group: Any) -> None:
    group.add_argument("--model", metavar="M", required=True, help="a name, or a YAML file")
    group.add_argument("--weights", metavar="W", help="`random`, `released` or a checkpoint")
    group.add_argument("--backend", metavar="B", help="torch, paddle, …")
    group.add_argument("--device", metavar="D", help="cpu, cuda, gpu, …")
    group.add_argument("--dtype", choices=("float32", "bfloat16"), help="of products")
    group.add_argument("--seed", metavar="N", type=int, help="of everything random")


def _add_training(group: Any) -> None:
    group.add_argument("--recipe", metavar="R", help="bert, rnaernie, or a YAML file")
    group.add_argument("--steps", metavar="N", type=int, help="of the whole run")
    group.add_argument("--epochs", metavar="N", type=float, help="without --steps")
    group.add_argument("--tokens", metavar="N", type=int, help="of a micro-batch")
    group.add_argument("--accumulate", metavar="N", type=int, help="micro-batches of a step")
    group.add_argument("--schedule", metavar="S", help="constant, linear, cosine, inverse-sqrt")
    group.add_argument("--lr", metavar="X", type=float, dest="peak", help="the highest rate")
    group.add_argument("--lr-floor", metavar="X", type=float, dest="floor", help="the lowest one")
    group.add_argument("--warmup", metavar="N", type=float, help="steps; below 1, a share of all")
    group.add_argument("--decay", metavar="N", type=int, help="step at which the decay ends")
    group.add_argument(
        "--weight-decay", metavar="X", type=float, help="rate * X of the matrices goes in a step"
    )
    group.add_argument(
        "--clip", metavar="X", type=float, help="largest norm of the gradients; 0: any"
    )
    group.add_argument(
        "--dropout", metavar="SHARE", type=float, help="of what each layer adds, zeroed in training"
    )
    group.add_argument("--alpha", metavar="X", type=float, help="weight of the loss of the types")
    group.add_argument("--shown", metavar="SHARE", type=float, help="of sequences with a prompt")
    group.add_argument("--pool", choices=("cls", "mean"), help="what the type is predicted from")


def run(arguments: argparse.Namespace) -> int:
    """Train, and say what came of it."""
    from riboswitch.training.pretrain import pretrain

    request = _request(arguments)
    with Bar(shown=not arguments.quiet, unit=" steps") as bar:
        result = pretrain(request, _Shown(bar, quiet=arguments.quiet))
    summary = {
        "version": 1,
        "output": str(request.output),
        "model": str(result.model) if result.model else None,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "train": result.last,
        "held_out": result.held_out,
        "run": result.identity,
    }
    if not arguments.quiet and result.rank == 0:
        print(f"riboswitch: {_line(summary)}", file=sys.stderr)
    if arguments.json and result.rank == 0:
        print(json.dumps(summary, allow_nan=False))
    return 0 if result.model else 130


class _Shown:
    """A bar on a terminal, and elsewhere a line now and then."""

    def __init__(self, bar: Bar, *, quiet: bool) -> None:
        self.bar, self.lines, self.said = bar, not quiet and not bar.shown, 0

    def __call__(self, done: int, steps: int, said: Mapping[str, Any]) -> None:
        self.bar.show(done, steps, f"loss {said['loss']:.3f}")
        if self.lines and (done == steps or done * 20 // steps > self.said):
            self.said = done * 20 // steps
            print(f"riboswitch: step {done} of {steps}, {_numbers(said)}", file=sys.stderr)


def _line(summary: Mapping[str, Any]) -> str:
    if summary["model"] is None:
        return f"stopped after step {summary['steps']}; the same command goes on from there"
    seen = f"; held out: {_numbers(summary['held_out'])}" if summary["held_out"] else ""
    return f"{summary['steps']} steps in {summary['seconds']:.0f} s{seen}: {summary['model']}"


def _numbers(said: Mapping[str, Any]) -> str:
    accuracy = f", masked accuracy {said['accuracy']:.4f}" if "accuracy" in said else ""
    return f"loss {said['loss']:.4f}{accuracy}"


def _request(arguments: argparse.Namespace) -> Any:
    from riboswitch.masking import recipe
    from riboswitch.training.corpus import Source
    from riboswitch.training.models import model_entry
    from riboswitch.training.request import Request

    entry = model_entry(arguments.model)
    names = ("schedule", "peak", "floor", "warmup", "decay", "weight_decay", "clip", "dropout")
    same = "output steps epochs tokens accumulate longest alpha shown pool weights backend device"
    same += " dtype seed workers log_every held_out_every held_out_most save_every"
    return Request(
        entry=entry,
        source=Source(
            files=arguments.corpus,
            exclude=arguments.exclude,
            **_given(arguments, ["types", "held_out"]),
        ),
        recipe=recipe(arguments.recipe or entry.pretraining.recipe),
        optimization=entry.pretraining.optimization.changed(**_given(arguments, names)),
        board=not arguments.no_tensorboard,
        **_given(arguments, same.split()),
    )


def _given(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    return {name: v for name in names if (v := getattr(arguments, name)) is not None}
