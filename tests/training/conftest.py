"""A small corpus, a small model and runs of a few steps."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from tests.training.runs import MODEL

from riboswitch.interfaces import ModelEntry
from riboswitch.masking import recipe
from riboswitch.registry import registry
from riboswitch.training.corpus import Source
from riboswitch.training.request import Request
from riboswitch.training.settings import Optimization

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


@pytest.fixture
def fasta(tmp_path) -> Callable[..., str]:
    """Write sequences: fasta("a.fa", [...], types=None), and return the path."""
    return lambda name, *rest, **named: str(write_fasta(tmp_path / name, *rest, **named))


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.backend(n)) for n in ("torch", "paddle")])
def trainer(request) -> str:
    """Each backend that trains."""
    return str(request.param)


@pytest.fixture
def request_for(tmp_path, fasta) -> Callable[..., Request]:
    """Ask for a small run: request_for(backend, **changes)."""
    kinds = ["tRNA", "miRNA"] * 30
    path = fasta("corpus.fa", random_rna(60), types=kinds)

    def make(backend: str, model: str = "rnaernie", **changes: Any) -> Request:
        asked = Request(
            entry=small_entry(model),
            output=tmp_path / "run",
            source=Source(files=(path,), types="of (.+)", held_out=0.1),
            recipe=recipe("rnaernie"),
            optimization=OPTIMIZATION,
            steps=8,
            tokens=400,
            accumulate=2,
            backend=backend,
            device="cpu",
            log_every=1,
            held_out_every=4,
            save_every=3,
            board=False,
        )
        return evolve(asked, **changes)

    return make


@pytest.fixture
def command(tmp_path, fasta):
    """Arguments of a run: command(backend, output, *more)."""
    (tmp_path / "model.yaml").write_text(MODEL)
    path = fasta("corpus.fa.gz", random_rna(60), types=["tRNA", "miRNA"] * 30)
    fixed = "--steps 12 --tokens 400 --accumulate 3 --held-out 0.1 --log-every 1 --save-every 2"
    fixed += f" --model {tmp_path / 'model.yaml'} --corpus {path} --types of\\s(.+)"

    def make(backend, output, *more):
        words = ["pretrain", *fixed.split(), "--backend", backend, "--device", "cpu"]
        return [*words, "-o", str(output), "--held-out-every", "6", "--quiet", *more]

    return make
