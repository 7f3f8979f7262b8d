"""What a sequence gets does not depend on its neighbours, their order, or the machine's cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from attrs import evolve
from threadpoolctl import threadpool_info

from riboswitch.registry import registry

FAMILIES = ("rnafm", "mrnafm", "rinalmo-nano", "rnaernie")
TIGHT = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "feed_forward_size": 48}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, small, backend):
    return small(request.param, backend, **TIGHT)


def mixed(model, *, longest: int, count: int = 32, seed: int = 0) -> list[str]:
    """Texts of 1 to `longest` residues (or codons), shuffled, a few of equal length."""
    rng = np.random.default_rng(seed)
    lengths = np.unique(np.geomspace(1, longest, count - 4).astype(int))
    lengths = rng.permutation([*lengths, *rng.choice(lengths, count - len(lengths))])
    stride = model.alphabet.stride
    return ["".join(rng.choice([*"ACGU"], n * stride)) for n in lengths]


def close(found, expected, atol: float) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def longest(model) -> int:
    limit = model.architecture.max_tokens
    return 1022 if limit is None else min(1022, limit - 2)


def test_a_sequence_alone_and_among_31_others(model, tolerance):
    sequences = mixed(model, longest=longest(model))
    assert {len(s) // model.alphabet.stride for s in sequences} >= {1, longest(model)}
    tokens = model.alphabet.encode(sequences)
    together = model.backbone.forward(tokens, ("representation", "logits"))
    atol = tolerance["batches", "float32"]
    rows = [r[1:-1] for r in together["representation"]]
    close(model.embed(sequences), rows, atol)
    for i in range(len(sequences)):
        alone = model.backbone.forward(tokens.take([i]), ("representation", "logits"))
        for name, arrays in alone.items():
            np.testing.assert_allclose(arrays[0], together[name][i], rtol=0, atol=atol)


def test_order_and_duplicates_are_kept(model, tolerance):
    sequences = mixed(model, longest=90)
    arrays = model.embed(sequences)
    rng = np.random.default_rng(1)
    order = rng.integers(0, len(sequences), 50)
    again = model.embed([sequences[i] for i in order])
    close(again, [arrays[i] for i in order], tolerance["batches", "float32"])
    assert len({a.tobytes() for a in arrays}) >= len(set(sequences))


@pytest.mark.parametrize("pool", ["mean", "max", "cls"])
def test_pooled_vectors_do_not_depend_on_the_batch(model, tolerance, pool):
    sequences = mixed(model, longest=200)
    together = model.embed(sequences, pool=pool)
    alone = np.concatenate([model.embed([s], pool=pool) for s in sequences])
    close(together, alone, tolerance["batches", "float32"])
    reversed_ = model.embed(sequences[::-1], pool=pool)[::-1]
    close(together, reversed_, tolerance["batches", "float32"])


WIDE = {"num_layers": 1, "hidden_size": 256, "num_heads": 4, "feed_forward_size": 512}


@pytest.mark.parametrize("name", ["rinalmo-nano"])
def test_the_bits_do_not_depend_on_the_number_of_cores(small, backend, cores, name):
    model = small(name, backend, **WIDE)  # wide enough for products to be shared out
    sequences = mixed(model, longest=400)
    found = []
    for count in (1, 2, 3):
        cores(count)
        for window in (None, 60):
            arrays = model._embed(sequences, None, -1, window, None, exact=True)
            found.append((window, b"".join(a.tobytes() for a in arrays)))
    assert len(set(found)) == 2


class Watched:
    """A backend and a backbone that say whether they run on one core."""

    def __init__(self, model) -> None:
        self.model, self.inside, self.seen = model, 0, []

    @contextmanager
    def single_thread(self) -> Iterator[None]:
        self.inside += 1
        with self.model.backend.single_thread():
            yield
        self.inside -= 1

    def forward(self, batch, outputs):
        self.seen.append(self.inside)
        return self.model.backbone.forward(batch, outputs)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("copies", [1, 40])
def test_exact_results_are_computed_on_one_core_each(small, backend, cores, count, copies):
    cores(count)
    model = small("rnafm", backend, **TIGHT)
    watched = Watched(model)
    model = evolve(model, backend=watched, backbone=watched)
    model._embed(["ACGU" * 50] * copies, None, -1, None, None, exact=True)
    assert len(watched.seen) > copies / 10
    assert set(watched.seen) == {1}


def threads(backend: str) -> set[int]:
    """Cores that a product may use now."""
    if backend == "torch":
        import torch

        return {torch.get_num_threads()}
    libraries = [p for p in threadpool_info() if p["user_api"] == "blas"]
    numpys = [p for p in libraries if "numpy" in p["filepath"]] or libraries
    return {p["num_threads"] for p in numpys}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.backend(n)) for n in ("numpy", "torch")]
)
def test_single_thread_holds_inside_and_is_undone(name):
    before = threads(name)
    with registry().backend(name).single_thread():
        assert threads(name) == {1}
    assert threads(name) == before


@pytest.mark.backend("paddle")
def test_paddle_is_told_its_cores_at_each_call(small, monkeypatch):
    from paddle.base import core

    told = []
    model = small("rnafm", "paddle", **TIGHT)
    monkeypatch.setattr(core, "set_num_threads", told.append)
    model.backend.threads.cores = 3
    tokens = model.alphabet.encode(["ACGU"])
    with model.backend.single_thread():
        model.backbone.forward(tokens, ("logits",))
    model.backbone.forward(tokens, ("logits",))
    assert told == [1, 3]


def test_one_core_or_several_agree_in_any_case(model, cores, tolerance):
    sequences = mixed(model, longest=200)
    cores(1)
    one = model.embed(sequences)
    cores(3)
    close(model.embed(sequences), one, tolerance["batches", "float32"])


def test_the_activations_are_not_trivial(model):
    sequences = mixed(model, longest=60)
    vectors = model.embed(sequences, pool="mean")
    assert np.abs(vectors).max() > 0.3
    assert np.abs(vectors - vectors.mean(0)).max() > 0.1
    states = model.forward(sequences[:1], ("hidden_states",)).hidden_states[0]
    assert np.abs(np.diff(states, axis=0)).max(axis=(1, 2)).min() > 0.5


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.backend(n)) for n in ("numpy", "torch")]
)
def test_threads_come_back_when_several_users_share_a_backend(name):
    before = threads(name)
    one, two = (registry().backend(name).single_thread() for _ in range(2))
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert threads(name) == {1}
    two.__exit__(None, None, None)
    assert threads(name) == before
