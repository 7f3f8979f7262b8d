"""Prove a conversion: every number, and what both files compute of real sequences."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from riboswitch.conversion.plan import WritePlan
from riboswitch.conversion.write import ReadBack
from riboswitch.errors import CheckpointError
from riboswitch.interfaces import Array, ModelEntry, Weights
from riboswitch.opening import Opened
from riboswitch.registry import registry

SEQUENCES = (
    "GGGCCCAUAGCUCAGUGGUAGAGUGCCUCCUUUGCAAGGAGGAUGCCCUGGGUUCGAAUCCCAGUGGGUCCA",
    "CAUUAGAUGACUGAAAGCAAGUACUGGUCUCUUAAACCAUUUAAUAGUAAAUUAGCACUUACUUCUAAUGA",
    "UACGGCGGCCAUAGCGAAGGGGAAAUACCCGGUCCCAUCCCGAACCCGGAAGUCAAGCCCUUCAGCGCCGAUGGUA",
)
"""Two tRNAs and the beginning of a 5S ribosomal RNA, from Rfam (RF00005, RF00001; CC0)."""

TOLERANCE = 1e-4


@frozen(kw_only=True)
class Difference:
    """The largest absolute differences between two checkpoints of one model, over `SEQUENCES`.

    Attributes:
        representation: Of the last layer, in float32.
        logits: Of the words that both vocabularies have; None without a head.
    """

    representation: float
    logits: float | None


def verify_files(opened: Opened, plan: WritePlan, back: ReadBack) -> Difference:
    """Compare what both checkpoints compute, and each number that was written.

    Raises:
        CheckpointError: A number is another one, or the results differ by more than 1e-4.
    """
    first = _compute(opened.entry, opened.weights)
    found = _difference(first, _compute(plan.entry, back.weights))
    worst = float(np.max([found.representation, found.logits or 0.0]))  # also of NaN
    if not worst <= TOLERANCE:
        raise CheckpointError(
            f"The result computes other numbers than its source: they differ by {worst:.2g}.\n"
            "Nothing was written."
        )
    for name in plan.weights:
        if not np.array_equal(plan.weights[name], back.weights[name]):
            raise CheckpointError(f"{name} was not written as it was.\nPlease report this.")
    return found


@frozen(eq=False)
class _Computed:
    """Of all sequences, one after the other: (total, D), and (total,) for each word."""

    representation: Array
    logits: dict[str, Array]


def _compute(entry: ModelEntry, weights: Weights) -> _Computed:
    """Run the sequences, as far as the model takes them, on NumPy."""
    backend, architecture = registry().backend("numpy"), entry.architecture
    backbone = backend.build(architecture, weights, device="cpu", dtype="float32")
    texts = [_fitting(sequence, entry) for sequence in SEQUENCES]
    outputs = ("representation", "logits") if architecture.lm_head else ("representation",)
    found = backbone.forward(entry.alphabet.encode(texts), outputs)
    logits = np.concatenate(found["logits"]) if architecture.lm_head else np.empty((0, 0))
    words = entry.alphabet.words if logits.size else ()
    columns = {entry.alphabet.to_rna(w): logits[:, entry.alphabet.index[w]] for w in words}
    return _Computed(np.concatenate(found["representation"]), columns)


def _fitting(sequence: str, entry: ModelEntry) -> str:
    """As many whole words of a sequence as the model takes; one at least."""
    alphabet, tokens = entry.alphabet, entry.architecture.max_tokens or len(sequence) + 2
    words = max(1, min(alphabet.num_words(len(sequence)), tokens - 2))
    return sequence[: alphabet.num_letters(words)]


def _difference(first: _Computed, second: _Computed) -> Difference:
    common = first.logits.keys() & second.logits.keys()
    apart = [_largest(first.logits[word], second.logits[word]) for word in common]
    states = _largest(first.representation, second.representation)
    return Difference(representation=states, logits=max(apart) if apart else None)


def _largest(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max())
