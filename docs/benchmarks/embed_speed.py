"""Residues per second of `Model.embed_exactly`, with a model's real size and random weights.

    python docs/benchmarks/embed_speed.py numpy torch torch:bfloat16 paddle

Takes 40 real sequences of mixed length (about 9,000 residues), one run to warm up and three that
count, each backend in a process of its own; prints the median.
"""

from __future__ import annotations

import gzip
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import riboswitch

SAMPLE = Path(__file__).parents[2] / "tests" / "data" / "rnacentral_sample.fasta.gz"


def main(names: list[str]) -> None:
    """Measure each `backend[:dtype]`."""
    if names[0] == "--one":
        print(measure(names[1]))
        return
    for name in names:
        command = [sys.executable, "-W", "ignore", __file__, "--one", name]
        subprocess.run(command, check=True)


def measure(name: str) -> str:
    """Load RNA-FM's size on one backend and time it."""
    backend, _, dtype = name.partition(":")
    model = riboswitch.load("rnafm", backend=backend, dtype=dtype or "float32", weights="random")
    sequences = sample(40)
    residues = sum(map(len, sequences))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        model.embed_exactly(sequences)
        seconds.append(time.perf_counter() - start)
    speed = residues / statistics.median(seconds[1:])
    return f"{model.backend.version:<20}{model.device:<6}{model.dtype:<10}{speed:8.0f} residues/s"


def sample(count: int) -> list[str]:
    """Sequences of the test data, chosen by a fixed seed."""
    records = gzip.decompress(SAMPLE.read_bytes()).decode().split(">")[1:]
    chosen = random.Random(0).sample(records, count)
    return ["".join(record.split("\n")[1:]) for record in chosen]


if __name__ == "__main__":
    main(sys.argv[1:] or ["numpy"])
