"""What numbers too small to be normal cost, and what is done against them, on one core.

    pip install "riboswitch[torch,pretrain]"
    OMP_NUM_THREADS=1 python docs/benchmarks/denormals.py FASTA

Attention that is sharp has weights and gradients full of such numbers: here ribotiny's queries are
multiplied, by 1 and by 6. Printed are seconds for the states of NumPy and for a gradient of
PyTorch, with the cure and without.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from unittest.mock import patch

import numpy as np

import riboswitch
from riboswitch.registry import registry
from riboswitch.sequences import read_records
from riboswitch.training.learner import Work
from riboswitch_numpy import functions
from riboswitch_torch import learner as torch_learner


def main() -> None:
    """Print all four."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fasta")
    texts = [record.sequence for record in read_records(parser.parse_args().fasta)]
    texts = sorted((text for text in texts if len(text) <= 500), key=len)[-300:]
    model = riboswitch.load("ribotiny", backend="numpy")
    batch, work = model.alphabet.encode(texts), work_of(model, texts[::20])
    for factor in (1, 6):
        sharp = {n: w * (factor if ".query." in n else 1) for n, w in model.weights.items()}
        numpy = (
            registry()
            .backend("numpy")
            .build(model.architecture, sharp, device="cpu", dtype="float32")
        )
        torch = (
            registry()
            .backend("torch")
            .learner(
                model.architecture,
                sharp,
                device="cpu",
                dtype="float32",
                optimization=registry().model("ribotiny").pretraining.optimization,
            )
        )
        print(f"queries times {factor}")
        run: Callable[[], object] = partial(numpy.forward, batch, ("representation",))
        show("NumPy, states", run, patch.object(functions, "softmax_in_place", plain))
        run = partial(torch.accumulate, work, last=True)
        show("PyTorch, gradient", run, patch.object(torch_learner, "_flushed", nullcontext))


def plain(scores: np.ndarray) -> np.ndarray:
    """Softmax as it would be without a floor."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def work_of(model: riboswitch.Model, texts: list[str]) -> Work:
    """Every seventh token is to be predicted."""
    batch = model.alphabet.encode(texts)
    places = np.arange(0, len(batch.ids), 7)
    return Work(
        batch=batch,
        places=places,
        sequences=np.zeros(0, np.int64),
        tail=np.ones(len(batch), np.int64),
        labels=batch.ids[places].astype(np.int64),
        weights=np.full(len(places), 1 / len(places), np.float32),
    )


def show(what: str, run: Callable[[], object], without: patch) -> None:
    """The best of three, with and without."""
    cured = best(run)
    with without:
        ill = best(run)
    print(f"{what:18} {cured:.3f} s, without the cure {ill:.3f} s: {ill / cured:.1f} times as long")


def best(run: Callable[[], object]) -> float:
    """Seconds of the quickest of three."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
