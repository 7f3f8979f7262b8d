"""What a learner should come to: NumPy in float64, without gradients of any framework."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from riboswitch.architecture import Architecture
from riboswitch.interfaces import Array
from riboswitch.optimization import Optimization
from riboswitch.registry import registry
from riboswitch.testing.learner_works import work_of
from riboswitch.testing.lively import lively_weights
from riboswitch.training.learner import Predicted, Work

STEP = 1e-7
"""Of the differences: in float64 that leaves eight digits, and crosses hardly a kink of ReLU."""
DIRECTIONS = 2

Arrays = Mapping[str, Array]


def lively(architecture: Architecture) -> dict[str, Array]:
    """Weights with which a mistake shows, in memory."""
    drawn = lively_weights(architecture)
    return {name: drawn[name] for name in drawn}


def trained(architecture: Architecture) -> list[str]:
    """Names of the weights that are trained: all but the pooler."""
    return [n for n in architecture.parameter_shapes() if not n.startswith("pooler.")]


def logits_of(
    architecture: Architecture, weights: Arrays, work: Work, head: Arrays | None = None
) -> NDArray[np.float64]:
    """Scores of all labels, (m + t, V).

    Args:
        architecture: Of the model.
        weights: Of the model, of any dtype.
        work: What is to be predicted.
        head: Those of the head, where they are others; all rows are computed here then.
    """
    wide = {name: np.array(array, np.float64) for name, array in weights.items()}
    judge = registry().backend("numpy")
    backbone = judge.build(architecture, wide, device="cpu", dtype="float64")
    found = backbone.forward(work.batch, ("representation", "logits"))
    states = found["representation"]
    ends = work.batch.lengths - work.tail
    words = [states[i][1 : ends[i]] for i in work.sequences.tolist()]
    zero = np.zeros(architecture.hidden_size)
    means = np.array([x.mean(0) if len(x) else zero for x in words]).reshape(-1, len(zero))
    pooled = head_of(architecture, head or wide, means)
    if head is None:
        tokens = np.concatenate(found["logits"])[work.places]
    else:
        tokens = head_of(architecture, head, np.concatenate(states)[work.places])
    return np.concatenate([tokens, pooled])


def head_of(architecture: Architecture, weights: Arrays, x: Array) -> NDArray[np.float64]:
    """The head alone, (…, D) to (…, V), as `Architecture` describes it."""
    wide = {n: np.array(w, np.float64) for n, w in weights.items() if n.startswith("lm_head.")}
    x = x @ wide["lm_head.dense.weight"].T + wide["lm_head.dense.bias"]
    if architecture.lm_activation == "relu":
        x = np.maximum(x, 0)
    else:
        x = x * (1 + np.vectorize(math.erf, otypes=[float])(x * math.sqrt(0.5))) / 2
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt(x.var(-1, keepdims=True) + architecture.norm_eps)
    x = x * wide["lm_head.norm.weight"] + wide["lm_head.norm.bias"]
    decoder = "embedding.tokens" if architecture.tied else "lm_head.decoder.weight"
    scores: NDArray[np.float64] = x @ np.array(weights[decoder], np.float64).T
    return scores + wide["lm_head.decoder.bias"]


def predicted(logits: NDArray[np.float64], work: Work) -> Predicted:
    """Cross-entropy of each label, and whether it is the likeliest."""
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    losses = -logs[np.arange(len(logits)), work.labels]
    return Predicted(losses, logits.argmax(-1) == work.labels)


def loss(architecture: Architecture, weights: Arrays, work: Work) -> float:
    """What is made small: the sum of weights * losses."""
    losses = predicted(logits_of(architecture, weights, work), work).losses
    return float(losses @ work.weights.astype(np.float64))


@cache
def slopes(architecture: Architecture) -> dict[str, list[tuple[Array, float]]]:
    """How the loss of `work_of` rises along random directions, for each weight that is trained.

    By differences, so that nobody's gradients are needed. Computed once for all backends.

    Returns:
        For each weight `DIRECTIONS` pairs: a direction of its shape, and the slope.
    """
    weights = {n: np.array(w, np.float64) for n, w in lively(architecture).items()}
    work, rng = work_of(architecture), np.random.default_rng(0)

    def slope(name: str, direction: Array) -> float:
        here = weights[name]
        ends = [
            loss(architecture, {**weights, name: here + sign * STEP * direction}, work)
            for sign in (1, -1)
        ]
        return (ends[0] - ends[1]) / (2 * STEP)

    found: dict[str, list[tuple[Array, float]]] = {}
    for name in trained(architecture):
        ways: list[Any] = [
            np.asarray(rng.standard_normal(weights[name].shape)) for _ in range(DIRECTIONS)
        ]
        found[name] = [(way, slope(name, way)) for way in ways]
    return found


def norm_of(arrays: Arrays) -> float:
    """The norm of all numbers together."""
    return math.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in arrays.values()))


class AdamW:
    """The optimizer as `Optimization` describes it, in float64.

    Attributes:
        weights: As they stand now; they may be replaced.
        means: Of the gradients, by weight.
        squares: Of their squares.
    """

    def __init__(self, architecture: Architecture, optimization: Optimization) -> None:
        shapes = architecture.parameter_shapes()
        self.optimization, self.steps = optimization, 0
        self.weights: dict[str, Array] = {}
        self.means: dict[str, Array] = {n: np.zeros(shapes[n]) for n in trained(architecture)}
        self.squares = {n: np.zeros_like(m) for n, m in self.means.items()}

    def step(self, gradients: Arrays, rate: float) -> float:
        """Make one step; return the norm of the gradients as they are given."""
        o = self.optimization
        self.steps += 1
        norm = norm_of(gradients)
        share = 1.0 if not o.clip else min(1.0, o.clip / max(norm, 1e-12))
        for name, gradient in gradients.items():
            g = share * np.asarray(gradient, np.float64)
            self.means[name] = o.beta1 * self.means[name] + (1 - o.beta1) * g
            self.squares[name] = o.beta2 * self.squares[name] + (1 - o.beta2) * g**2
            mean = self.means[name] / (1 - o.beta1**self.steps)
            root = np.sqrt(self.squares[name] / (1 - o.beta2**self.steps))
            decay = o.weight_decay if g.ndim >= 2 else 0.0
            before = np.asarray(self.weights[name], np.float64)
            self.weights[name] = before - rate * (decay * before + mean / (root + o.eps))
        return norm
