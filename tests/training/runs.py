"""Runs in processes of their own, and what their logs say."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from riboswitch.training.log import read_log

MODEL = """
like: rnaernie
architecture: {num_layers: 1, hidden_size: 16, num_heads: 2, feed_forward_size: 24}
optimization: {peak: 0.003, warmup: 2, dropout: 0.1}
"""
ONE_CORE = {**os.environ, "OMP_NUM_THREADS": "1"}


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


def lines_of(path: Path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0
