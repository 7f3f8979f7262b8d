"""How far two backends drift apart in training, and what a corpus costs.

    pip install "riboswitch[torch,paddle,pretrain]"
    python docs/benchmarks/training.py FASTA [--lr 4e-4] [--steps 50]

Each model, shrunk to two layers of 32, is trained on both from the same weights on the same masks;
the largest relative difference of any step's loss is printed. Then the memory of the plan of an
epoch, by tracemalloc, and its time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
from attrs import evolve

from riboswitch.masking import recipe
from riboswitch.optimization import Optimization
from riboswitch.registry import registry
from riboswitch.training.batches import Batches
from riboswitch.training.corpus import Source
from riboswitch.training.log import read_log
from riboswitch.training.pretrain import pretrain
from riboswitch.training.request import Request

MODELS = ("rnafm", "mrnafm", "rinalmo-nano", "rnaernie", "ribotiny")
SIZES = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "feed_forward_size": 48}
RECORDS = 1_000_000


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fasta")
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    for model in MODELS:
        one, two = (losses(arguments, model, backend) for backend in ("torch", "paddle"))
        apart = np.max(np.abs(one - two) / one)
        print(f"{model:14} {one[0]:.4f} to {one[-1]:.4f}, apart by {apart:.1e} at most")
    print(plan())


def losses(arguments: argparse.Namespace, model: str, backend: str) -> np.ndarray:
    """Losses of all steps."""
    entry = registry().model(model)
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            entry=evolve(entry, architecture=entry.architecture.evolve(SIZES)),
            output=Path(folder),
            source=Source(files=(arguments.fasta,), held_out=0),
            recipe=recipe("rnaernie"),
            optimization=Optimization(peak=arguments.lr, warmup=5),
            steps=arguments.steps,
            tokens=1000,
            backend=backend,
            device="cpu",
            log_every=1,
            board=False,
        )
        pretrain(request)
        return np.array([line["loss"] for line in read_log(Path(folder) / "log.jsonl")])


def plan() -> str:
    """Bytes of each record while an epoch is planned, the corpus's own 11 included."""
    tracemalloc.start()
    tokens = np.random.default_rng(0).integers(20, 1000, RECORDS)
    batches = Batches(np.arange(RECORDS), tokens, 16384, 8, 0)
    began = time.perf_counter()
    steps = len(batches.epoch(0))
    seconds, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    return (
        f"{RECORDS} records: {steps} steps, {peak / RECORDS + 11:.0f} bytes each, {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
