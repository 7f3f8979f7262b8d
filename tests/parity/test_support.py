"""`docs/support.md`, cell by cell: what it claims is run, what it does not claim is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from attrs import astuple

from riboswitch import BackendError, Model, UsageError, load
from riboswitch.interfaces import DTYPES
from riboswitch.registry import registry
from riboswitch.testing import TOLERANCES
from riboswitch.testing.backend_case import apart

pytestmark = [pytest.mark.together, pytest.mark.peers_paddlenlp]

DOCS = Path(__file__).parents[2] / "docs"
TEXTS = ["AUGGCC" * 7, "AUG", "GCCAUG<mask>AUG", "UAA" * 11]


def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGE = tables()
CLAIMED = PAGE.claims()
BACKENDS = [pytest.param(name, marks=pytest.mark.backend(name)) for name in PAGE.PINS]


def filled(model: Model) -> list[Any]:
    """Logarithms of the probabilities, which are as far apart as logits."""
    count = len(model.alphabet.words)
    found = {f.token: f.probability for f in model.fill_mask("AUGAUG<mask>GCC", count)}
    return [np.log([found[token] for token in sorted(found)])]


RUN: dict[str, Callable[[Model], list[Any]]] = {
    "embed": lambda model: [*model.embed(TEXTS), *model.embed(TEXTS, pool="mean")],
    "fill-mask": filled,
    "pooled": lambda model: model.forward(TEXTS, ("pooled",)).pooled,
}


def test_every_task_of_the_page_can_be_run():
    assert RUN.keys() == {task.name for task in PAGE.TASKS} == {cell.task for cell in CLAIMED}


def test_the_page_leaves_out_nothing_that_is_declared():
    here = {entry.name for entry in PAGE.models()}, {entry.name for entry in PAGE.backends()}
    assert here == ({cell.model for cell in CLAIMED}, {cell.backend for cell in CLAIMED})
    assert here[1] == PAGE.PINS.keys()


@pytest.mark.parametrize(
    ("model", "backend", "dtype", "task"),
    [pytest.param(*astuple(cell), marks=pytest.mark.backend(cell.backend)) for cell in CLAIMED],
)
def test_what_is_claimed_works(small, model, backend, dtype, task):
    expected = RUN[task](small(model, "numpy", "float64"))
    found = RUN[task](small(model, backend, dtype))
    assert len(found) == len(expected) > 0
    for a, b in zip(found, expected, strict=True):
        assert apart(a, b, dtype) <= TOLERANCES["backends", dtype]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_page_has_the_dtypes_that_the_backend_declares(backend):
    assert PAGE.stored_dtypes(backend) == PAGE.declared(backend, "cpu")
    said = "| " + " | ".join(PAGE.row(backend)) + " |\n"
    assert said in PAGE.SUPPORT.read_text("utf-8"), "run: python docs/tables.py --write"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_dtype_that_is_not_claimed_is_refused(backend):
    able = [e for e in PAGE.models() if PAGE.tasks(e, registry().backends[backend])]
    for dtype in {*DTYPES, "float8"} - {*PAGE.stored_dtypes(backend)}:
        with pytest.raises(BackendError, match=rf"cannot compute in '{dtype}' on 'cpu'\.\nIt can:"):
            load(able[0].name, backend=backend, dtype=dtype, device="cpu", weights="random")


@pytest.mark.parametrize("backend", list(PAGE.PINS))
def test_a_model_that_is_refused_says_why(backend):
    claimed = {cell.model for cell in CLAIMED if cell.backend == backend}
    for entry in PAGE.models():
        if entry.name not in claimed:
            with pytest.raises(BackendError, match=r"cannot compute this model: .+\nTake one"):
                load(entry.name, backend=backend, weights="random")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_task_that_is_not_claimed_is_refused(small, backend):
    for entry in PAGE.models():
        able = PAGE.tasks(entry, registry().backends[backend])
        for task in RUN.keys() - {*able} if able else ():
            with pytest.raises(UsageError, match=f"{entry.name} has no output '{task}'"):
                RUN[task](small(entry.name, backend))
