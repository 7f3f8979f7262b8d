"""What small runs are made of, runs in processes of their own, and what their logs say."""

from __future__ import annotations

import gzip
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from riboswitch import load
from riboswitch.interfaces import ModelEntry
from riboswitch.optimization import Optimization
from riboswitch.registry import registry
from riboswitch.training.log import read_log

MODEL = """
like: rnaernie
architecture: {num_layers: 1, hidden_size: 16, num_heads: 2, feed_forward_size: 24}
optimization: {peak: 0.003, warmup: 2, dropout: 0.1}
"""
ONE_CORE = {**os.environ, "OMP_NUM_THREADS": "1"}
TINY = {"num_layers": 1, "hidden_size": 16, "num_heads": 2, "feed_forward_size": 24}
OPTIMIZATION = Optimization(peak=3e-3, warmup=2)


def small_entry(name: str, **changes: Any) -> ModelEntry:
    """A registered model in a few numbers."""
    entry = registry().model(name)
    return evolve(entry, architecture=entry.architecture.evolve({**TINY, **changes}))


def random_rna(count: int, *, seed: int = 0, longest: int = 90, step: int = 1) -> list[str]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(max(3, step), longest, count) // step * step
    return ["".join(rng.choice([*"ACGU"], n)) for n in lengths]


def write_fasta(path: Path, sequences: list[str], types: list[str] | None = None) -> Path:
    kinds = types or [""] * len(sequences)
    pairs = enumerate(zip(sequences, kinds, strict=True))
    text = "".join(f">s{i} of {kind}\n{s}\n" for i, (s, kind) in pairs)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def launcher(trainer: str, folder: Path) -> list[str]:
    """Start the command line in two processes."""
    words = {
        "torch": ["torch.distributed.run", "--nproc-per-node", "2", "-m", "riboswitch"],
        "paddle": [
            *("paddle.distributed.launch", "--nproc_per_node", "2"),
            *("--log_dir", str(folder / "log")),
            str(Path(sysconfig.get_path("scripts")) / "riboswitch"),
        ],
    }
    return [sys.executable, "-m", *words[trainer]]


def losses(folder: Path):
    return [(line["kind"], line["step"], line["loss"]) for line in read_log(folder / "log.jsonl")]


def weights(result, like):
    sizes = {"num_heads": like.entry.architecture.num_heads}
    model = load(like.entry.name, backend="numpy", weights=result.model, architecture=sizes)
    return {name: model.weights[name].copy() for name in model.weights}


def lines_of(path: Path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0
