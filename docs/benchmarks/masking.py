"""What masking does to a million letters and how fast, on one core; motifs against the bare search.

    python docs/benchmarks/masking.py [FASTA]

Without a file the letters are random. Times are CPU time, the best of several rounds, in which
the strategies and the bare search take turns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import ahocorasick
import numpy as np
from attrs import evolve

from riboswitch import TokenBatch
from riboswitch.masking import Masked, Origin, recipe
from riboswitch.masking.recipes import STRATEGIES
from riboswitch.sequences import read_records
from riboswitch_models.rnaernie import ALPHABET

ROUNDS = 7
LETTERS = 1_000_000


def texts(length: int) -> list[str]:
    """A million letters in sequences of one length."""
    rng = np.random.default_rng(0)
    return ["".join(s) for s in rng.choice(list("ACGU"), (LETTERS // length, length))]


def seconds(run: Callable[[], object]) -> float:
    """CPU time of one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def bare_search(sequences: list[str]) -> Callable[[], object]:
    """The library alone: every occurrence of the same motifs, kept as the library gives it."""
    motifs = recipe("rnaernie").motifs
    assert motifs is not None
    automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
    for number, motif in enumerate((*motifs.known, *motifs.ranked)):
        automaton.add_word(motif, number)
    automaton.make_automaton()
    return lambda: [list(automaton.iter(sequence)) for sequence in sequences]


def describe(batch: TokenBatch, masked: Masked) -> str:
    """Shares of the letters, and of what became of the masked ones."""
    words = [ALPHABET.index[word] for word in ALPHABET.words]
    hit = masked.labels != -100
    hit &= masked.origins != Origin.TYPE
    new, old = masked.ids[hit], masked.labels[hit]
    hidden = float((new == ALPHABET.mask_id).mean())
    kept = float((new == old).mean())
    fill = float((masked.origins == Origin.FILL).sum() / hit.sum())
    share = hit.sum() / np.isin(batch.ids, words).sum()
    return f"share {share:.4f}, {hidden:.4f} hidden, {kept:.4f} kept, {fill:.4f} filled up"


def measure(name: str, sequences: list[str]) -> None:
    """Print one line for each strategy."""
    batch = ALPHABET.encode(sequences, warn=False)
    letters = sum(map(len, sequences))
    base = recipe("rnaernie")
    recipes = {s: evolve(base, strategies={s: 1}) for s in STRATEGIES}
    recipes["rnaernie"] = base
    runs: dict[str, Callable[[], object]] = {
        s: partial(used.apply, batch, ALPHABET, seed=1) for s, used in recipes.items()
    }
    runs["bare search"] = bare_search(sequences)
    best = {s: min(t) for s, t in zip(runs, zip(*_rounds(runs), strict=True), strict=True)}
    for strategy, took in best.items():
        used = recipes.get(strategy)
        told = describe(batch, used.apply(batch, ALPHABET, seed=1)) if used else ""
        print(f"{name:>8}  {strategy:<12}{letters / took / 1e6:7.1f} M letters/s  {told}")
    print(f"{name:>8}  motif / bare search: {best['bare search'] / best['motif']:.2f}")


def _rounds(runs: dict[str, Callable[[], object]]) -> list[list[float]]:
    return [[seconds(run) for run in runs.values()] for _ in range(ROUNDS + 1)][1:]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure("file", [record.sequence for record in read_records(sys.argv[1])])
    else:
        for length in (510, 120, 20):
            measure(f"{length} nt", texts(length))
