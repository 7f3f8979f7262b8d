"""What happens where nobody names a model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import riboswitch
from riboswitch.registry import registry
from riboswitch.released import released_path
from riboswitch.sequences import read_records

ROOT = Path(__file__).parents[2]
CLASSES = ROOT / "tests" / "data" / "nrc_sample.fasta.gz"


def test_the_model_that_comes_along_is_taken_and_named(cli):
    cli.write("in.fa", ">a\nGGGAAACCC\n")
    done = cli("embed", "in.fa", "-o", "out.npz", "--pool", "mean", "--backend", "numpy")
    assert done.returncode == 0 and "so it is ribotiny" in done.stderr
    found = riboswitch.open_embeddings(cli.folder / "out.npz")
    assert found.manifest["model"] == "ribotiny" and found.manifest["licence"] == "Apache-2.0"
    model = riboswitch.load("ribotiny", backend="numpy")
    np.testing.assert_allclose(found[0], model.embed(["GGGAAACCC"], pool="mean")[0], atol=1e-6)


def test_who_names_a_model_or_wants_quiet_hears_nothing(cli):
    cli.write("in.fa", ">a\nGGGAAACCC\n")
    for more in (["--quiet"], ["--model", "ribotiny"]):
        done = cli("embed", "in.fa", "-o", "out", "--overwrite", "--backend", "numpy", *more)
        assert done.returncode == 0 and "no --model" not in done.stderr


def test_a_mask_is_filled(cli):
    done = cli("fill-mask", "GGG<mask>AAA", "--top", "1", "--backend", "numpy")
    assert done.returncode == 0 and "so it is ribotiny" in done.stderr
    assert re.fullmatch(r"[ACGU]\t0\.\d{4}\tGGG[ACGU]AAA\n", done.stdout)


def test_random_weights_need_a_model(cli):
    done = cli("fill-mask", "GGG<mask>AAA", "--weights", "random")
    assert done.returncode == 2 and "Random weights of which model?" in done.stderr


def test_it_is_whole_and_small(cli):
    done = cli("fetch", "ribotiny", "--check")
    assert done.returncode == 0 and "is whole" in done.stderr
    folder = released_path(registry().model("ribotiny"))
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 6_000_000


def test_it_knows_classes_of_rna():
    """Ridge regression on 650 of the embeddings tells 260 others; docs/ribotiny.md has all."""
    records = [(*r.header.split()[-2:], r.sequence) for r in read_records(str(CLASSES))]
    model = riboswitch.load("ribotiny", backend="numpy")
    classes = sorted({kind for kind, _, _ in records})
    x = model.embed([text for *_, text in records], pool="mean")
    x = np.c_[(x - x.mean(0)) / x.std(0), np.ones(len(x))]
    y = np.array([classes.index(kind) for kind, *_ in records])
    train = np.array([part == "train" for _, part, _ in records])
    known, wanted = x[train], np.eye(len(classes))[y[train]]
    weights = np.linalg.solve(known.T @ known + 30 * np.eye(x.shape[1]), known.T @ wanted)
    right = (x[~train] @ weights).argmax(1) == y[~train]
    assert (len(classes), len(right)) == (13, 260)
    assert right.mean() > 0.72  # untrained, it is 0.52
