"""A small corpus, a small model and runs of a few steps, as fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from tests.training.runs import MODEL, OPTIMIZATION, random_rna, small_entry, write_fasta

from riboswitch.masking import recipe
from riboswitch.training.corpus import Source
from riboswitch.training.request import Request


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
