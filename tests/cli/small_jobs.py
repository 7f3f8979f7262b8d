"""Small jobs of embedding, and what is seen of them from outside."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from riboswitch.jobs.embed import Request

SIZES = {"num_layers": 1, "hidden_size": 40, "feed_forward_size": 80}
LOAD = {"name": "rinalmo-nano", "weights": "random", "backend": "numpy", "architecture": SIZES}


def request(records: Path, output: Path, **options: object) -> Request:
    settings = {"load": LOAD, "chunk_residues": 2000, **options}
    return Request(source=str(records), output=output, **settings)


def wait_for_chunk(job: subprocess.Popen[bytes], output: Path) -> None:
    before = set(output.glob("chunk-*"))
    while job.poll() is None and not set(output.glob("chunk-*")) - before:
        time.sleep(0.01)


def plan_of(store: Path) -> list[object]:
    return json.loads((store / "manifest.json").read_text())["chunks"]


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    if not found.exists():
        pytest.skip("needs /proc to find the workers")
    names = {c: Path(f"/proc/{c}/cmdline").read_bytes() for c in found.read_text().split()}
    return [int(c) for c, line in names.items() if b"spawn_main" in line]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
