"""Numbers too small to be normal, with which a processor is slow."""

from __future__ import annotations

import numpy as np
import pytest
from tests.training.runs import OPTIMIZATION, small_entry

from riboswitch.registry import registry
from riboswitch.testing.learner_works import work_of
from riboswitch.weights import random_weights


@pytest.mark.backend("torch")
def test_training_takes_them_for_0_and_leaves_the_thread_as_it_was(monkeypatch):
    torch = pytest.importorskip("torch", reason="what the backend is made of")
    architecture, seen = small_entry("rnaernie").architecture, []
    weights = random_weights(architecture, 0)
    learner = (
        registry()
        .backend("torch")
        .learner(architecture, weights, device="cpu", dtype="float32", optimization=OPTIMIZATION)
    )
    loss = torch.nn.functional.cross_entropy

    def kept() -> bool:
        return bool(torch.full((1,), 1e-37).mul(0.01).item())

    def looked(*rest, **named):
        seen.append(kept())
        return loss(*rest, **named)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", looked)
    for before in (True, False):
        torch.set_flush_denormal(not before)
        try:
            learner.accumulate(work_of(architecture), last=True)
            assert kept() is before
        finally:
            torch.set_flush_denormal(False)
    assert seen == [False, False]


@pytest.mark.backend("numpy")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sharp_attention_has_none(dtype):
    from riboswitch_numpy.functions import softmax_in_place

    scores = np.array([[0.0, -1, -59, -70, -1e4], [-1e4, 30, 30, 30, 30]], dtype)
    expected = np.exp(scores.astype("f8") - scores.max(-1, keepdims=True))
    expected /= expected.sum(-1, keepdims=True)
    found = softmax_in_place(scores.copy())
    assert found.min() > np.finfo("f4").tiny
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 if dtype == "float32" else 1e-16)
